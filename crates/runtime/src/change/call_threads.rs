//! Threads for calls beside the pause, started before they are needed.
//!
//! A new thread waits until the scheduler comes to it, and beside queues that watch before they sleep that is
//! milliseconds; one that has started and sleeps is woken in some tens of microseconds. Each takes one call and ends,
//! as one that was started for the call would: what a driver leaves in thread-locals goes with it.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::thread::Builder;
use std::time::Duration;
use steadfast_shell::sync::lock;

/// Those of one update: `probe` and `prepare` of the new driver, `release` of the old one.
const READY: usize = 3;
/// How long after one was taken others are started: not in the midst of the update.
const LATER: Duration = Duration::from_millis(20);

type Errand = Box<dyn FnOnce() + Send>;

/// Those that have started and wait for their call.
static READY_ONES: Mutex<Vec<Sender<Errand>>> = Mutex::new(Vec::new());
/// Told when one was taken.
static TAKEN: Condvar = Condvar::new();
static KEEPER: Once = Once::new();

/// Does something on a thread of its own.
///
/// # Errors
/// There is no thread for it; it was not done.
pub(crate) fn begin(name: &str, errand: impl FnOnce() + Send + 'static) -> io::Result<()> {
    KEEPER.call_once(|| {
        // Without it a thread is started for every call.
        let keeper = Builder::new().name("calls".into()).spawn(keep_ready);
        if let Err(e) = keeper {
            tracing::warn!("thread: {e}: threads for drivers' calls are started when they are needed");
        }
    });
    let ready = lock(&READY_ONES).pop();
    TAKEN.notify_one();
    match ready {
        Some(thread) => match thread.send(Box::new(errand)) {
            Ok(()) => Ok(()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        },
        None => Builder::new().name(name.into()).spawn(errand).map(drop),
    }
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
            if Builder::new().name("call".into()).spawn(move || take_one(&errands)).is_err() {
                // There may be room for one when the next call comes.
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

    fn thread_of_a_call() -> ThreadId {
        let (tell, told) = channel();
        begin("test", move || drop(tell.send(current().id()))).expect("a thread");
        told.recv().expect("it was done")
    }

    #[test]
    fn every_call_has_a_thread_of_its_own_and_threads_are_ready_again_soon() {
        let mut known = Vec::new();
        for _ in 0..4 * READY {
            let thread = thread_of_a_call();
            assert!(thread != current().id() && !known.contains(&thread), "a thread takes one call");
            known.push(thread);
        }
        let begun = Instant::now();
        while lock(&READY_ONES).len() < READY {
            assert!(begun.elapsed().as_secs() < 60, "nobody starts threads again");
            sleep(Duration::from_millis(1));
        }
    }
}
