//! The folder that one open store of one process has for its own copies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Problem;
use crate::known::KnownModules;
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
    /// Modules that need not be read again.
    pub(crate) known: KnownModules,
    /// Hashes of modules that are staged, and by how many.
    used: Mutex<BTreeMap<String, usize>>,
    /// Locked as long as the folder is in use; the kernel unlocks it when the process dies.
    _lock: File,
}

impl Run {
    /// Makes a folder in the store, and removes those of dead processes.
    ///
    /// All of it under the store's own lock, so that nobody takes a folder that is just being made for
    /// one that was left.
    pub(crate) fn start(store: &Path) -> Result<Run, Problem> {
        let _store_lock = lock_whole(store)?;
        let runs = store.join("run");
        let failed = |error: io::Error| Problem::store(&runs, error);
        DirBuilder::new().recursive(true).mode(0o700).create(&runs).map_err(failed)?;
        remove_leftovers(&runs);
        let dir = make_dir(&runs).map_err(failed)?;
        let own_lock = lock_file(&dir.join("lock")).map_err(failed)?;
        lock(&own_lock, libc::LOCK_EX | libc::LOCK_NB).map_err(failed)?;
        Ok(Run {
            dir,
            next: AtomicU64::new(0),
            tried: Mutex::default(),
            known: KnownModules::default(),
            used: Mutex::default(),
            _lock: own_lock,
        })
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
        let copy = ModuleCopy { path: path.clone(), keep: false, memory: None, _run: Arc::clone(self) };
        file.write_all(bytes).map_err(failed)?;
        Ok(copy)
    }

    /// The same; in memory where the folder has no room for it, or has gone: a way back never needs room.
    pub(crate) fn copy_anywhere(self: &Arc<Run>, hash: &str, bytes: &[u8]) -> Result<ModuleCopy, Problem> {
        let no_room = match self.copy(hash, bytes) {
            Ok(copy) => return Ok(copy),
            Err(problem) => problem,
        };
        let memory = memory_file(bytes).map_err(|_| no_room)?;
        // By the number of this process, so that the one that maps it first finds it too. The name is used once
        // at a time: the descriptor is open as long as the module is mapped.
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd()));
        Ok(ModuleCopy { path, keep: false, memory: Some(memory), _run: Arc::clone(self) })
    }

    /// A module of this hash is about to be used, and stays in the store.
    pub(crate) fn in_use(self: &Arc<Run>, hash: &str) -> Arc<InUse> {
        *lock_map(&self.used).entry(hash.to_owned()).or_default() += 1;
        Arc::new(InUse { run: Arc::clone(self), hash: hash.to_owned() })
    }

    /// Does something about a module unless it is in use, and nobody begins to use it meanwhile.
    pub(crate) fn unless_used(&self, hash: &str, work: impl FnOnce() -> bool) -> bool {
        let used = lock_map(&self.used);
        !used.contains_key(hash) && work()
    }

    /// Hashes of modules that are.
    pub(crate) fn used(&self) -> BTreeSet<String> {
        lock_map(&self.used).keys().cloned().collect()
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

    /// The store's own lock.
    pub(crate) fn lock_store(&self, store: &Path) -> Result<File, Problem> {
        lock_whole(store)
    }

    /// Hashes of modules that other processes have loaded from the store, and whether there are such processes.
    pub(crate) fn elsewhere(&self, store: &Path) -> io::Result<(BTreeSet<String>, bool)> {
        let (mut loaded, mut others) = (BTreeSet::new(), false);
        for dir in entries(&store.join("run"))? {
            if dir == self.dir {
                continue;
            }
            others = true;
            loaded.extend(entries(&dir)?.iter().filter_map(|path| {
                let name = path.file_name()?.to_str()?.strip_suffix(".so")?;
                Some(name.split_once('-')?.1.to_owned())
            }));
        }
        Ok((loaded, others))
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
    /// It is in memory, and not a file that could be removed.
    memory: Option<File>,
    _run: Arc<Run>,
}

/// A module that somebody has staged, and may load.
#[derive(Debug)]
pub(crate) struct InUse {
    run: Arc<Run>,
    hash: String,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut used = lock_map(&self.run.used);
        if let Some(count) = used.get_mut(&self.hash) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.hash);
            }
        }
    }
}

/// What a folder has in it: nothing where it has gone.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn lock_map(map: &Mutex<BTreeMap<String, usize>>) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An anonymous file with these bytes.
fn memory_file(bytes: &[u8]) -> io::Result<File> {
    // SAFETY: the name is a NUL-terminated constant; the call touches nothing else of ours.
    let fd = unsafe { libc::memfd_create(c"steadfast-module".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    Ok(file)
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
        match self.memory.take() {
            // What is mapped keeps its name.
            Some(file) if self.keep => std::mem::forget(file),
            Some(_) => {}
            None if self.keep => {}
            None => drop(fs::remove_file(&self.path)),
        }
    }
}

fn lock_whole(store: &Path) -> Result<File, Problem> {
    let path = store.join("lock");
    let file = lock_file(&path).map_err(|error| Problem::store(&path, error))?;
    lock(&file, libc::LOCK_EX).map_err(|error| Problem::store(&path, error))?;
    Ok(file)
}

/// Opens a file to lock it; `O_CLOEXEC` (which `OpenOptions` sets) keeps the lock out of programs that
/// this process starts. A pipe in its place is refused, not waited for.
fn lock_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NONBLOCK).open(path)
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
        let in_use = match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&lock_path) {
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
