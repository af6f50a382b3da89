//! One daemon to a state folder: what two of them write there would be neither's.

use crate::error::ServeError;
use crate::lock_file::{open_lock, try_lock};
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

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
    /// Locks a state folder, which is made when it is not there. A folder that nothing can be written to is
    /// nobody's to spoil: it goes without a lock.
    ///
    /// # Errors
    /// `StateInUse`: another daemon has it.
    pub(crate) fn take(folder: &Path) -> Result<Option<StateLock>, ServeError> {
        let mut make = fs::DirBuilder::new();
        let opened =
            make.recursive(true).mode(0o700).create(folder).and_then(|()| open_lock(&folder.join(FILE)));
        let file = match opened {
            Ok((file, _)) => file,
            Err(e) => {
                tracing::warn!("state folder {}: cannot be locked: {e}", folder.display());
                return Ok(None);
            }
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match try_lock(&file) {
                Ok(true) => return Ok(Some(StateLock { _file: file })),
                Err(e) => {
                    tracing::warn!("state folder {}: cannot be locked: {e}", folder.display());
                    return Ok(None);
                }
                Ok(false) if Instant::now() >= until => {
                    return Err(ServeError::StateInUse(folder.to_owned()));
                }
                Ok(false) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_daemons_until_it_has_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = dir.path().join("state");
        let held = StateLock::take(&state).expect("free").expect("locked");
        let refused = StateLock::take(&state).expect_err("taken").to_string();
        assert!(refused.contains("state") && refused.contains("another daemon"), "{refused}");
        drop(held);
        assert!(StateLock::take(&state).expect("free again").is_some());
    }
}
