//! Questions about files, asked on threads of their own: a file whose server does not answer keeps the thread, and
//! nobody else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most questions that wait for an answer, those included that nobody waits for any more.
const MOST: usize = 64;

static ASKED: AtomicUsize = AtomicUsize::new(0);

/// One question that has been asked.
struct Asked;

impl Asked {
    fn new() -> Option<Asked> {
        let one_more = |asked| (asked < MOST).then_some(asked + 1);
        ASKED.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok().map(|_| Asked)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        ASKED.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a question about a file comes to; `None`: it was not answered in time, or too many others wait. No lock is to
/// be held.
pub(crate) fn ask_file<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let asked = Asked::new()?;
    let (tx, rx) = mpsc::sync_channel(1);
    let body = move || {
        let answer = question();
        drop(asked);
        let _ = tx.try_send(answer);
    };
    std::thread::Builder::new().name("ask".into()).spawn(body).ok()?;
    rx.recv_timeout(PATIENCE).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier};

    #[test]
    fn what_is_not_answered_is_left_to_itself_and_is_bounded() {
        assert_eq!(ask_file(|| 7), Some(7));
        let end = Arc::new(Barrier::new(MOST + 1));
        let askers: Vec<_> = (0..MOST)
            .map(|_| {
                let end = end.clone();
                std::thread::spawn(move || ask_file(move || end.wait().is_leader()))
            })
            .collect();
        askers.into_iter().for_each(|asker| assert_eq!(asker.join().expect("asked"), None));
        assert_eq!(ask_file(|| 7), None, "too many wait");
        end.wait();
        while ASKED.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(ask_file(|| 7), Some(7));
    }
}
