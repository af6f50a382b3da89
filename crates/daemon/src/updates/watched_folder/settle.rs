//! When a file in a watched folder is whole: no clock, no I/O.
//!
//! A file counts once it has been the same file, of the same size, unchanged, for the settle time and
//! in two looks at least. Whatever changes begins anew. Whether its contents are a module is another
//! question, asked once it has settled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Device and inode: another file under the same name is another file.
    pub(crate) file: (u64, u64),
    /// Bytes.
    pub(crate) size: u64,
    /// Last write, nanoseconds since 1970.
    pub(crate) written_ns: i128,
    /// Last change of the inode, nanoseconds since 1970: it cannot be set back.
    pub(crate) changed_ns: i128,
    /// The same of the signature beside it; 0 when there is none. A signature that comes later makes
    /// another module of it.
    pub(crate) signature_ns: i128,
}

/// The files of a folder, and how long they have been as they are.
#[derive(Debug)]
pub(crate) struct Settling {
    settle_ns: u64,
    seen: BTreeMap<PathBuf, Seen>,
}

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    since_ns: u64,
    /// It has been dealt with as it is.
    done: bool,
}

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Files that have settled and not been dealt with.
    pub(crate) ready: Vec<(PathBuf, Stamp)>,
    /// Files that are not there any more, or not as they were.
    pub(crate) gone: Vec<PathBuf>,
    /// Some have not settled yet: look again when the settle time has passed.
    pub(crate) unsettled: bool,
}

impl Settling {
    pub(crate) fn new(settle_ns: u64) -> Settling {
        Settling { settle_ns, seen: BTreeMap::new() }
    }

    /// Takes a look: all files there are, at a time of a clock that only goes forward.
    pub(crate) fn look(&mut self, now_ns: u64, files: BTreeMap<PathBuf, Stamp>) -> Found {
        let mut found = Found::default();
        self.seen.retain(|path, seen| {
            let same = files.get(path) == Some(&seen.stamp);
            if !same && seen.done {
                found.gone.push(path.clone());
            }
            same
        });
        for (path, stamp) in files {
            let fresh = || Seen { stamp, since_ns: now_ns, done: false };
            let seen = self.seen.entry(path.clone()).or_insert_with(fresh);
            if seen.done {
                continue;
            }
            // At the first look nothing is known of how long it has been so.
            let settled = seen.since_ns != now_ns && now_ns.saturating_sub(seen.since_ns) >= self.settle_ns;
            if settled {
                found.ready.push((path, stamp));
            } else {
                found.unsettled = true;
            }
        }
        found
    }

    /// A file that was ready has been dealt with: it is ready no more until it changes.
    pub(crate) fn done(&mut self, path: &Path) {
        if let Some(seen) = self.seen.get_mut(path) {
            seen.done = true;
        }
    }

    /// A file that was ready is being written after all: it has to settle anew.
    pub(crate) fn again(&mut self, now_ns: u64, path: &Path) {
        if let Some(seen) = self.seen.get_mut(path) {
            seen.since_ns = now_ns;
        }
    }
}

/// Whether a file of this name is meant to be used. Installers and editors write under other names
/// first: `.dpkg-new`, `.dpkg-tmp`, `~`, `.tmp`, and names that begin with a dot.
pub(crate) fn is_meant(name: &str) -> bool {
    name.ends_with(".so") && !name.starts_with(['.', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTLE: u64 = 1000;

    fn stamp(size: u64) -> Stamp {
        Stamp { file: (1, 2), size, written_ns: 3, changed_ns: 4, signature_ns: 0 }
    }

    fn one(stamp: Stamp) -> BTreeMap<PathBuf, Stamp> {
        BTreeMap::from([(PathBuf::from("/m/a.so"), stamp)])
    }

    fn ready(settling: &mut Settling, now_ns: u64, stamp: Stamp) -> bool {
        !settling.look(now_ns, one(stamp)).ready.is_empty()
    }

    #[test]
    fn a_file_is_ready_when_it_has_stayed_the_same_and_only_once() {
        let mut settling = Settling::new(SETTLE);
        assert!(!ready(&mut settling, 5, stamp(10)), "the first look knows nothing");
        assert!(!ready(&mut settling, 900, stamp(10)));
        assert!(ready(&mut settling, 1005, stamp(10)));
        settling.done(Path::new("/m/a.so"));
        assert_eq!(settling.look(9000, one(stamp(10))), Found::default());
        assert_eq!(settling.look(9001, BTreeMap::new()).gone, [PathBuf::from("/m/a.so")]);
    }

    #[test]
    fn whatever_changes_begins_anew() {
        let old = stamp(10);
        for new in [
            stamp(11),
            Stamp { file: (1, 3), ..old },
            Stamp { written_ns: 9, ..old },
            Stamp { changed_ns: 9, ..old },
            Stamp { signature_ns: 9, ..old },
        ] {
            let mut settling = Settling::new(SETTLE);
            settling.look(0, one(old));
            assert!(!ready(&mut settling, 5000, new), "{new:?}");
            assert!(settling.look(5999, one(new)).unsettled);
            assert!(ready(&mut settling, 6000, new), "{new:?}");
        }
    }

    #[test]
    fn a_file_that_is_being_written_settles_anew() {
        let mut settling = Settling::new(SETTLE);
        settling.look(0, one(stamp(10)));
        assert!(ready(&mut settling, 1000, stamp(10)));
        settling.again(1000, Path::new("/m/a.so"));
        assert!(!ready(&mut settling, 1500, stamp(10)));
        assert!(ready(&mut settling, 2000, stamp(10)));
    }

    #[test]
    fn two_looks_are_needed_even_without_a_settle_time() {
        let mut settling = Settling::new(0);
        assert!(!ready(&mut settling, 7, stamp(10)));
        assert!(ready(&mut settling, 8, stamp(10)));
    }

    #[test]
    fn names_of_what_is_half_way_are_not_meant() {
        assert!(is_meant("libfile.so"));
        for name in [
            "libfile.so.dpkg-new",
            "libfile.so.dpkg-tmp",
            "libfile.so~",
            "libfile.so.tmp",
            "libfile.so.minisig",
            ".libfile.so.a1B2c3",
            ".hidden.so",
            "#libfile.so",
            "libfile.so.swp",
            "README",
        ] {
            assert!(!is_meant(name), "{name}");
        }
    }

    proptest! {
        /// However it is written and looked at: a file is never ready before its last change is a settle
        /// time old.
        #[test]
        fn never_before_the_last_change_is_old_enough(
            steps in proptest::collection::vec((1..700u64, any::<bool>()), 1..60),
        ) {
            let mut settling = Settling::new(SETTLE);
            let (mut now, mut size, mut changed) = (0, 0, 0);
            for (wait, write) in steps {
                now += wait;
                if write {
                    (size, changed) = (size + 1, now);
                }
                if ready(&mut settling, now, stamp(size)) {
                    prop_assert!(now - changed >= SETTLE);
                }
            }
        }
    }
}
