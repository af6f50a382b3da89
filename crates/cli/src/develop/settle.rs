//! When a file that others write is complete.
//!
//! No event says so: a linker may stop in the middle, and a copy grows for as long as it takes. So a
//! file counts as complete when nothing about it has changed for a while, it was then read and found
//! to be a whole module, and after another while it was read again and was the same. What the daemon
//! reads in the end it compares with what was read here, so a file that changes after all is not taken.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// How long a file must have been left alone, before the first and before the second look.
pub(crate) const QUIET: Duration = Duration::from_millis(150);
/// How long a file that is no module may be on its way to become one before that is said.
const PATIENCE: Duration = Duration::from_secs(3);

/// What tells that a file has been written to or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl From<&Metadata> for Print {
    fn from(meta: &Metadata) -> Print {
        Print {
            device: meta.dev(),
            inode: meta.ino(),
            length: meta.len(),
            changed: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// What has become of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look<T> {
    /// Nothing new.
    Nothing,
    /// It is complete, and not what was last seen complete.
    Complete(T),
    /// It has been left alone for long and can't be used; why.
    Useless(String),
}

/// One file, or the one after another that is looked at.
#[derive(Debug)]
pub(crate) struct Settle<T> {
    last: Option<(Print, Instant)>,
    first: Option<(T, Instant)>,
    told: bool,
    done: Option<T>,
}

impl<T: PartialEq + Clone> Settle<T> {
    /// Begins; `done` is what need not be told of.
    pub(crate) fn new(done: Option<T>) -> Settle<T> {
        Settle { last: None, first: None, told: false, done }
    }

    /// Looks at the file, `None` when there is none. `read` says what is in it.
    pub(crate) fn look(
        &mut self,
        print: Option<Print>,
        now: Instant,
        read: impl FnOnce() -> Result<T, String>,
    ) -> Look<T> {
        let since = match (print, self.last) {
            (None, _) => {
                (self.last, self.first) = (None, None);
                return Look::Nothing;
            }
            (Some(print), Some((before, since))) if print == before => since,
            (Some(print), _) => {
                (self.last, self.first, self.told) = (Some((print, now)), None, false);
                return Look::Nothing;
            }
        };
        let waits = self.first.as_ref().map_or(since, |(_, at)| *at);
        if self.told || now.duration_since(waits) < QUIET {
            return Look::Nothing;
        }
        match read() {
            Ok(content) => self.found(content, now),
            Err(why) if now.duration_since(since) >= PATIENCE => {
                self.told = true;
                Look::Useless(why)
            }
            Err(_) => Look::Nothing,
        }
    }

    fn found(&mut self, content: T, now: Instant) -> Look<T> {
        match self.first.take() {
            Some((first, _)) if first == content => {
                self.told = true;
                let news = self.done.as_ref() != Some(&content);
                self.done = Some(content.clone());
                if news { Look::Complete(content) } else { Look::Nothing }
            }
            // Written to without a trace in its times, as through a mapping: from the beginning.
            _ => {
                self.first = Some((content, now));
                Look::Nothing
            }
        }
    }

    /// Another file is looked at from now on.
    pub(crate) fn other(&mut self) {
        (self.last, self.first, self.told) = (None, None, false);
    }

    /// What was told of last came to nothing and is to be told of again.
    pub(crate) fn again(&mut self) {
        (self.done, self.first, self.told) = (None, None, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(length: u64) -> Option<Print> {
        Some(Print { device: 1, inode: 1, length, changed: (0, 0) })
    }

    /// A file and a clock.
    struct Bench {
        settle: Settle<u32>,
        now: Instant,
    }

    impl Bench {
        fn new(done: Option<u32>) -> Bench {
            Bench { settle: Settle::new(done), now: Instant::now() }
        }

        fn after(&mut self, wait: Duration, length: u64, content: Result<u32, String>) -> Look<u32> {
            self.now += wait;
            self.settle.look(print(length), self.now, || content)
        }
    }

    #[test]
    fn a_file_is_complete_when_it_was_the_same_twice() {
        let mut bench = Bench::new(None);
        assert_eq!(bench.after(QUIET, 10, Ok(1)), Look::Nothing);
        assert_eq!(bench.after(QUIET, 10, Ok(1)), Look::Nothing);
        assert_eq!(bench.after(QUIET, 10, Ok(1)), Look::Complete(1));
        assert_eq!(bench.after(QUIET, 10, Ok(1)), Look::Nothing, "told once");
    }

    #[test]
    fn a_file_that_grows_is_left_alone() {
        let mut bench = Bench::new(None);
        for length in 1..50 {
            assert_eq!(bench.after(QUIET, length, Ok(1)), Look::Nothing);
        }
        for _ in 0..3 {
            assert_eq!(bench.after(QUIET / 4, 50, Ok(1)), Look::Nothing, "too early");
        }
    }

    #[test]
    fn a_file_that_changes_without_a_trace_is_read_until_it_does_not() {
        let mut bench = Bench::new(None);
        bench.after(QUIET, 10, Ok(1));
        for content in 1..10 {
            assert_eq!(bench.after(QUIET, 10, Ok(content)), Look::Nothing);
        }
        bench.after(QUIET, 10, Ok(10));
        assert_eq!(bench.after(QUIET, 10, Ok(10)), Look::Complete(10));
    }

    #[test]
    fn half_a_module_is_waited_for_and_then_said_to_be_useless_once() {
        let mut bench = Bench::new(None);
        let half = || Err("truncated".to_owned());
        bench.after(QUIET, 10, half());
        assert_eq!(bench.after(QUIET, 10, half()), Look::Nothing);
        assert_eq!(bench.after(PATIENCE, 10, half()), Look::Useless("truncated".to_owned()));
        assert_eq!(bench.after(PATIENCE, 10, half()), Look::Nothing);
        // And when it becomes whole after all:
        bench.after(QUIET, 20, Ok(1));
        bench.after(QUIET, 20, Ok(1));
        assert_eq!(bench.after(QUIET, 20, Ok(1)), Look::Complete(1));
    }

    #[test]
    fn the_same_contents_again_are_no_news() {
        let mut bench = Bench::new(Some(1));
        for _ in 0..4 {
            assert_eq!(bench.after(QUIET, 10, Ok(1)), Look::Nothing);
        }
        bench.settle.again();
        bench.after(QUIET, 10, Ok(1));
        assert_eq!(bench.after(QUIET, 10, Ok(1)), Look::Complete(1), "unless asked for");
    }
}
