//! Who a client is, and how much of the slots it may have.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Slots that every connection may have, however many there are.
const LEAST: u32 = 16;

/// A client as log lines name it.
#[derive(Clone, Debug)]
pub(crate) struct Peer(Arc<str>);

impl Peer {
    /// Names the client at the other end of `socket`, the `number`th.
    pub(crate) fn of(socket: &impl AsFd, number: u64) -> Peer {
        let fd = socket.as_fd().as_raw_fd();
        let from = match (crate::socket::peer_address(fd), crate::socket::peer_pid(fd)) {
            (Some(address), _) => format!("tcp:{address}"),
            (None, Some(pid)) => format!("unix, process {pid}"),
            (None, None) => "unix".to_owned(),
        };
        Peer(format!("#{number} ({from})").into())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Connections of one server: how many there are, and how many on each queue of each device.
#[derive(Debug, Default)]
pub(crate) struct Census {
    clients: AtomicUsize,
    places: Mutex<HashMap<(String, usize), Arc<AtomicU32>>>,
}

impl Census {
    /// Clients connected now, those in their handshake included.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}

/// One client counted; uncounted when dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Census>);

impl Counted {
    /// Counts a client, unless there are `most` already.
    pub(crate) fn new(census: &Arc<Census>, most: usize) -> Option<Counted> {
        let more = |count| (count < most).then_some(count + 1);
        census.clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Counted(census.clone()))
    }

    /// Joins the connections of `device` on `queue`, to share its slots with them.
    pub(crate) fn join(self, device: &str, queue: usize) -> Share {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        let neighbours = places.entry((device.to_owned(), queue)).or_default().clone();
        drop(places);
        neighbours.fetch_add(1, Ordering::Relaxed);
        Share { neighbours, _counted: self }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's share of its queue's slots. A client that does not read its replies keeps no more
/// than this from the others.
#[derive(Debug)]
pub(crate) struct Share {
    neighbours: Arc<AtomicU32>,
    _counted: Counted,
}

impl Share {
    /// Slots that the connection may have of `total`: half of them shared out evenly, and so the
    /// other half is there for newcomers.
    #[inline]
    pub(crate) fn limit(&self, total: u32) -> u32 {
        let neighbours = self.neighbours.load(Ordering::Relaxed).max(1);
        (total / (2 * neighbours)).max(LEAST).min(total)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.neighbours.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_shared_by_the_connections_of_a_queue() {
        let census = Arc::new(Census::default());
        let join = |queue| Counted::new(&census, 100).expect("counted").join("vol0", queue);
        let first = join(0);
        assert_eq!(first.limit(1024), 512);
        let second = join(0);
        let elsewhere = join(1);
        assert_eq!((first.limit(1024), second.limit(1024), elsewhere.limit(1024)), (256, 256, 512));
        assert_eq!(first.limit(40), 16, "everybody gets a few");
        assert_eq!(first.limit(4), 4, "but not more than there are");
        drop(second);
        assert_eq!(first.limit(1024), 512);
        assert_eq!(census.clients(), 2);
    }

    #[test]
    fn clients_are_bounded() {
        let census = Arc::new(Census::default());
        let one = Counted::new(&census, 1).expect("counted");
        assert!(Counted::new(&census, 1).is_none());
        drop(one);
        assert!(Counted::new(&census, 1).is_some());
    }
}
