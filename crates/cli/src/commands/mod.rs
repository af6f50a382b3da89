//! The commands, one function each.

pub(crate) mod clients;
pub(crate) mod device;
pub(crate) mod driver;
pub(crate) mod files;
pub(crate) mod params;
pub(crate) mod ports;
mod probation;
pub(crate) mod profiles;
pub(crate) mod receipt;
mod rolling;
mod serve;
mod status;
mod test;
mod update;
mod watch;
mod whole;

pub(crate) use serve::serve;
pub(crate) use status::status;
pub(crate) use test::test;
pub(crate) use update::update;
pub(crate) use watch::watch;

use crate::failure::Failure;
use std::path::Path;

/// What to do where another file would come under clients.
const UNDER_CLIENTS: &str = "disconnect who uses it; --force does it under them all the same";

/// What the daemon is told about a module: a path becomes absolute, because the daemon's own folder
/// is another one; a driver name stays what it is.
pub(crate) fn module_argument(module: &str) -> Result<String, Failure> {
    if !steadfast_daemon::is_module_path(module) {
        return Ok(module.to_owned());
    }
    let path =
        std::path::absolute(Path::new(module)).map_err(|e| Failure::new(format!("module {module}: {e}")))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| Failure::new(format!("module {}: the path is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_names_stay() {
        assert_eq!(module_argument("file@1.1.0").expect("a name"), "file@1.1.0");
        let path = module_argument("./libx.so").expect("a path");
        assert!(path.starts_with('/') && path.ends_with("/libx.so"), "{path}");
        assert_eq!(module_argument("/a/b").expect("a path"), "/a/b");
    }
}
