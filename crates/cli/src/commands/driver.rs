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
    let (device, module) = sides(check.what, check.device)?;
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
                mode: check.mode.map(super::update::mode),
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

/// Device and module of `[DEVICE] MODULE`.
fn sides(what: Vec<String>, device: Option<String>) -> Result<(Option<String>, String), Failure> {
    let mut what = what.into_iter();
    match (what.next(), what.next(), device) {
        (Some(device), Some(module), None) => Ok((Some(device), module)),
        (Some(module), None, device) => Ok((device, module)),
        _ => Err(Failure::new("the device is given twice, by name and by --device")),
    }
}
