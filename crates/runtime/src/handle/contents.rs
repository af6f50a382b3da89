//! What is behind a handle, whatever it is called.

use crate::handle::Handle;
use crate::handle::ask::ask_file;
use crate::handle::file_lock::FileId;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use steadfast_shell::comeback::DEVICE;

/// What is behind a handle, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    File(FileId),
    /// A block device, by its number.
    Block(u64),
    /// A device of the daemon, by its name: one that has gone and comes again is meant to be the same.
    Device(String),
}

impl Contents {
    pub(crate) fn of(meta: &Metadata) -> Contents {
        if meta.file_type().is_block_device() {
            Contents::Block(meta.rdev())
        } else {
            Contents::File(FileId::of(meta))
        }
    }

    /// The same as text that can be kept.
    pub(crate) fn identity(&self) -> String {
        match self {
            Contents::File(FileId { device, inode }) => format!("file:{device}:{inode}"),
            Contents::Block(number) => format!("block:{number}"),
            Contents::Device(name) => format!("{DEVICE}{name}"),
        }
    }
}

/// Which file or block device a path leads to now, as text that can be kept; none where it leads to nothing, or to what
/// does not answer.
pub fn identity_of(path: &str) -> Option<String> {
    let target = path.to_owned();
    let asked = ask_file(path, move || std::fs::metadata(target));
    asked?.ok().map(|meta| Contents::of(&meta).identity())
}

/// What a driver has opened.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) key: String,
    pub(crate) target: String,
    pub(crate) contents: Contents,
}

impl Handle {
    pub(crate) fn opened(&self) -> Opened {
        Opened { key: self.key.clone(), target: self.spec.target.clone(), contents: self.contents.clone() }
    }
}
