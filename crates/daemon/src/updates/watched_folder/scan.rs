//! Looks into the watched folders: what is there, what of it is whole, and what it is.

use super::settle::{Settling, Stamp, is_meant};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;
use steadfast_loader::{ModuleStore, StagedModule, check_guarded, check_owner};
use steadfast_shell::auto::Offer;

/// The watched folders, and what is known of their files.
#[derive(Debug)]
pub(crate) struct Scan {
    folders: Vec<PathBuf>,
    settling: Settling,
    origin: Instant,
    /// What has settled: a module, or what is wrong with it.
    known: BTreeMap<PathBuf, Result<Offer, String>>,
    /// The modules among them, which stay in the store as long as they are there.
    staged: BTreeMap<PathBuf, StagedModule>,
    /// What is wrong with a folder; so that it is said once.
    wrong: BTreeMap<PathBuf, String>,
}

/// What a scan came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Modules came or went.
    pub(crate) changed: bool,
    /// Some files have not settled.
    pub(crate) unsettled: bool,
}

impl Scan {
    pub(crate) fn new(folders: Vec<PathBuf>, settle_ns: u64) -> Scan {
        Scan {
            folders,
            settling: Settling::new(settle_ns),
            origin: Instant::now(),
            known: BTreeMap::new(),
            staged: BTreeMap::new(),
            wrong: BTreeMap::new(),
        }
    }

    /// The modules that are there, whole.
    pub(crate) fn offers(&self) -> Vec<Offer> {
        self.known.values().filter_map(|known| known.as_ref().ok().cloned()).collect()
    }

    /// Looks once. What has settled is read, and checked as the loader checks it.
    pub(crate) fn look(&mut self, store: &ModuleStore) -> Scanned {
        let now_ns = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let files = self.list();
        let found = self.settling.look(now_ns, files);
        let mut scanned = Scanned { changed: !found.gone.is_empty(), unsettled: found.unsettled };
        for path in found.gone {
            self.known.remove(&path);
            self.staged.remove(&path);
        }
        for (path, stamp) in found.ready {
            match examine(&path, stamp, store) {
                None => {
                    self.settling.again(now_ns, &path);
                    scanned.unsettled = true;
                }
                Some(known) => {
                    say(&path, &known);
                    self.settling.done(&path);
                    if let Ok(offer) = &known
                        && let Ok(staged) = store.get(&offer.release.hash).or_else(|_| store.stage(&path))
                    {
                        self.staged.insert(path.clone(), staged);
                    }
                    self.known.insert(path, known);
                    scanned.changed = true;
                }
            }
        }
        scanned
    }

    fn list(&mut self) -> BTreeMap<PathBuf, Stamp> {
        let mut files = BTreeMap::new();
        for folder in &self.folders {
            let now_wrong = list_one(folder, &mut files).err();
            match &now_wrong {
                Some(what) if self.wrong.get(folder) != Some(what) => {
                    tracing::warn!("watched folder {}: {what}", folder.display());
                }
                _ => {}
            }
            match now_wrong {
                Some(what) => drop(self.wrong.insert(folder.clone(), what)),
                None => drop(self.wrong.remove(folder)),
            }
        }
        files
    }
}

fn say(path: &Path, known: &Result<Offer, String>) {
    match known {
        Ok(Offer { release, .. }) => {
            tracing::info!("found {} {} in {}", release.driver, release.version, path.display());
        }
        Err(why) => tracing::warn!("passed over: {why}"),
    }
}

/// Adds a folder's files. One that does not exist is empty: its package may not be installed yet.
fn list_one(folder: &Path, files: &mut BTreeMap<PathBuf, Stamp>) -> Result<(), String> {
    match fs::metadata(folder) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e.to_string()),
    }
    check_guarded(folder)?;
    for entry in fs::read_dir(folder).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let meant = path.file_name().and_then(|name| name.to_str()).is_some_and(is_meant);
        // What vanishes between the two calls has vanished.
        if let Some(stamp) = meant.then(|| stamp(&path)).flatten() {
            files.insert(path, stamp);
        }
    }
    Ok(())
}

/// A regular file's stamp.
fn stamp(path: &Path) -> Option<Stamp> {
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    let changed = |metadata: &Metadata| ns(metadata.ctime(), metadata.ctime_nsec());
    let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
    let mut signature = path.as_os_str().to_owned();
    signature.push(".minisig");
    Some(Stamp {
        file: (metadata.dev(), metadata.ino()),
        size: metadata.size(),
        written_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: changed(&metadata),
        signature_ns: fs::metadata(signature).map_or(0, |metadata| changed(&metadata)),
    })
}

/// Reads a settled file. `None`: it is not as it was, or somebody has it open to write.
fn examine(path: &Path, settled: Stamp, store: &ModuleStore) -> Option<Result<Offer, String>> {
    let refused = |what: String| Some(Err(format!("{}: {what}", path.display())));
    let metadata = fs::metadata(path).ok()?;
    if let Err(why) = check_owner(&metadata) {
        return refused(why);
    }
    // What is no regular file any more must not be opened: a pipe would wait for a writer.
    if stamp(path)? != settled {
        return None;
    }
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    match open {
        Ok(file) if is_being_written(&file) => return None,
        Ok(_) => {}
        Err(e) => return refused(e.to_string()),
    }
    let known = match store.stage(path) {
        // It would be refused again and again; it is not even in the store.
        Ok(staged) => match staged.refusal() {
            Some(why) => Err(why.to_string()),
            None => Ok(Offer { release: staged.release(), path: path.display().to_string() }),
        },
        Err(e) => Err(e.to_string()),
    };
    // What was read is what had settled, and not something written meanwhile.
    (stamp(path) == Some(settled)).then_some(known)
}

/// As `fcntl(2)` numbers it on Linux, everywhere.
const F_SETSIG: libc::c_int = 10;

/// Whether somebody has the file open to write, as far as the kernel says: it grants a read lease only
/// on a file that nobody writes. For files of other users, and on some network file systems, it grants
/// none at all; there the settle time alone decides.
fn is_being_written(file: &File) -> bool {
    let fd = file.as_raw_fd();
    // A writer that comes while the lease is held is told of by a signal, SIGIO by default, which would
    // end the process; SIGURG is ignored.
    // SAFETY: `fd` is open for as long as `file` lives; `fcntl` takes no pointer here.
    let result = unsafe {
        libc::fcntl(fd, F_SETSIG, libc::SIGURG);
        libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK)
    };
    if result == 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
        return false;
    }
    io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::thread::sleep;
    use std::time::Duration;

    struct Place {
        dir: tempfile::TempDir,
        store: ModuleStore,
        scan: Scan,
    }

    impl Place {
        fn new() -> Place {
            let dir = tempfile::tempdir().expect("a folder");
            let watched = dir.path().join("modules");
            fs::create_dir(&watched).expect("made");
            let store = ModuleStore::open(dir.path().join("store")).expect("a store");
            Place { store, scan: Scan::new(vec![watched], 0), dir }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join("modules").join(name)
        }

        /// As many looks as it takes until all has settled.
        fn settle(&mut self) -> usize {
            for _ in 0..3 {
                self.scan.look(&self.store);
                sleep(Duration::from_millis(1));
            }
            self.scan.known.len()
        }
    }

    #[test]
    fn what_is_no_module_is_passed_over_until_it_changes() {
        let mut place = Place::new();
        let path = place.path("a.so");
        fs::write(&path, "not a module").expect("written");
        fs::write(place.path("a.so.dpkg-new"), "half a module").expect("written");
        assert_eq!(place.settle(), 1);
        let why = place.scan.known[&path].as_ref().expect_err("it is text");
        assert!(why.contains("a.so"), "{why}");
        assert_eq!(place.scan.look(&place.store), Scanned::default(), "nothing is done twice");
        fs::remove_file(&path).expect("removed");
        assert!(place.scan.look(&place.store).changed);
        assert!(place.scan.known.is_empty());
    }

    #[test]
    fn a_file_that_is_open_to_write_is_left_alone() {
        let mut place = Place::new();
        let path = place.path("a.so");
        let mut writer = File::create(&path).expect("created");
        writer.write_all(b"half").expect("written");
        // Where the kernel grants no leases at all, nothing can be told.
        if !is_being_written(&File::open(&path).expect("opened")) {
            eprintln!("skipped: the kernel grants no leases here");
            return;
        }
        assert_eq!(place.settle(), 0);
        drop(writer);
        assert_eq!(place.settle(), 1);
    }

    #[test]
    fn a_folder_that_everybody_can_write_to_is_refused() {
        let mut place = Place::new();
        fs::write(place.path("a.so"), "x").expect("written");
        let folder = place.dir.path().join("modules");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("changed");
        assert_eq!(place.settle(), 0);
        assert!(place.scan.wrong[&folder].contains("chmod o-w"));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("changed");
        assert_eq!(place.settle(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_empty() {
        let mut place = Place::new();
        place.scan.folders.push("/nonexistent/modules".into());
        assert_eq!((place.settle(), place.scan.wrong.len()), (0, 0));
    }
}
