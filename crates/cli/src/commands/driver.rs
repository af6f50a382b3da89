//! `steadfast driver list` and `check`.

use super::module_argument;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output;
use std::path::PathBuf;
use steadfast_api::{CheckReport, CheckRequest, Drivers};
use steadfast_daemon::ModulePath;

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

/// What an operator allows beyond the ordinary.
pub(crate) struct Allow {
    /// An older version.
    pub(crate) older: bool,
    /// A driver of another name.
    pub(crate) other: bool,
}

/// Prints what a check of `module` finds: by the daemon when it is to replace the driver of a
/// device, else right here.
pub(crate) fn check(
    client: impl Fn() -> Result<Client, Failure>,
    module: &str,
    device: Option<String>,
    allow: Allow,
    json: bool,
) -> Result<Exit, Failure> {
    let report: CheckReport = match device {
        Some(device) => {
            let module = module_argument(module)?;
            let Allow { older: allow_older, other: allow_other } = allow;
            let request = CheckRequest { module, device, allow_older, allow_other };
            client()?.post("/drivers/check", &request)?
        }
        None => steadfast_daemon::check_module(&ModulePath::standard(&[]), module)?,
    };
    if json {
        output::json(&report)?;
    } else {
        output::print(&output::driver::report(&report))?;
    }
    Ok(if report.ok { Exit::Done } else { Exit::Error })
}
