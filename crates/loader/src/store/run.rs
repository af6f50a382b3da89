//! The folder that one open store of one process has for its own copies.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Problem;
use crate::rehearsal::rehearse;

/// Most modules that are remembered; more of them are tried again.
const MOST_TRIED: usize = 1024;

/// The folder, from the opening of a store to the end of the last module that came through it.
#[derive(Debug)]
pub(crate) struct Run {
    dir: PathBuf,
    next: AtomicU64,
    /// Hashes of modules that were mapped in a process of their own.
    tried: Mutex<BTreeSet<String>>,
    /// Locked as long as the folder is in use; the kernel unlocks it when the process dies.
    _lock: File,
}

impl Run {
    /// Makes a folder in the store, and removes those of dead processes.
    ///
    /// All of it under the store's own lock, so that nobody takes a folder that is just being made for
    /// one that was left.
    pub(crate) fn start(store: &Path) -> Result<Run, Problem> {
        let lock_path = store.join("lock");
        let store_lock = lock_file(&lock_path).map_err(|error| Problem::store(&lock_path, error))?;
        lock(&store_lock, libc::LOCK_EX).map_err(|error| Problem::store(&lock_path, error))?;
        let runs = store.join("run");
        let failed = |error: io::Error| Problem::store(&runs, error);
        DirBuilder::new().recursive(true).mode(0o700).create(&runs).map_err(failed)?;
        remove_leftovers(&runs);
        let dir = make_dir(&runs).map_err(failed)?;
        let own_lock = lock_file(&dir.join("lock")).map_err(failed)?;
        lock(&own_lock, libc::LOCK_EX | libc::LOCK_NB).map_err(failed)?;
        Ok(Run { dir, next: AtomicU64::new(0), tried: Mutex::default(), _lock: own_lock })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file of its own.
    pub(crate) fn copy(self: &Arc<Run>, hash: &str, bytes: &[u8]) -> Result<ModuleCopy, Problem> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{number}-{hash}.so"));
        let failed = |error: io::Error| Problem::store(&path, error);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o500).open(&path).map_err(failed)?;
        let copy = ModuleCopy { path: path.clone(), keep: false, _run: Arc::clone(self) };
        file.write_all(bytes).map_err(failed)?;
        Ok(copy)
    }

    /// Writes a file of its own that is on the disk when this returns.
    pub(crate) fn durable_copy(self: &Arc<Run>, hash: &str, bytes: &[u8]) -> Result<ModuleCopy, Problem> {
        let copy = self.copy(hash, bytes)?;
        let synced = File::open(&copy.path).and_then(|file| file.sync_all());
        synced.map_err(|error| Problem::store(&copy.path, error))?;
        Ok(copy)
    }

    /// Maps the copy of a module in a process of its own, unless one with the same bytes has been.
    pub(crate) fn rehearse(&self, hash: &str, copy: &Path) -> Result<(), Problem> {
        let tried = || self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried().contains(hash) {
            return Ok(());
        }
        rehearse(copy)?;
        let mut tried = tried();
        if tried.len() >= MOST_TRIED {
            tried.clear();
        }
        tried.insert(hash.to_owned());
        Ok(())
    }

    /// Removes the folder now.
    pub(crate) fn end(self) -> io::Result<()> {
        fs::remove_dir_all(&self.dir)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // What cannot be removed now is a leftover, and removed by who opens the store next.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A file in the folder, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct ModuleCopy {
    path: PathBuf,
    keep: bool,
    _run: Arc<Run>,
}

impl ModuleCopy {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the file where it is, or has been renamed to.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for ModuleCopy {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens a file to lock it; `O_CLOEXEC` (which `OpenOptions` sets) keeps the lock out of programs that
/// this process starts.
fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn lock(file: &File, how: libc::c_int) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open as long as `file` is borrowed; `flock` touches no memory.
        if unsafe { libc::flock(file.as_raw_fd(), how) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Makes a folder that is named after the process and is not there yet. Process numbers are no proof
/// of anything (another container may have the same), so a name that is taken is simply passed over.
fn make_dir(runs: &Path) -> io::Result<PathBuf> {
    for number in 0u32.. {
        let dir = runs.join(format!("{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no free name"))
}

/// Removes the folders whose lock nobody holds. What cannot be removed (it may be another user's) is
/// left for another time: it is in nobody's way.
fn remove_leftovers(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for dir in entries.flatten().map(|entry| entry.path()) {
        let lock_path = dir.join("lock");
        let in_use = match OpenOptions::new().write(true).open(&lock_path) {
            // Held while the folder is removed: nobody else removes it meanwhile.
            Ok(file) => match lock(&file, libc::LOCK_EX | libc::LOCK_NB) {
                Ok(()) => {
                    let _ = fs::remove_dir_all(&dir);
                    false
                }
                Err(_) => true,
            },
            // No lock: it was being removed when its process ended.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if !in_use {
            let _ = fs::remove_dir_all(&dir);
        }
    }
}
