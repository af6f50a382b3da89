//! One daemon to a folder of state, and to one of parameters: what two of them write there would be neither's.

use crate::files::lock_file::{open_lock, try_lock};
use crate::start::error::ServeError;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};
use steadfast_loader::check_guarded;

/// The lock's file within the folder.
const FILE: &str = "daemon.lock";
/// How long a daemon that is on its way out is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Held as long as it lives; the kernel lets it go however the daemon ends.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Locks a folder, `what` for people, which is made when it is not there. A folder that nothing can be written to is
    /// nobody's to spoil: it goes without a lock.
    ///
    /// # Errors
    /// `FolderInUse`: another daemon has it. `FolderOpen`: others can write to it, or to what it lies in.
    pub(crate) fn take(what: &'static str, folder: &Path) -> Result<Option<StateLock>, ServeError> {
        let made = steadfast_settings::make_folder(folder, 0o700);
        if let (Ok(()), Err(why)) = (&made, check_guarded(folder)) {
            return Err(ServeError::FolderOpen { what, folder: folder.to_owned(), why });
        }
        let opened = made.and_then(|()| open_lock(&folder.join(FILE)));
        let file = match opened {
            Ok((file, _)) => file,
            Err(e) => {
                tracing::warn!("{what} folder {}: cannot be locked: {e}", folder.display());
                return Ok(None);
            }
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match try_lock(&file) {
                Ok(true) => return Ok(Some(StateLock { _file: file })),
                Err(e) => {
                    tracing::warn!("{what} folder {}: cannot be locked: {e}", folder.display());
                    return Ok(None);
                }
                Ok(false) if Instant::now() >= until => {
                    return Err(ServeError::FolderInUse { what, folder: folder.to_owned() });
                }
                Ok(false) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_is_one_daemons_until_it_has_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = dir.path().join("state");
        let held = StateLock::take("state", &state).expect("free").expect("locked");
        let refused = StateLock::take("state", &state).expect_err("taken").to_string();
        assert!(refused.contains("state") && refused.contains("another daemon"), "{refused}");
        drop(held);
        assert!(StateLock::take("state", &state).expect("free again").is_some());
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("parameters");
        fs::create_dir(&folder).expect("made");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("changed");
        let refused = StateLock::take("parameters", &folder).expect_err("open").to_string();
        assert!(refused.starts_with("parameters folder ") && refused.contains("chmod o-w"), "{refused}");
    }
}
