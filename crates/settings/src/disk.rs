//! Reading files, and writing them whole or not at all.

use crate::SettingsError;
use crate::reader::read_text;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Permissions of a file that was not there, before the umask.
const NEW_FILE: u32 = 0o644;
/// The same of a folder: whatever the umask is, what is in it decides what runs.
const FOLDER: u32 = 0o755;
/// How the name of a file that is being written begins and ends: nobody else's does.
pub const NEW: (&str, &str) = (".steadfast-", ".new");

/// A file's text; none where there is no file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    let fail = |error| SettingsError::Read { path: path.to_owned(), error };
    match read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(fail(e)),
    }
}

/// Puts `text` where `before` (none: nothing) was read from. The new contents are on the medium under
/// another name before they get the file's own, so whatever happens either is there whole. Permissions
/// and owner stay; a symbolic link stays one.
pub(crate) fn replace(path: &Path, before: Option<&str>, text: &str) -> Result<(), SettingsError> {
    let fail = |error| SettingsError::Write { path: path.to_owned(), error };
    let target = target(path).map_err(fail)?;
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(folder, FOLDER).map_err(fail)?;
    let new = written_beside(&target, folder, text.as_bytes()).map_err(fail)?;
    if read(path)?.as_deref() != before {
        return Err(SettingsError::Changed { path: path.to_owned() });
    }
    match before {
        Some(_) => new.persist(&target).map(drop).map_err(|e| fail(e.error))?,
        // Two who both found nothing there: the second one is told.
        None => match new.persist_noclobber(&target) {
            Ok(_) => {}
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => {
                return Err(SettingsError::Changed { path: path.to_owned() });
            }
            Err(e) => return Err(fail(e.error)),
        },
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
}

/// Puts a file with these contents in the place of the one that is there, if one is, once it is on the medium.
/// Permissions and owner stay; a symbolic link stays one. Its folder is made where there is none.
///
/// # Errors
/// Why it could not be written; what was there still is.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let target = target(path)?;
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(folder, FOLDER)?;
    let new = written_beside(&target, folder, contents)?;
    new.persist(&target).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

/// Makes a folder, and those that it is in, where they are not there. Each one's name is on the medium when this
/// returns: what is written into it survives a power cut. `mode` is before the umask.
///
/// # Errors
/// It cannot be made.
pub fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(parent, mode)?;
    match DirBuilder::new().mode(mode).create(folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists || !folder.is_dir() => return Err(e),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

/// Takes the file away that `before` was read from.
pub(crate) fn remove(path: &Path, before: &str) -> Result<(), SettingsError> {
    let fail = |error| SettingsError::Write { path: path.to_owned(), error };
    if read(path)?.as_deref() != Some(before) {
        return Err(SettingsError::Changed { path: path.to_owned() });
    }
    let target = target(path).map_err(fail)?;
    fs::remove_file(&target).map_err(fail)?;
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
}

fn written_beside(target: &Path, folder: &Path, contents: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let old = match fs::metadata(target) {
        Ok(metadata) => Some(metadata),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let mut new = tempfile::Builder::new()
        .prefix(NEW.0)
        .suffix(NEW.1)
        .permissions(fs::Permissions::from_mode(NEW_FILE))
        .tempfile_in(folder)?;
    new.write_all(contents)?;
    if let Some(old) = old {
        let made = new.as_file().metadata()?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            // Who may not give a file away keeps it: the contents count.
            let _ = fchown(new.as_file(), Some(old.uid()), Some(old.gid()));
        }
        new.as_file().set_permissions(old.permissions())?;
    }
    new.as_file().sync_all()?;
    Ok(new)
}

/// Takes away what writes that were cut short have left in a folder: files by names that only writes
/// give. Nobody else may be writing there. Returns how many there were.
pub fn clear_unfinished(folder: &Path) -> usize {
    let unfinished = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(NEW.0) && name.ends_with(NEW.1));
        ours && entry.metadata().is_ok_and(|m| m.is_file())
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(unfinished).filter(|entry| fs::remove_file(entry.path()).is_ok()).count()
}

/// The file that a path ends at, through symbolic links, whether it is there or not.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    // As many as the kernel follows.
    for _ in 0..40 {
        match fs::read_link(&target) {
            Ok(link) => target = target.parent().unwrap_or(Path::new("")).join(link),
            Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => return Ok(target),
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("folder")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_and_its_folder_are_made() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("parameters/file.toml");
        assert_eq!(read(&path).expect("readable"), None);
        replace(&path, None, "a = 1\n").expect("written");
        assert_eq!(read(&path).expect("readable").as_deref(), Some("a = 1\n"));
        assert_eq!(names(path.parent().expect("folder")), ["file.toml"], "nothing else is left");
    }

    #[test]
    fn what_somebody_else_wrote_is_not_written_over() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file.toml");
        replace(&path, None, "a").expect("written");
        for before in [None, Some("b")] {
            let refused = replace(&path, before, "c").expect_err("it is another one");
            assert!(refused.to_string().contains("was changed by somebody else"), "{refused}");
        }
        assert!(matches!(remove(&path, "b"), Err(SettingsError::Changed { .. })));
        remove(&path, "a").expect("removed");
        assert!(matches!(replace(&path, Some("a"), "c"), Err(SettingsError::Changed { .. })));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn permissions_and_links_stay() {
        let folder = tempfile::tempdir().expect("folder");
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("file.toml"));
        fs::write(&real, "a").expect("written");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("set");
        symlink("real.toml", &link).expect("link");
        replace(&link, Some("a"), "b").expect("written");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_to_string(&real).expect("there"), "b");
        assert_eq!(fs::metadata(&real).expect("there").permissions().mode() & 0o777, 0o640);
        let (empty, later) = (folder.path().join("later.toml"), folder.path().join("sub/later.toml"));
        symlink("sub/later.toml", &empty).expect("link");
        replace(&empty, None, "c").expect("written through the link");
        assert_eq!(fs::read_to_string(&later).expect("there"), "c");
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file.toml");
        fs::create_dir(&path).expect("a folder in its place");
        assert!(matches!(read(&path), Err(SettingsError::Read { .. })));
        assert!(replace(&path, None, "a").is_err());
        assert_eq!(names(folder.path()), ["file.toml"]);
        let bytes = folder.path().join("bytes.toml");
        fs::write(&bytes, [0xff, 0xfe]).expect("written");
        let refused = read(&bytes).expect_err("no text").to_string();
        assert!(refused.ends_with("cannot be read: it is not UTF-8 text"), "{refused}");
    }

    #[test]
    fn what_a_write_that_was_cut_short_has_left_is_cleared_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        for name in [".steadfast-x1Y2z3.new", ".abc.new", "file.toml", ".steadfast-mine"] {
            fs::write(folder.path().join(name), "a").expect("written");
        }
        fs::create_dir(folder.path().join(".steadfast-dir.new")).expect("made");
        assert_eq!(clear_unfinished(folder.path()), 1);
        assert_eq!(names(folder.path()), [".abc.new", ".steadfast-dir.new", ".steadfast-mine", "file.toml"]);
        assert_eq!(clear_unfinished(&folder.path().join("nosuch")), 0);
    }
}
