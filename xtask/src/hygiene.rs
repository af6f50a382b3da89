//! What is committed speaks of the project alone: no paths of the machine it was written on, and no
//! hosts of package registries. And imports point one way.

use crate::steps::Outcome;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Texts that must not be committed. They are put together here so that this file passes, too.
fn forbidden() -> Vec<String> {
    let mut all = vec![["/wo", "rk/"].concat()];
    let hosts = [
        ["deb.deb", "ian.org"],
        ["snapshot.deb", "ian.org"],
        ["static.cra", "tes.io"],
        ["index.cra", "tes.io"],
        ["registry.npm", "js.org"],
        ["files.python", "hosted.org"],
        ["py", "pi.org"],
        ["proxy.go", "lang.org"],
    ];
    all.extend(hosts.iter().map(|parts| parts.concat()));
    all.push(crate::root().display().to_string());
    if let Some(home) = std::env::var_os("HOME").filter(|h| h.len() > 1) {
        all.push(format!("{}/", home.to_string_lossy()));
    }
    all
}

/// Looks through every tracked text file.
pub(crate) fn check() -> Result<Outcome> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(crate::root()).output();
    let output = output.context("cannot start git")?;
    if !output.status.success() {
        return Ok(Outcome::Skipped("not a git work tree, so what is committed is not known".into()));
    }
    let forbidden = forbidden();
    let (mut files, mut found) = (0, Vec::new());
    for name in String::from_utf8_lossy(&output.stdout).split('\0').filter(|n| !n.is_empty()) {
        // A file that git tracks may be deleted in the work tree; a binary one is no text.
        let Ok(text) = std::fs::read_to_string(crate::root().join(name)) else { continue };
        files += 1;
        for (number, line) in text.lines().enumerate() {
            if let Some(bad) = forbidden.iter().find(|f| line.contains(f.as_str())) {
                found.push(format!("{name}:{}: names '{bad}'", number + 1));
            }
        }
    }
    println!("{files} files read");
    println!("{}", crate::floors::check()?);
    if !found.is_empty() {
        bail!("text that must not be committed:\n  {}", found.join("\n  "));
    }
    Ok(Outcome::Passed)
}
