//! Parameters for people.

use super::{Table, history, units};
use steadfast_api::{
    Activating, Kind, Outcome, ParamChange, ParamsReport, Plan, PortPlan, Properties, Property, Receipt,
    SaveReport, Saved,
};

/// A value and, where a unit says more, the same for people: `26843545600 (25G)`.
fn for_people(value: Option<&String>, unit: &str) -> String {
    match value.and_then(|value| steadfast_daemon::show_quantity(value, unit)) {
        Some(shown) => format!("{} ({shown})", or_undefined(value)),
        None => or_undefined(value),
    }
}

fn or_undefined(value: Option<&String>) -> String {
    value.map_or_else(|| "undefined".to_owned(), Clone::clone)
}

/// All parameters of a port, one line each.
pub(crate) fn list(all: &Properties) -> String {
    let mut table =
        Table::new(&["NAME", "CURRENT", "SAVED", "DEFAULT", "UNIT", "CLASS", "SCOPE", "BY", "SOURCE"]);
    for p in &all.properties {
        let saved = saved_text(p, all.saved_known);
        table.row([
            p.name.clone(),
            for_people(p.current.as_ref(), &p.unit),
            match (p.pending, p.undone) {
                (_, true) => format!("{saved} (not saved)"),
                (true, false) => format!("{saved} (pending)"),
                (false, false) => saved,
            },
            p.default.as_ref().map_or_else(|| "-".to_owned(), |_| for_people(p.default.as_ref(), &p.unit)),
            if p.unit.is_empty() { "-".to_owned() } else { p.unit.clone() },
            p.class.clone(),
            p.scope.clone(),
            p.by.clone(),
            source(p),
        ]);
    }
    let mut text = table.to_string();
    let waits = |p: &&Property| p.pending && !p.undone;
    let pending: Vec<&str> = all.properties.iter().filter(waits).map(|p| p.name.as_str()).collect();
    if !pending.is_empty() {
        text.push_str(&format!(
            "pending: {}; `steadfast activate {}` puts what is saved in force\n",
            pending.join(", "),
            all.port
        ));
    }
    let unsaved: Vec<String> = all.properties.iter().filter(|p| p.undone).map(assignment).collect();
    if !unsaved.is_empty() {
        text.push_str(&format!(
            "set by a command and not saved: {}; an activation undoes that, `steadfast param set {} ...` saves it\n",
            unsaved.join(", "),
            all.port
        ));
    }
    for fault in all.faults.iter().filter(|_| all.saved_known) {
        text.push_str(&format!("saved, but cannot be activated: {fault}\n"));
    }
    text
}

fn assignment(p: &Property) -> String {
    format!("{}={}", p.name, or_undefined(p.current.as_ref()))
}

/// What is saved, where that is known.
fn saved_text(p: &Property, known: bool) -> String {
    if known { for_people(p.saved.as_ref(), &p.unit) } else { "unknown".to_owned() }
}

fn source(p: &Property) -> String {
    let current = p.source.as_deref().unwrap_or("default");
    match p.saved_source.as_deref().unwrap_or("default") {
        saved if p.pending && saved != current => format!("{current}; saved {saved}"),
        _ => current.to_owned(),
    }
}

/// Everything about one parameter; of what is saved only where that is known.
pub(crate) fn explain(p: &Property, known: bool) -> String {
    let mut text = format!("{}\n", p.name);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<12} {value}\n"));
        }
    };
    fact("about", p.help.clone());
    let said = |source: &Option<String>| source.clone().unwrap_or_else(|| "the default".to_owned());
    fact(
        "current",
        format!("{} ({}: {})", for_people(p.current.as_ref(), &p.unit), p.layer, said(&p.source)),
    );
    let saved = saved_text(p, known);
    fact("saved", if known { format!("{saved} ({})", said(&p.saved_source)) } else { saved });
    fact(
        "pending",
        match p.pending {
            true if p.undone => {
                "no: what is in force was never saved, and an activation undoes it".to_owned()
            }
            true => format!("yes: it waits for {}", waits(&p.class)),
            false if known => "no".to_owned(),
            false => "unknown".to_owned(),
        },
    );
    fact("load-time", p.load_time.clone().unwrap_or_default());
    fact("default", p.default.clone().unwrap_or_else(|| "none".to_owned()));
    fact("kind", p.kind.clone());
    fact("allowed", p.allowed.clone());
    fact("unit", p.unit.clone());
    let class = match p.class.as_str() {
        "live" => "live: a change takes effect at once",
        "reinit" => "reinit: a change takes effect when this port is initialised anew",
        _ => "reload: a change takes effect when every port that runs the module is initialised anew",
    };
    fact("class", class.to_owned());
    let scope = match p.scope.as_str() {
        "own" => "own: it names what is behind this port, so no other port can have the same value",
        "adapter" => "adapter: all ports of the adapter share one value",
        "module" => "module: all ports that run the module share one value",
        _ => "port: each port has a value of its own; `--global` says one for those that say none",
    };
    fact("scope", scope.to_owned());
    fact("carried out", format!("by the {}", p.by));
    text
}

fn waits(class: &str) -> &'static str {
    if class == "reload" { "an activation with --reload" } else { "an activation of the port" }
}

/// What a change that nobody saves has done.
pub(crate) fn changed(port: &str, report: &ParamsReport) -> String {
    if report.changed.is_empty() {
        return format!("{port}: nothing to change, every value is as it was\n");
    }
    let line = |c: &ParamChange| {
        let (before, after) = (or_undefined(c.before.as_ref()), or_undefined(c.after.as_ref()));
        format!("  {}: {before} -> {after}\n", c.name)
    };
    let lines: String = report.changed.iter().map(line).collect();
    let held = units::time(report.pause_ns);
    format!(
        "{port}: changed, requests were held for {held}\n{lines}\
         not saved: an activation undoes it, and so does the next start; `steadfast param set {port} ...` saves it\n"
    )
}

/// What a change of saved values has done.
pub(crate) fn saved(report: &SaveReport) -> String {
    let mut text = saved_lines(&report.changed, report.dry_run);
    if report.changed.is_empty() {
        let verb = if report.dry_run { "would be written" } else { "written" };
        for entry in &report.written {
            text.push_str(&format!("{}: {entry}, {verb}\n", report.file));
        }
    }
    text
}

/// Saved values that are others than before, or were put in force, a line each.
pub(crate) fn saved_lines(changed: &[Saved], dry_run: bool) -> String {
    let verb = if dry_run { "would be saved" } else { "saved" };
    let mut text = String::new();
    for s in changed {
        let (before, after) = (or_undefined(s.before.as_ref()), or_undefined(s.after.as_ref()));
        let what = if s.in_force {
            if dry_run { "takes effect at once".to_owned() } else { "in force".to_owned() }
        } else {
            format!("waits for {}", s.waits_for)
        };
        let (port, name) = (&s.port, &s.name);
        text.push_str(&if s.before == s.after {
            format!("{port}: {name} {after} is saved already, {what}\n")
        } else {
            format!("{port}: {name} {before} -> {after}, {verb}, {what}\n")
        });
    }
    if text.is_empty() {
        text.push_str(
            "nothing changes: what is saved comes to the same values, and what is in force stays\n",
        );
    }
    text
}

/// A plan as a difference.
pub(crate) fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    for port in &plan.ports {
        for why in &port.refusals {
            text.push_str(&format!("{}: an activation is refused: {why}\n", port.port));
        }
        if port.changes.is_empty() {
            text.push_str(&format!("{}: nothing to do, what is saved is in force\n", port.port));
            continue;
        }
        text.push_str(&format!("{} (generation {}):\n", port.port, port.generation));
        let mut table = Table::new(&["  NAME", "CURRENT", "SAVED", "CLASS", "EFFECT", "SOURCE"]);
        for c in &port.changes {
            table.row([
                format!("  {}", c.name),
                match c.undone {
                    true => format!("{} (not saved)", or_undefined(c.current.as_ref())),
                    false => or_undefined(c.current.as_ref()),
                },
                or_undefined(c.saved.as_ref()),
                c.class.clone(),
                c.effect.clone(),
                if c.source.is_empty() { "default".to_owned() } else { c.source.clone() },
            ]);
        }
        text.push_str(&table.to_string());
    }
    text
}

/// What going back would change.
pub(crate) fn would_roll_back(plan: &PortPlan) -> String {
    let port = &plan.port;
    if plan.changes.is_empty() {
        return format!("{port}: nothing would change\n");
    }
    let mut table = Table::new(&["  NAME", "CURRENT", "BACK TO", "CLASS", "EFFECT"]);
    for c in &plan.changes {
        table.row([
            format!("  {}", c.name),
            or_undefined(c.current.as_ref()),
            or_undefined(c.saved.as_ref()),
            c.class.clone(),
            c.effect.clone(),
        ]);
    }
    format!(
        "{port} (generation {}) would go back, in force and saved; nothing was touched:\n{table}",
        plan.generation
    )
}

/// What an activation came to, or how long it takes.
pub(crate) fn activating(answer: &Activating) -> String {
    match &answer.receipt {
        None => {
            let soon = answer.estimate_ms.map(|ms| units::time(ms.saturating_mul(1_000_000)));
            let soon = soon.map_or_else(String::new, |soon| format!(", most likely in {soon}"));
            let (port, most) = (&answer.port, answer.wait_ms.div_ceil(1000));
            format!(
                "{port}: under way, over within {most} s{soon}; `steadfast history {port}` says how it went\n"
            )
        }
        Some(receipt) => {
            // Where it was not done the error says what happened, and why.
            let first = match receipt.outcome {
                Outcome::Done => sentence(receipt),
                _ => format!("{}: receipt {}", receipt.port, receipt.id),
            };
            format!("{first}\n{}", facts(receipt))
        }
    }
}

/// What was done, in one line; none for receipts of other things.
pub(crate) fn sentence(receipt: &Receipt) -> String {
    let port = &receipt.port;
    if receipt.kind == Kind::Live {
        return match receipt.outcome {
            Outcome::Done => format!("{port}: changed while it served"),
            _ => format!("{port}: not changed, the previous values are in force"),
        };
    }
    match receipt.outcome {
        Outcome::Done => match new_state(receipt) {
            Some(state) => format!("{port}: activated, the port is {state}"),
            None => format!("{port}: activated"),
        },
        Outcome::Refused => format!("{port}: refused, nothing was touched"),
        Outcome::Busy => format!("{port}: busy, nothing was changed"),
        Outcome::RolledBack if new_state(receipt) == Some("up") => {
            format!("{port}: not activated, it stays down with the previous set")
        }
        Outcome::RolledBack => format!("{port}: not activated, it serves with the previous set"),
        Outcome::Tried => format!("{port}: tried, nothing was touched"),
        Outcome::Interrupted => format!("{port}: the daemon ended in the midst of it"),
        Outcome::Stranded => format!("{port}: stranded, it attaches with neither set; requests are held"),
    }
}

/// The `admin_state` that an activation gives the port, or was to give, where that is another than before.
pub(crate) fn new_state(receipt: &Receipt) -> Option<&str> {
    let mut changes = receipt.properties.iter().flat_map(|report| &report.changes);
    changes.find(|c| c.name == "admin_state").and_then(|c| c.after.as_deref())
}

/// What a receipt says of properties: changes, generations, the steps with their times.
pub(crate) fn facts(receipt: &Receipt) -> String {
    let Some(report) = &receipt.properties else { return String::new() };
    let mut text = String::new();
    let mut fact = |name: &str, value: String| text.push_str(&format!("  {name:<12} {value}\n"));
    for c in &report.changes {
        let (before, after) = (or_undefined(c.before.as_ref()), or_undefined(c.after.as_ref()));
        fact("change", format!("{} {before} -> {after}", c.name));
    }
    let (before, after) = (report.stamp_before, report.stamp_after);
    let generation = match before.generation == after.generation {
        true => format!("{}, unchanged", before.generation),
        false => format!("{} -> {}", before.generation, after.generation),
    };
    fact("generation", generation);
    if after.clock_went_back(before) {
        fact("clock", "was set back meanwhile; the generation tells".to_owned());
    }
    if receipt.pause_ns > 0 {
        fact("pause", format!("{}, {} requests held", units::time(receipt.pause_ns), receipt.held));
    }
    match (report.confirmed, report.confirm_until_unix_ms) {
        (None, Some(until)) => {
            fact("to confirm", format!("until {}, else it goes back", history::clock(until, true)));
        }
        (Some(true), _) => fact("confirmed", "yes".to_owned()),
        (Some(false), _) => fact("confirmed", "no: it went back".to_owned()),
        (None, None) => {}
    }
    if !report.steps.is_empty() {
        let mut table = Table::new(&["  STEP", ">MICROSECONDS", "FOUND"]);
        for step in &report.steps {
            // Why it failed is the receipt's reason, and said as that.
            let failed = !step.detail.is_empty() && step.detail == receipt.reason;
            let found = if failed { "it failed here" } else { &step.detail };
            table.row([format!("  {}", step.step.name()), units::micros(step.ns), found.to_owned()]);
        }
        text.push_str(&table.to_string());
    }
    text
}

/// What was done about the parameters of a port, a line each.
pub(crate) fn history(receipts: &[Receipt]) -> String {
    if receipts.is_empty() {
        return "nothing was done about the parameters yet\n".to_owned();
    }
    let mut table = Table::new(&[">ID", "STARTED", "KIND", "OUTCOME", "CHANGES", "BY"]);
    let mut reasons = String::new();
    for receipt in receipts {
        if !receipt.reason.is_empty() {
            reasons.push_str(&format!("{}: {}\n", receipt.id, receipt.reason));
        }
        let changes = receipt.properties.iter().flat_map(|report| &report.changes);
        let change = |c: &steadfast_api::ValueChange| {
            format!("{} {} -> {}", c.name, or_undefined(c.before.as_ref()), or_undefined(c.after.as_ref()))
        };
        let changes: Vec<String> = changes.map(change).collect();
        table.row([
            receipt.id.to_string(),
            history::clock(receipt.started_unix_ms, false),
            receipt.kind.name().to_owned(),
            history::outcome(receipt.outcome).to_owned(),
            if changes.is_empty() { "-".to_owned() } else { changes.join(", ") },
            history::by(&receipt.by),
        ]);
    }
    format!("{table}{reasons}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_nobody_saves_are_shown_one_by_one() {
        let change = ParamChange { name: "delay".into(), before: None, after: Some("5".into()) };
        let mut report =
            ParamsReport { port: "vol0".into(), changed: vec![change], pause_ns: 4_200, receipt: 1 };
        let said = changed("vol0", &report);
        assert!(
            said.starts_with("vol0: changed, requests were held for 4.2 us\n  delay: undefined -> 5\n"),
            "{said}"
        );
        assert!(said.contains("not saved: an activation undoes it"), "{said}");
        report.changed.clear();
        assert!(changed("vol0", &report).contains("nothing to change"));
    }

    #[test]
    fn a_value_is_shown_as_it_is_and_for_people() {
        let shown = |value: &str, unit| for_people(Some(&value.to_owned()), unit);
        assert_eq!(shown("26843545600", "bytes"), "26843545600 (25G)");
        assert_eq!((shown("45", "s"), shown("512", "bytes")), ("45".to_owned(), "512".to_owned()));
    }
}
