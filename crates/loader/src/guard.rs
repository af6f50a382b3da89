//! Folders and files that decide what this process runs: modules and the store, keys, and whatever names them.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The bit by which only its owner may take something out of a folder.
const STICKY: u32 = 0o1000;
/// Every user of the machine may write.
const OPEN: u32 = 0o002;

/// Checks that nobody but root and this process's own user can write to a path, or put something else in its place:
/// its owner and permissions, and those of every folder above it. Groups are the administrator's own to fill.
///
/// # Errors
/// In words: what is open, and how to close it; or that it cannot be looked at.
pub fn check_guarded(path: &Path) -> Result<(), String> {
    let whole = std::path::absolute(path).map_err(|e| e.to_string())?;
    // The way as it is written, whose symbolic links somebody may own, and the way that it comes to.
    let real = fs::canonicalize(&whole).map_err(|e| e.to_string())?;
    for way in [&whole, &real] {
        for step in way.ancestors() {
            let metadata = fs::symlink_metadata(step).map_err(|e| format!("{}: {e}", step.display()))?;
            let last = step == way.as_path();
            judge(&metadata, last).map_err(|why| match last {
                true => why,
                false => format!("the folder {} above it: {why}", step.display()),
            })?;
        }
    }
    Ok(())
}

/// The same for one file or folder alone, by what is known of it.
///
/// # Errors
/// As for [`check_guarded`].
pub fn check_owner(metadata: &Metadata) -> Result<(), String> {
    judge(metadata, true)
}

/// `itself`: not merely a folder on the way, in which each may have something of his own where it is sticky.
fn judge(metadata: &Metadata, itself: bool) -> Result<(), String> {
    // SAFETY: it takes nothing, always succeeds and touches no memory.
    let own = unsafe { libc::geteuid() };
    let (owner, mode) = (metadata.uid(), metadata.permissions().mode());
    if owner != 0 && owner != own {
        return Err(format!(
            "it belongs to another user (uid {owner}), who could change what is run; it has to be root's, or of uid {own} \
             (chown)"
        ));
    }
    let sticky = !itself && mode & STICKY != 0;
    // Permissions of a symbolic link mean nothing.
    if mode & OPEN != 0 && !sticky && !metadata.is_symlink() {
        return Err(
            "every user of this machine can write to it; nothing is taken from it (chmod o-w)".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    }

    #[test]
    fn what_others_can_write_to_is_refused_all_the_way_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let (above, folder) = (dir.path().join("above"), dir.path().join("above/folder"));
        fs::create_dir_all(&folder).expect("made");
        assert_eq!(check_guarded(&folder), Ok(()), "a sticky folder above, as /tmp, is none's to spoil");
        chmod(&folder, 0o777);
        assert!(check_guarded(&folder).expect_err("open").contains("chmod o-w"));
        chmod(&folder, 0o1777);
        assert!(check_guarded(&folder).is_err(), "whoever can add a file there decides");
        chmod(&folder, 0o755);
        chmod(&above, 0o777);
        let why = check_guarded(&folder).expect_err("it can be put aside");
        assert!(why.contains("/above above it: every user"), "{why}");
        chmod(&above, 0o775);
        assert_eq!(check_guarded(&folder), Ok(()));
        let link = dir.path().join("link");
        symlink(&folder, &link).expect("linked");
        assert_eq!(check_guarded(&link), Ok(()));
        chmod(&folder, 0o777);
        assert!(check_guarded(&link).is_err(), "what it leads to counts");
        assert!(check_guarded(&dir.path().join("none")).is_err());
    }

    #[test]
    #[ignore = "needs root: `cargo xtask test` runs it as the step loop-devices"]
    fn what_belongs_to_another_user_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::chown(dir.path(), Some(12345), None).expect("given away");
        assert!(check_guarded(dir.path()).expect_err("not ours").contains("uid 12345"));
    }
}
