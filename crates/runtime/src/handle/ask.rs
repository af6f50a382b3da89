//! Questions about files, asked on threads of their own: a file whose server does not answer keeps the thread, and
//! nobody else.

#![allow(unsafe_code)] // a system call without a safe wrapper

use crate::helpers::ready_threads;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};
use steadfast_shell::sync::lock;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most questions that wait for an answer, those included that nobody waits for any more.
const MOST: usize = 256;
/// Most of those about one file: it leaves room for the others'.
const OF_ONE: usize = 8;

/// The questions that have been asked and not answered: about which file, and since when.
static ASKED: Mutex<Vec<(String, Instant)>> = Mutex::new(Vec::new());

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// The file does not answer.
    Stuck,
    /// It was not asked.
    TooMany,
}

/// One of them.
struct Asked {
    file: String,
    since: Instant,
}

impl Asked {
    /// None about a file that has not answered another one for as long as anybody waits: it is stuck, which is known
    /// at once.
    fn new(file: &str) -> Result<Asked, Silence> {
        let mut asked = lock(&ASKED);
        let since = Instant::now();
        let of_this = asked.iter().filter(|(other, _)| other == file);
        let stuck = of_this.clone().any(|(_, begun)| since.duration_since(*begun) >= PATIENCE);
        if stuck {
            return Err(Silence::Stuck);
        }
        if of_this.count() >= OF_ONE || asked.len() >= MOST {
            return Err(Silence::TooMany);
        }
        asked.push((file.to_owned(), since));
        Ok(Asked { file: file.to_owned(), since })
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut asked = lock(&ASKED);
        let known = asked.iter().position(|(file, since)| *file == self.file && *since == self.since);
        if let Some(place) = known {
            asked.swap_remove(place);
        }
    }
}

/// What a question about a file comes to; `None`: it was not answered within two seconds, has not answered an earlier
/// one, or too many others wait. `file` is its name, of several of a port the port's. No lock is to be held.
pub fn ask_file<T: Send + 'static>(file: &str, question: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    ask(file, question).ok()
}

/// Whether what this path leads to does not say within two seconds what it is, or does not open; or, if it is to be
/// `written`, whether its file system lets nobody begin to write: it is frozen. Nothing is changed, and what is no regular
/// file or block device is not opened.
pub fn is_stuck(path: &str, written: bool) -> bool {
    let target = path.to_owned();
    let look = move || {
        let kind = std::fs::metadata(&target).ok()?.file_type();
        let opens = kind.is_file() || kind.is_block_device();
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        options.write(written && kind.is_file());
        let file = opens.then(|| options.open(&target).ok()).flatten()?;
        (written && kind.is_file()).then(|| begin_to_write(&file))
    };
    matches!(ask(path, look), Err(Silence::Stuck))
}

/// Waits for as long as the file system is frozen. What it asks for cannot be had anywhere: to take away one byte, where
/// only whole blocks can be, behind the end of the file, where nothing is.
fn begin_to_write(file: &File) -> Option<()> {
    let behind = i64::try_from(file.metadata().ok()?.len()).ok()?.checked_add(4096)? | 1;
    // SAFETY: plain call on an open descriptor.
    unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_COLLAPSE_RANGE, behind, 1) };
    Some(())
}

fn ask<T: Send + 'static>(file: &str, question: impl FnOnce() -> T + Send + 'static) -> Result<T, Silence> {
    let asked = Asked::new(file)?;
    let (tx, rx) = mpsc::sync_channel(1);
    let body = move || {
        let answer = question();
        drop(asked);
        let _ = tx.try_send(answer);
    };
    ready_threads::begin("ask", body).map_err(|_| Silence::TooMany)?;
    rx.recv_timeout(PATIENCE).map_err(|_| Silence::Stuck)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier};

    #[test]
    fn what_is_not_answered_is_left_to_itself_and_is_bounded() {
        assert_eq!(ask_file("a", || 7), Some(7));
        let end = Arc::new(Barrier::new(MOST + 1));
        let askers: Vec<_> = (0..MOST)
            .map(|n| {
                let end = end.clone();
                std::thread::spawn(move || {
                    ask_file(&format!("stuck {}", n / OF_ONE), move || end.wait().is_leader())
                })
            })
            .collect();
        let waiting = || lock(&ASKED).len();
        while waiting() < MOST {
            std::thread::yield_now();
        }
        // Of one file no more are asked, and of all files neither.
        assert_eq!(ask_file("stuck 0", || 7), None);
        assert_eq!(ask_file("a", || 7), None, "too many wait");
        askers.into_iter().for_each(|asker| assert_eq!(asker.join().expect("asked"), None));
        end.wait();
        while waiting() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(ask_file("stuck 0", || 7), Some(7));
    }

    #[test]
    fn one_file_that_does_not_answer_leaves_room_for_the_others() {
        let (tx, rx) = mpsc::channel::<()>();
        assert_eq!(ask_file("one", move || rx.recv().is_ok()), None);
        // Nobody asks it again before it has answered.
        for _ in 0..2 * MOST {
            assert_eq!(ask_file("one", || 7), None);
        }
        assert_eq!(ask_file("another", || 7), Some(7));
        drop(tx);
        while lock(&ASKED).iter().any(|(file, _)| file == "one") {
            std::thread::yield_now();
        }
        assert_eq!(ask_file("one", || 7), Some(7));
    }
}
