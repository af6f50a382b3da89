//! Files that ports had open are closed on threads of their own: on some file systems (NFS, FUSE) to close is to ask
//! the server, and a block device is written back by whoever closes it last. Who lets go of one waits for a while, so
//! that it is free where that is quick; a queue's thread waits for nobody.

use std::cell::Cell;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long while another one hangs: a port has several, and a stop closes those of all ports.
const SHORT: Duration = Duration::from_millis(100);

/// So many have not been closed in time, and still are not.
static LATE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static WAITS: Cell<bool> = const { Cell::new(true) };
}

/// This thread waits for no file to be closed, from here on.
pub(crate) fn wait_for_none_here() {
    WAITS.set(false);
}

/// A file that a port has open.
#[derive(Debug)]
pub(crate) struct PortFile(Option<OwnedFd>);

impl PortFile {
    pub(crate) fn new(file: impl Into<OwnedFd>) -> PortFile {
        PortFile(Some(file.into()))
    }
}

impl Deref for PortFile {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        let PortFile(Some(file)) = self else { unreachable!("it is taken when this is dropped") };
        file
    }
}

impl Drop for PortFile {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            let_go(file);
        }
    }
}

/// Drops it on a thread of its own; whether that was done in time.
fn let_go(what: impl Send + 'static) -> bool {
    let (tx, rx) = mpsc::sync_channel(0);
    let body = move || {
        drop(what);
        // Without room: whoever sends learns whether somebody still waits.
        if tx.send(()).is_err() {
            LATE.fetch_sub(1, Ordering::AcqRel);
        }
    };
    if std::thread::Builder::new().name("close".into()).spawn(body).is_err() {
        // It went with what could not be started, on this thread.
        return true;
    }
    let patience = match LATE.load(Ordering::Acquire) {
        _ if !WAITS.try_with(Cell::get).unwrap_or(false) => Duration::ZERO,
        0 => PATIENCE,
        _ => SHORT,
    };
    // Before it can learn that nobody waits.
    LATE.fetch_add(1, Ordering::AcqRel);
    let done = rx.recv_timeout(patience).is_ok();
    if done {
        LATE.fetch_sub(1, Ordering::AcqRel);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// To let go of it takes until somebody speaks, or hangs up.
    struct Slow(Receiver<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }

    fn slow() -> (Sender<()>, Slow) {
        let (tx, rx) = channel();
        (tx, Slow(rx))
    }

    #[test]
    fn what_does_not_close_is_left_to_itself() {
        let quick = tempfile::tempfile().expect("a file");
        assert!(let_go(quick), "in time");
        let ends: Vec<Sender<()>> = (0..10)
            .map(|_| {
                let (end, slow) = slow();
                assert!(!let_go(slow), "whoever let go of it is not kept");
                end
            })
            .collect();
        assert_eq!(LATE.load(Ordering::Acquire), 10);
        drop(ends);
        while LATE.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
        let on_a_queue = std::thread::spawn(|| {
            wait_for_none_here();
            let (end, slow) = slow();
            assert!(!let_go(slow));
            end
        });
        drop(on_a_queue.join().expect("no panic"));
    }
}
