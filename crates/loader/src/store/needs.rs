//! What each daemon needs of the store, in a list of its own in `STORE/needs`; and when such a list goes.
//!
//! A list has its owner's folder in the first line, then a hash a line. An owner whose folder is not there may be one
//! that is not mounted yet, or that this user can't look at now. So the first time that a folder is missing is noted in
//! the list; the list goes when it has been missing for long, and was never seen there in between.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{hash_of, is_hash};
use crate::error::{LoadError, Problem};
use crate::file;

const FOLDER: &str = "needs";
/// How long an owner's folder is missing before its list goes.
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);
/// Begins the line that says since when the owner's folder is missing, seconds since 1970.
const MISSING: &str = "missing since ";
/// Hexadecimal digits in a list's name: the beginning of the hash of its owner's path.
const NAME: usize = 16;

/// What all the lists say.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Hashes of the modules that are needed.
    pub(super) hashes: BTreeSet<String>,
    /// Owners whose lists have gone.
    pub(super) forgotten: Vec<PathBuf>,
    /// What could not be written or removed; what is needed is known all the same.
    pub(super) failed: Vec<LoadError>,
}

#[derive(Debug, PartialEq, Eq)]
struct List {
    owner: PathBuf,
    hashes: BTreeSet<String>,
    /// Seconds since 1970.
    missing_since: Option<u64>,
}

impl List {
    /// None: it is no list.
    fn parse(bytes: &[u8]) -> Option<List> {
        let mut lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n').peekable();
        let mut owner = lines.next()?.to_vec();
        let entry =
            |line: &[u8]| std::str::from_utf8(line).is_ok_and(|l| is_hash(l) || l.starts_with(MISSING));
        // A path may have any byte in it.
        while let Some(more) = lines.next_if(|line| !entry(line)) {
            owner.push(b'\n');
            owner.extend(more);
        }
        let owner = PathBuf::from(OsStr::from_bytes(&owner));
        let mut list = List { owner, hashes: BTreeSet::new(), missing_since: None };
        for line in lines.filter_map(|line| std::str::from_utf8(line).ok()) {
            match line.strip_prefix(MISSING) {
                Some(since) => list.missing_since = since.parse().ok(),
                None if is_hash(line) => drop(list.hashes.insert(line.to_owned())),
                None => {}
            }
        }
        list.owner.is_absolute().then_some(list)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.owner.as_os_str().as_bytes().to_vec();
        bytes.push(b'\n');
        if let Some(since) = self.missing_since {
            bytes.extend(format!("{MISSING}{since}\n").bytes());
        }
        self.hashes.iter().for_each(|hash| bytes.extend(format!("{hash}\n").bytes()));
        bytes
    }

    /// Writes it whole, or not at all.
    fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&self.bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// Whether an owner's folder is missing; none where that cannot be told.
fn is_missing(owner: &Path) -> Option<bool> {
    match fs::metadata(owner) {
        Ok(_) => Some(false),
        // Not that of a file system that is not mounted, nor of a server that is not there.
        Err(e) if e.kind() == io::ErrorKind::NotFound && owner.parent()?.is_dir() => Some(true),
        Err(_) => None,
    }
}

/// Writes what `owner` needs.
pub(super) fn note(store: &Path, owner: &Path, needed: &BTreeSet<String>) -> io::Result<()> {
    let folder = store.join(FOLDER);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let list = List { owner: owner.canonicalize()?, hashes: needed.clone(), missing_since: None };
    let path = folder.join(&hash_of(list.owner.as_os_str().as_encoded_bytes())[..NAME]);
    if file::read(&path).is_ok_and(|known| known == list.bytes()) {
        return Ok(());
    }
    list.write(&path)
}

/// What everybody needs. The store is locked.
///
/// # Errors
/// A list cannot be read: then nobody knows what is needed.
pub(super) fn of_all(store: &Path, now: SystemTime) -> Result<Needs, LoadError> {
    let mut needs = Needs::default();
    let folder = store.join(FOLDER);
    let failed = |path: &Path, what: &str| LoadError::new(path, Problem::store(path, what));
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(needs),
        Err(e) => return Err(failed(&folder, &e.to_string())),
    };
    for entry in entries {
        let path = entry.map_err(|e| failed(&folder, &e.to_string()))?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.len() != NAME || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            continue;
        }
        let bytes = file::read(&path).map_err(|problem| failed(&path, &problem.to_string()))?;
        let list = List::parse(&bytes);
        let list = list.ok_or_else(|| failed(&path, "it is no list of what a daemon needs (remove it)"))?;
        match keep(&path, &list, now) {
            Ok(true) => needs.hashes.extend(list.hashes),
            Ok(false) => needs.forgotten.push(list.owner),
            Err(e) => {
                needs.failed.push(failed(&path, &e.to_string()));
                needs.hashes.extend(list.hashes);
            }
        }
    }
    Ok(needs)
}

/// Whether a list stays; notes whether its owner is there.
fn keep(path: &Path, list: &List, now: SystemTime) -> io::Result<bool> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let missing_since = match (is_missing(&list.owner), list.missing_since) {
        (Some(true), Some(since)) if seconds.saturating_sub(since) >= LONG.as_secs() => {
            fs::remove_file(path)?;
            return Ok(false);
        }
        // A clock that is behind the list's own time is not set yet.
        (Some(true), None) if fs::metadata(path)?.modified()? <= now => Some(seconds),
        (Some(false), Some(_)) => None,
        _ => return Ok(true),
    };
    let noted = List { owner: list.owner.clone(), hashes: list.hashes.clone(), missing_since };
    noted.write(path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A store with a list of `owner`, who needs one module.
    fn noted(dir: &Path, owner: &Path) -> PathBuf {
        fs::create_dir_all(owner).expect("an owner");
        let store = dir.join("store");
        note(&store, owner, &BTreeSet::from(["a".repeat(64)])).expect("noted");
        store
    }

    fn needed(store: &Path, now: SystemTime) -> usize {
        let needs = of_all(store, now).expect("read");
        assert!(needs.failed.is_empty(), "{needs:?}");
        needs.hashes.len()
    }

    #[test]
    fn an_owner_is_forgotten_after_it_was_missing_for_long_and_not_before() {
        let dir = tempfile::tempdir().expect("a folder");
        let owner = dir.path().join("an owner\nwith \u{fc} lines");
        let (store, now) = (noted(dir.path(), &owner), SystemTime::now() + DAY);
        // However old the list is: that its owner is missing is seen for the first time.
        fs::remove_dir(&owner).expect("removed");
        assert_eq!(needed(&store, now + 400 * DAY), 1);
        assert_eq!(needed(&store, now + 429 * DAY), 1);
        // It was there in between: the time begins anew.
        fs::create_dir(&owner).expect("mounted");
        assert_eq!(needed(&store, now + 431 * DAY), 1);
        fs::remove_dir(&owner).expect("removed");
        assert_eq!(needed(&store, now + 432 * DAY), 1);
        assert_eq!(needed(&store, now + 461 * DAY), 1);
        let needs = of_all(&store, now + 463 * DAY).expect("read");
        assert_eq!((needs.hashes.len(), needs.forgotten), (0, vec![owner]));
        assert_eq!(fs::read_dir(store.join(FOLDER)).expect("there").count(), 0);
    }

    #[test]
    fn an_owner_that_cannot_be_looked_at_is_not_missing() {
        let dir = tempfile::tempdir().expect("a folder");
        let mount = dir.path().join("mount");
        let (store, now) = (noted(dir.path(), &mount.join("steadfast/state")), SystemTime::now() + DAY);
        // Not mounted; then something else in its place, so that there is no such folder at all.
        fs::remove_dir_all(mount.join("steadfast")).expect("removed");
        assert_eq!(needed(&store, now), 1);
        assert_eq!(needed(&store, now + 400 * DAY), 1);
        fs::write(mount.join("steadfast"), "").expect("written");
        assert_eq!(needed(&store, now), 1);
        assert_eq!(needed(&store, now + 400 * DAY), 1);
    }

    #[test]
    fn what_is_no_list_is_named_and_nothing_is_taken_as_unneeded() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = noted(dir.path(), &dir.path().join("owner"));
        fs::write(store.join(FOLDER).join("README"), "not a list").expect("written");
        assert_eq!(needed(&store, SystemTime::now()), 1);
        fs::write(store.join(FOLDER).join("0123456789abcdef"), "").expect("written");
        let error = of_all(&store, SystemTime::now()).expect_err("it may be anybody's").to_string();
        assert!(error.contains("needs/0123456789abcdef"), "{error}");
    }
}
