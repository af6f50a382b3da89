//! Threads for what may hang and is done once, started before they are needed: calls of drivers beside the pause, and
//! questions about files.
//!
//! A new thread waits until the scheduler comes to it, and beside queues that watch before they sleep that is
//! milliseconds; one that has started and sleeps is woken in some tens of microseconds. Each does one thing and ends,
//! as one that was started for it would: what a driver leaves in thread-locals goes with it, and what hangs keeps
//! nothing else.

#![allow(unsafe_code)] // a call that gives a thread its name

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::thread::Builder;
use std::time::Duration;
use steadfast_shell::sync::lock;

/// As many as an update takes: `probe` and `prepare` of the new driver, `release` of the old one, and three questions
/// about its file.
const READY: usize = 6;
/// How long after one was taken others are started: not in the midst of the update.
const LATER: Duration = Duration::from_millis(20);

type Errand = Box<dyn FnOnce() + Send>;

/// Those that have started and wait for what they are to do.
static READY_ONES: Mutex<Vec<Sender<Errand>>> = Mutex::new(Vec::new());
/// Told when one was taken.
static TAKEN: Condvar = Condvar::new();
static KEEPER: Once = Once::new();

/// Does something on a thread of its own.
///
/// # Errors
/// There is no thread for it; it was not done.
pub(crate) fn begin(name: &'static str, errand: impl FnOnce() + Send + 'static) -> io::Result<()> {
    KEEPER.call_once(|| {
        // Without it one is started each time.
        let keeper = Builder::new().name("threads".into()).spawn(keep_ready);
        if let Err(e) = keeper {
            tracing::warn!("thread: {e}: threads for what may hang are started when they are needed");
        }
    });
    let ready = lock(&READY_ONES).pop();
    TAKEN.notify_one();
    match ready {
        Some(thread) => {
            let named = move || {
                name_thread(name);
                errand();
            };
            thread.send(Box::new(named)).map_err(|_| io::ErrorKind::BrokenPipe.into())
        }
        None => Builder::new().name(name.into()).spawn(errand).map(drop),
    }
}

/// Gives this thread its name, for those who look what hangs.
fn name_thread(name: &str) {
    // The kernel takes 15 bytes and the zero behind them.
    let mut text = [0_u8; 16];
    text.iter_mut().zip(name.bytes().take(15)).for_each(|(to, from)| *to = from);
    // SAFETY: `text` ends with a zero, and the kernel copies it before the call returns.
    unsafe { libc::prctl(libc::PR_SET_NAME, text.as_ptr()) };
}

/// Starts threads when some were taken, for as long as the process lives.
fn keep_ready() {
    let mut ready = lock(&READY_ONES);
    loop {
        while ready.len() >= READY {
            ready = TAKEN.wait(ready).unwrap_or_else(PoisonError::into_inner);
        }
        drop(ready);
        std::thread::sleep(LATER);
        ready = lock(&READY_ONES);
        while ready.len() < READY {
            let (thread, errands) = channel();
            if Builder::new().name("ready".into()).spawn(move || take_one(&errands)).is_err() {
                // There may be room for one when the next is taken.
                break;
            }
            ready.push(thread);
        }
        if ready.len() < READY {
            ready = TAKEN.wait(ready).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn take_one(errands: &Receiver<Errand>) {
    if let Ok(errand) = errands.recv() {
        errand();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{ThreadId, current, sleep};
    use std::time::Instant;

    fn thread_of_an_errand() -> ThreadId {
        let (tell, told) = channel();
        begin("test", move || tell.send(current().id()).expect("it is waited for")).expect("a thread");
        told.recv().expect("it was done")
    }

    #[test]
    fn each_errand_has_a_thread_of_its_own_and_threads_are_ready_again_soon() {
        let mut known = Vec::new();
        for _ in 0..4 * READY {
            let thread = thread_of_an_errand();
            assert!(thread != current().id() && !known.contains(&thread), "a thread does one thing");
            known.push(thread);
        }
        let begun = Instant::now();
        while lock(&READY_ONES).len() < READY {
            assert!(begun.elapsed().as_secs() < 60, "nobody starts threads again");
            sleep(Duration::from_millis(1));
        }
    }
}
