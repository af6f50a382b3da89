//! `steadfast driver list` and `check`.

use super::module_argument;
use crate::args::DriverCheck;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output;
use std::path::PathBuf;
use steadfast_api::{CheckReport, CheckRequest, Drivers};
use steadfast_daemon::{ModulePath, Trust};

/// Prints the modules that the daemon finds, or those in `folders`.
pub(crate) fn list(
    client: impl Fn() -> Result<Client, Failure>,
    folders: Vec<PathBuf>,
    json: bool,
) -> Result<Exit, Failure> {
    let drivers: Drivers =
        if folders.is_empty() { client()?.get("/drivers")? } else { ModulePath::only(folders).list() };
    if json {
        output::json(&drivers)?;
    } else {
        output::print(&output::driver::list(&drivers))?;
    }
    Ok(Exit::Done)
}

/// Prints what a check finds: by the daemon when the module is to replace the driver of a device, else
/// right here.
pub(crate) fn check(
    client: impl Fn() -> Result<Client, Failure>,
    check: DriverCheck,
    json: bool,
) -> Result<Exit, Failure> {
    let (device, module) = sides(&check)?;
    let report: CheckReport = match device {
        Some(device) => {
            let allow = check.allow;
            let request = CheckRequest {
                module: module_argument(&module)?,
                device,
                allow_older: allow.allow_older,
                allow_other: allow.allow_other,
                allow_skip: allow.allow_skip,
                allow_again: allow.allow_again,
                force: check.force,
                mode: check.mode.map(super::update::mode),
                params: super::update::params(&check.set, &check.unset)?,
            };
            client()?.post("/drivers/check", &request)?
        }
        None => {
            let trust = Trust { require: check.trusted_keys.is_some(), keys: check.trusted_keys };
            steadfast_daemon::check_module(&ModulePath::standard(&[]), &module, trust)?
        }
    };
    if json {
        output::json(&report)?;
    } else {
        output::print(&output::driver::report(&report))?;
    }
    Ok(if report.ok { Exit::Done } else { Exit::Mismatch })
}

/// Device and module of `[DEVICE] MODULE`. An option that says nothing about this kind of check is a
/// mistake: whoever gave it believes that it was looked at.
fn sides(check: &DriverCheck) -> Result<(Option<String>, String), Failure> {
    let (device, module) = match (check.what.as_slice(), &check.device) {
        ([device, module], None) => (Some(device), module),
        ([module], device) => (device.as_ref(), module),
        _ => return Err(Failure::new("the device is given twice, by name and by --device")),
    };
    let allow = check.allow;
    let alone = [
        (check.mode.is_some(), "--mode"),
        (!check.set.is_empty(), "--set"),
        (!check.unset.is_empty(), "--unset"),
        (allow.allow_older, "--allow-older"),
        (allow.allow_other, "--allow-other"),
        (allow.allow_skip, "--allow-skip"),
        (allow.allow_again, "--allow-again"),
        (check.force, "--force"),
    ];
    if device.is_some() && check.trusted_keys.is_some() {
        return Err(Failure::new(
            "--trusted-keys is for a module by itself; with a device the daemon's keys count",
        )
        .hint("`steadfast serve --trusted-keys DIR` says which these are"));
    }
    if let (None, Some((_, option))) = (device, alone.iter().find(|(given, _)| *given)) {
        let message = format!("{option} is about replacing a device's driver, and no device is given");
        return Err(Failure::new(message).hint("steadfast driver check DEVICE MODULE"));
    }
    Ok((device.cloned(), module.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, DriverCommand};
    use clap::Parser;

    fn sides_of(line: &[&str]) -> Result<(Option<String>, String), Failure> {
        let line = [&["steadfast", "driver", "check"], line].concat();
        match Cli::try_parse_from(line).expect("it parses").command {
            Command::Driver(DriverCommand::Check(check)) => sides(&check),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_check_takes_no_option_that_it_would_ignore() {
        assert_eq!(sides_of(&["m.so", "--trusted-keys", "k"]).expect("alone"), (None, "m.so".into()));
        let with = sides_of(&["vol0", "m.so", "--mode", "drain", "--allow-older"]).expect("with a device");
        assert_eq!(with, (Some("vol0".into()), "m.so".into()));
        assert_eq!(
            sides_of(&["m.so", "--device", "vol0"]).expect("said otherwise"),
            (Some("vol0".into()), "m.so".into())
        );
        for (line, says) in [
            (&["vol0", "m.so", "--trusted-keys", "k"][..], "the daemon's keys count"),
            (&["m.so", "--device", "vol0", "--trusted-keys", "k"], "the daemon's keys count"),
            (&["m.so", "--mode", "drain"], "--mode is about replacing"),
            (&["m.so", "--unset", "size"], "--unset is about replacing"),
            (&["m.so", "--allow-older"], "--allow-older is about replacing"),
            (&["m.so", "--allow-again"], "--allow-again is about replacing"),
            (&["vol0", "m.so", "--device", "vol0"], "given twice"),
        ] {
            let failure = sides_of(line).expect_err("it says nothing about this check");
            assert!(failure.message.contains(says), "{line:?}: {}", failure.message);
        }
    }
}
