//! Profiles for people.

use crate::output::{Table, params};
use steadfast_api::{Profile, ProfileApplied, ProfileDiff, ProfileParam, ProfileSaved, Profiles};

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// All profiles, one line each.
pub(crate) fn list(all: &Profiles) -> String {
    let mut table = Table::new(&["NAME", "FROM", ">PARAMETERS", ">NOT HERE", "EXTENDS", "ABOUT"]);
    for profile in &all.profiles {
        let about = if profile.faults.is_empty() { or_dash(&profile.about) } else { "unusable".to_owned() };
        table.row([
            profile.name.clone(),
            if profile.built_in { "steadfast" } else { "file" }.to_owned(),
            profile.params.to_string(),
            profile.not_here.to_string(),
            or_dash(profile.extends.as_deref().unwrap_or_default()),
            about,
        ]);
    }
    let mut text = table.to_string();
    for profile in all.profiles.iter().filter(|p| !p.faults.is_empty()) {
        for fault in &profile.faults {
            text.push_str(&format!("{}: {fault}\n", profile.name));
        }
    }
    text.push_str(&format!("your own are in {}\n", all.folder));
    text
}

/// One profile.
pub(crate) fn show(profile: &Profile) -> String {
    let mut text = profile.name.clone();
    if !profile.about.is_empty() {
        text.push_str(&format!(": {}", profile.about));
    }
    text.push('\n');
    match &profile.file {
        Some(file) => text.push_str(&format!("  file         {file}\n")),
        None => text.push_str("  it comes with steadfast\n"),
    }
    if let Some(base) = &profile.extends {
        text.push_str(&format!("  extends      {base}\n"));
    }
    text + &params(&profile.params)
}

fn params(params: &[ProfileParam]) -> String {
    let mut table = Table::new(&["  NAME", "VALUE", "FOR", "WHY", "SOURCE"]);
    for p in params {
        let drivers = match p.drivers.as_slice() {
            [] => "no driver here".to_owned(),
            [all] if all == "*" => "every driver".to_owned(),
            some => some.join(", "),
        };
        table.row([format!("  {}", p.name), p.value.clone(), drivers, or_dash(&p.why), p.source.clone()]);
    }
    table.to_string()
}

/// What applying a profile would change.
pub(crate) fn diff(diff: &ProfileDiff) -> String {
    let mut text = String::new();
    if diff.changes.is_empty() && diff.faults.is_empty() {
        text.push_str(&format!("{}: nothing to do, it has the values of {}\n", diff.port, diff.profile));
    }
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "undefined".to_owned());
    if !diff.changes.is_empty() {
        let mut table = Table::new(&["NAME", "CURRENT", "SAVED", "WOULD BE", "CLASS", "EFFECT", "WHY"]);
        for c in &diff.changes {
            table.row([
                c.name.clone(),
                value(&c.current),
                value(&c.saved),
                value(&c.would_be),
                c.class.clone(),
                c.effect.clone(),
                or_dash(&c.why),
            ]);
        }
        text.push_str(&table.to_string());
    }
    if !diff.same.is_empty() {
        text.push_str(&format!("as they are already: {}\n", diff.same.join(", ")));
    }
    if !diff.missing.is_empty() {
        let names: Vec<&str> = diff.missing.iter().map(|p| p.name.as_str()).collect();
        text.push_str(&missing(&diff.port, &names));
    }
    for fault in &diff.faults {
        text.push_str(&format!("cannot be applied: {fault}\n"));
    }
    text
}

fn missing(port: &str, names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    format!("{port}: not for this driver: {}\n", names.join(", "))
}

/// What applying a profile has done.
pub(crate) fn applied(applied: &ProfileApplied) -> String {
    let mut text = params::saved_lines(&applied.changed, applied.dry_run);
    for one in &applied.missing {
        text.push_str(&missing(&one.port, &one.params));
    }
    text
}

/// A profile that was saved.
pub(crate) fn saved(saved: &ProfileSaved) -> String {
    let file = saved.profile.file.as_deref().unwrap_or("-");
    let mut text =
        format!("profile {}: saved in {file}\n{}", saved.profile.name, params(&saved.profile.params));
    if !saved.left_out.is_empty() {
        text.push_str(&format!("left out, as they are the port's own: {}\n", saved.left_out.join(", ")));
    }
    text
}
