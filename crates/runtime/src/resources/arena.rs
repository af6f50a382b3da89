//! Memory for the drivers of one port: how much there is, and what is kept ready for the next one.
//!
//! A port's first driver gets all that it wants: it comes when the port starts, and there is time. Later
//! ones get what the port has by then: as much as the first had, or the port's *reserve* where that is
//! more. One that wants more leaves features out until the next start; one that needs more is refused.
//!
//! What the process can still have is looked at too (its address space, its control groups, the machine): what a
//! driver needs is taken, and of what it wants as much as is there.
//!
//! Whatever a driver gets is taken before the pause and has its pages already. A reserve that an
//! operator has set is taken from the machine when the port starts, so that memory which has become
//! short since does not keep an update from happening.

use crate::info::MemoryInfo;
use crate::resources::headroom;
use crate::resources::mapping::Mapping;
use crate::resources::slot_memory::PDU_STRIDE;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use steadfast_shell::check::{Left, Limits};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::show_size;
use steadfast_shell::sync::lock;

/// Most that any driver is given per port, and per queue of it.
pub(crate) const MOST: u64 = 1 << 30;

/// How much a driver may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) port: u64,
    pub(crate) queue: u64,
}

/// The memory of one port.
#[derive(Debug)]
pub(crate) struct Arenas {
    room: Mutex<Room>,
    /// Bytes of each mapping that is kept ready; 0 where none is.
    reserve: u64,
    spare: Mutex<Vec<Mapping>>,
    /// Most mappings that are kept ready.
    most: usize,
    queues: usize,
    /// The first driver has its memory; what is ready is for those after it.
    started: AtomicBool,
}

impl Arenas {
    /// For a port of `queues` queues. Where an operator has set a reserve, it is taken here.
    pub(crate) fn new(reserve: Option<u64>, default: u64, queues: usize) -> io::Result<Arenas> {
        let kept = reserve.unwrap_or(0);
        let room = reserve.unwrap_or(default);
        let most = queues + 1;
        let spare = (0..most).filter(|_| kept > 0).map(|_| committed(kept)).collect::<io::Result<_>>()?;
        let room = Mutex::new(Room { port: room, queue: room });
        let (spare, started) = (Mutex::new(spare), AtomicBool::new(false));
        Ok(Arenas { room, reserve: kept, spare, most, queues, started })
    }

    /// What there is for a driver.
    pub(crate) fn room(&self) -> Room {
        *lock(&self.room)
    }

    /// The port starts with this driver: it gets what it wants, and so may those after it.
    pub(crate) fn start_with(&self, manifest: &Manifest) {
        let mut room = lock(&self.room);
        room.port = room.port.max(manifest.memory_port.wanted.min(MOST));
        room.queue = room.queue.max(manifest.memory_queue.wanted.min(MOST));
    }

    /// The limits for a driver of this port, as they are now; `left` is what the process can still have.
    pub(crate) fn limits(&self, left: Option<Left>) -> Limits {
        let room = self.room();
        Limits {
            pdu_bytes: PDU_STRIDE as u32,
            port_bytes: room.port,
            queue_bytes: room.queue,
            queues: self.queues as u64,
            ready: if self.started.load(Ordering::Relaxed) { self.reserve } else { 0 },
            left,
        }
    }

    /// What a driver is given; what it needs, where there is less.
    pub(crate) fn grant(&self, manifest: &Manifest, left: Option<Left>) -> MemoryInfo {
        let room = self.room();
        let (port, queue) = (manifest.memory_port, manifest.memory_queue);
        let granted = self.limits(left).grant(manifest);
        MemoryInfo {
            port_wanted: port.wanted,
            port_granted: granted.map_or(port.needed, |granted| granted.port),
            queue_wanted: queue.wanted,
            queue_granted: granted.map_or(queue.needed, |granted| granted.queue),
            port_room: room.port,
            queue_room: room.queue,
        }
    }

    /// Memory for a driver: what it wants, as far as the process can have that; for the port, then for each
    /// queue. Where what there is turns out to be less than it was said to be, what it needs.
    ///
    /// # Errors
    /// It cannot even have what it needs.
    pub(crate) fn obtain(&self, manifest: &Manifest) -> io::Result<(MemoryInfo, Vec<Mapping>)> {
        let left = headroom::left();
        let mut info = self.grant(manifest, left);
        let (port, queue) = (manifest.memory_port.needed, manifest.memory_queue.needed);
        let taken = self.take_all(info.port_granted, info.queue_granted).or_else(|error| {
            if (info.port_granted, info.queue_granted) == (port, queue) {
                return Err(error);
            }
            (info.port_granted, info.queue_granted) = (port, queue);
            self.take_all(port, queue)
        });
        let short = |error: io::Error| {
            let has = left.map_or_else(String::new, |left| {
                format!("; {} had {} left", left.of.describe(), show_size(left.bytes))
            });
            let queues = self.queues;
            let (port, queue) = (show_size(port), show_size(queue));
            io::Error::other(format!(
                "it needs {port}, and {queue} for each of {queues} queue(s): {error}{has}"
            ))
        };
        Ok((info, taken.map_err(short)?))
    }

    fn take_all(&self, port: u64, queue: u64) -> io::Result<Vec<Mapping>> {
        let mut taken = Vec::with_capacity(self.queues + 1);
        for bytes in std::iter::once(port).chain(std::iter::repeat_n(queue, self.queues)) {
            match self.take(bytes) {
                Ok(mapping) => taken.push(mapping),
                Err(error) => {
                    taken.into_iter().for_each(|mapping| self.give(mapping));
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    /// Zeroed memory with its pages: of what is kept ready where that is enough, else of the machine.
    pub(crate) fn take(&self, bytes: u64) -> io::Result<Mapping> {
        if bytes == 0 || bytes > self.reserve {
            return committed(bytes);
        }
        let ready = if self.started.load(Ordering::Relaxed) { lock(&self.spare).pop() } else { None };
        match ready {
            Some(ready) => {
                ready.clear();
                Ok(ready)
            }
            // Of a size that can be kept when it comes back.
            None => committed(self.reserve),
        }
    }

    /// The first driver has its memory.
    pub(crate) fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Takes memory back from a driver that is gone.
    pub(crate) fn give(&self, mapping: Mapping) {
        let mut spare = lock(&self.spare);
        if self.reserve > 0 && spare.len() < self.most && mapping.bytes() >= self.reserve {
            spare.push(mapping);
        }
    }
}

fn committed(bytes: u64) -> io::Result<Mapping> {
    Mapping::committed(c"steadfast-arena", usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(port: &str, queue: &str) -> Manifest {
        let text = format!(
            "manifest=1\0name=t\0version=1.0.0\0class=block\0abi=1.1\0memory.port={port}\0memory.queue={queue}\0"
        );
        Manifest::parse(text.as_bytes()).expect("a manifest")
    }

    #[test]
    fn the_first_driver_gets_all_and_later_ones_what_is_there() {
        let arenas = Arenas::new(Some(8192), 1 << 20, 1).expect("memory");
        arenas.start_with(&manifest("4096:65536", "64:64"));
        assert_eq!(arenas.room(), Room { port: 65536, queue: 8192 });
        let later = arenas.grant(&manifest("4096:131072", "64:16384"), None);
        assert_eq!((later.port_granted, later.queue_granted), (65536, 8192));
        assert!(later.is_short());
        assert!(!arenas.grant(&manifest("64:65536", "64:8192"), None).is_short());
    }

    #[test]
    fn what_is_kept_ready_is_used_zeroed_and_kept_again() {
        let arenas = Arenas::new(Some(8192), 0, 1).expect("memory");
        assert_eq!(lock(&arenas.spare).len(), 2, "one for the port, one for its queue");
        let first = arenas.take(100).expect("of the machine");
        arenas.started();
        assert_eq!(lock(&arenas.spare).len(), 2, "the first driver leaves it alone");
        let one = arenas.take(100).expect("ready");
        // SAFETY: 8192 mapped bytes, ours alone.
        unsafe { one.base().add(8191).write(7) };
        let place = one.base();
        arenas.give(one);
        let again = arenas.take(8192).expect("ready");
        assert_eq!(again.base(), place);
        // SAFETY: as above.
        assert_eq!(unsafe { again.base().add(8191).read() }, 0);
        drop(first);
        let large = arenas.take(8193).expect("memory");
        arenas.give(large);
        arenas.give(again);
        arenas.give(arenas.take(8193).expect("memory"));
        assert_eq!(lock(&arenas.spare).len(), 2, "no more than were kept at first");
    }
}
