//! What a file or block device lies on: two that share bytes are not written to beside each other, whatever they are
//! called.
//!
//! A disk and its partitions share bytes, and so do a device and what it was made of (a loop device and its file, a
//! mapped device and its parts), and two loop devices over one file. The kernel says so in `/sys`; where that is not to
//! be had, only what is the same by its number is known to be.

use crate::handle::contents::Contents;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// So many layers are looked through.
const DEPTH: usize = 16;

/// What one has open, and what that lies on.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    own: Contents,
    /// A block device, its disk, and its partitions, by number.
    related: Vec<u64>,
    /// What it was made of, all the way down.
    below: Vec<Contents>,
    backing: Option<Backing>,
}

/// The part of a file that a loop device shows.
#[derive(Clone, Debug)]
struct Backing {
    /// The loop device: its partitions lie beside each other.
    disk: u64,
    file: Contents,
    bytes: Range<u64>,
}

impl Ground {
    pub(crate) fn of(own: &Contents) -> Ground {
        let mut ground = Ground { own: own.clone(), related: Vec::new(), below: Vec::new(), backing: None };
        if let Contents::Block(number) = own {
            ground.related = related(*number);
            ground.backing = backing(*number);
            let mut next = parts(*number);
            for _ in 0..DEPTH {
                next.retain(|part| !ground.below.contains(part));
                ground.below.extend(next.iter().cloned());
                let numbers = next.into_iter().filter_map(|part| match part {
                    Contents::Block(number) => Some(number),
                    _ => None,
                });
                next = numbers.flat_map(parts).collect();
            }
        }
        ground
    }

    /// It is what lies on this.
    pub(crate) fn is_of(&self, contents: &Contents) -> bool {
        self.own == *contents
    }

    /// Whether what is written to the one is read from the other.
    pub(crate) fn shares_bytes(&self, other: &Ground) -> bool {
        let backed =
            || self.backing.as_ref().zip(other.backing.as_ref()).is_some_and(|(a, b)| a.shares_bytes(b));
        self.is(&other.own)
            || other.below.iter().any(|part| self.is(part))
            || self.below.iter().any(|part| other.is(part))
            || backed()
    }

    /// It is this one, its disk or a partition of it.
    fn is(&self, other: &Contents) -> bool {
        match other {
            Contents::Block(number) => self.related.contains(number),
            other => self.own == *other,
        }
    }
}

impl Backing {
    fn shares_bytes(&self, other: &Backing) -> bool {
        let apart = self.bytes.end <= other.bytes.start || other.bytes.end <= self.bytes.start;
        self.disk != other.disk && self.file == other.file && !apart
    }
}

/// What the kernel says of a block device.
fn sysfs(number: u64) -> Option<PathBuf> {
    let name = format!("{}:{}", libc::major(number), libc::minor(number));
    fs::canonicalize(Path::new("/sys/dev/block").join(name)).ok()
}

/// The same of the disk that it is, or is a partition of.
fn disk(number: u64) -> Option<PathBuf> {
    let place = sysfs(number)?;
    if place.join("partition").exists() { place.parent().map(Path::to_owned) } else { Some(place) }
}

fn word(path: PathBuf) -> Option<String> {
    fs::read_to_string(path).map(|text| text.trim_end_matches('\n').to_owned()).ok()
}

fn number_in(place: &Path) -> Option<u64> {
    let text = word(place.join("dev"))?;
    let (major, minor) = text.split_once(':')?;
    Some(libc::makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// A block device, and its partitions or its disk.
pub(crate) fn related(number: u64) -> Vec<u64> {
    let mut all = vec![number];
    let Some(place) = sysfs(number) else { return all };
    if place.join("partition").exists() {
        all.extend(place.parent().and_then(number_in));
    } else {
        let parts = fs::read_dir(&place).into_iter().flatten().flatten().map(|entry| entry.path());
        all.extend(parts.filter(|part| part.join("partition").exists()).filter_map(|part| number_in(&part)));
    }
    all
}

/// What a block device was made of.
fn parts(number: u64) -> Vec<Contents> {
    let Some(disk) = disk(number) else { return Vec::new() };
    let slaves = fs::read_dir(disk.join("slaves")).into_iter().flatten().flatten();
    let slaves = slaves.filter_map(|slave| number_in(&slave.path())).map(Contents::Block);
    slaves.chain(backing(number).map(|backing| backing.file)).collect()
}

fn backing(number: u64) -> Option<Backing> {
    let disk = disk(number)?;
    let about = |name: &str| word(disk.join("loop").join(name));
    // A file that has no name any more cannot be opened by anybody else.
    let file = Contents::of(&fs::metadata(about("backing_file")?).ok()?);
    let bytes = |name| about(name).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let (start, length) = (bytes("offset"), bytes("sizelimit"));
    let end = if length == 0 { u64::MAX } else { start.saturating_add(length) };
    Some(Backing { disk: number_in(&disk)?, file, bytes: start..end })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(disk: u64, file: u64, bytes: Range<u64>) -> Ground {
        let file = Contents::Block(file);
        Ground {
            own: Contents::Block(disk),
            related: vec![disk],
            below: vec![file.clone()],
            backing: Some(Backing { disk, file, bytes }),
        }
    }

    #[test]
    fn two_that_show_the_same_bytes_share_them_and_neighbours_do_not() {
        let one = over(1, 9, 0..100);
        for (other, shares) in [
            (over(2, 9, 0..u64::MAX), true),
            (over(2, 9, 50..60), true),
            (over(2, 9, 100..200), false),
            (over(2, 8, 0..100), false),
            (over(9, 7, 0..1), true),
            (over(1, 5, 0..1), true),
        ] {
            assert_eq!(one.shares_bytes(&other), shares, "{other:?}");
            assert_eq!(other.shares_bytes(&one), shares, "{other:?}");
        }
    }
}
