//! Lost writes that outlive the process: which medium it was, so that a later daemon knows it again.

use crate::handle::contents::Contents;
use crate::handle::file_lock::FileId;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Writes that were acknowledged, and of which it is not known whether they reached the medium.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The file or block device, as it was opened.
    pub target: String,
    /// What the kernel said, an errno.
    pub errno: i32,
    /// Who was told.
    pub told: String,
    /// Wall clock when it was, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Which medium.
    pub medium: MediumId,
}

impl Lost {
    /// What happened, for people.
    pub fn why(&self) -> String {
        let Lost { target, errno, told, .. } = self;
        let error = std::io::Error::from_raw_os_error(*errno);
        format!("{target}: writes that were acknowledged may be lost: {error} (told to {told})")
    }
}

/// What a medium is known by again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediumId {
    /// A block device, and no file.
    pub block: bool,
    /// The device's number; of a file, that of its file system.
    pub device: u64,
    /// The file's number; 0 of a block device.
    pub inode: u64,
    /// When the file was made (nanoseconds since 1970), or the disk's sequence number; 0: it cannot be told.
    pub stamp: u64,
    /// The start of the machine in which these numbers hold; empty: it cannot be told.
    pub boot: String,
}

impl MediumId {
    /// None for a device of the daemon.
    pub(crate) fn of(contents: &Contents, stamp: u64, boot: &str) -> Option<MediumId> {
        let (block, device, inode) = match contents {
            Contents::Block(number) => (true, *number, 0),
            Contents::File(FileId { device, inode }) => (false, *device, *inode),
            Contents::Device(_) => return None,
        };
        Some(MediumId { block, device, inode, stamp, boot: boot.to_owned() })
    }
}

impl Lost {
    /// Whether this medium, which was opened by that name, is the one that lost writes. Numbers of devices and
    /// sequence numbers of disks hold until the machine starts again; then the disk is known by its name, and the
    /// file by its number and birth. Where it is in doubt it is: who was told can say that it is not.
    pub(crate) fn is_of(&self, id: &MediumId, target: &str) -> bool {
        let known = &self.medium;
        if known.boot == id.boot && !id.boot.is_empty() {
            return known == id;
        }
        let born = known.stamp == id.stamp || known.stamp == 0 || id.stamp == 0;
        match (known.block, id.block) {
            (true, true) => self.target == target,
            (false, false) => known.inode == id.inode && born,
            _ => false,
        }
    }
}

/// Keeps lost writes for the next daemon. It is told on queues' threads: it neither waits nor fails.
pub trait LossBook: Debug + Send + Sync {
    /// A medium has lost writes.
    fn lost(&self, lost: &Lost);
    /// Somebody who was told goes on with it as it is.
    fn accepted(&self, lost: &Lost);
}

/// Which start of the machine this is; empty where the kernel does not say.
pub(crate) fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(contents: &Contents, stamp: u64, boot: &str) -> Lost {
        let medium = MediumId::of(contents, stamp, boot).expect("a file or disk");
        Lost { target: "/d".into(), errno: 5, told: "x".into(), since_unix_ms: 1, medium }
    }

    fn is_of(lost: &Lost, contents: &Contents, stamp: u64, boot: &str, target: &str) -> bool {
        lost.is_of(&MediumId::of(contents, stamp, boot).expect("a file or disk"), target)
    }

    #[test]
    fn a_disk_is_known_again_by_its_numbers_and_after_the_machine_started_by_its_name() {
        let disk = Contents::Block(7);
        let lost = lost(&disk, 3, "one");
        assert!(is_of(&lost, &disk, 3, "one", "/another/name"));
        assert!(!is_of(&lost, &disk, 4, "one", "/d"), "another disk has the number");
        assert!(is_of(&lost, &Contents::Block(8), 1, "two", "/d"));
        assert!(!is_of(&lost, &disk, 3, "two", "/e"));
        assert!(is_of(&lost, &disk, 3, "", "/d"), "in doubt by its name");
    }

    #[test]
    fn a_file_is_known_again_by_its_number_and_birth() {
        let file = |device, inode| Contents::File(FileId { device, inode });
        let lost = lost(&file(1, 2), 9, "one");
        assert!(is_of(&lost, &file(1, 2), 9, "one", "/moved"));
        assert!(!is_of(&lost, &file(1, 2), 10, "one", "/d"), "another file has the number");
        assert!(is_of(&lost, &file(5, 2), 9, "two", "/moved"));
        assert!(!is_of(&lost, &file(1, 3), 9, "two", "/d"), "another file has the name");
        assert!(is_of(&lost, &file(1, 2), 0, "two", "/d"), "in doubt it is");
        assert!(!is_of(&lost, &Contents::Block(1), 9, "two", "/d"));
    }
}
