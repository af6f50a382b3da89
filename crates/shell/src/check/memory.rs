//! Memory for a driver: what it needs must be there, what it wants may be less.

use super::{CheckRow, Limits};
use crate::manifest::{Manifest, Memory};
use crate::params::show_size;

/// What is left to the rest of the process of what the machine has for it, bytes.
const MARGIN: u64 = 16 << 20;
/// Memory is had in pages, bytes.
const PAGE: u64 = 4096;

/// What sets the limit to the memory that a process can still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortOf {
    /// `RLIMIT_AS`.
    AddressSpace,
    /// The limit of its control group, or of one above it.
    ControlGroup,
    /// All the memory that is available.
    Machine,
}

impl ShortOf {
    /// For people.
    pub const fn describe(self) -> &'static str {
        match self {
            ShortOf::AddressSpace => "the address space (RLIMIT_AS)",
            ShortOf::ControlGroup => "the control group (its memory limit)",
            ShortOf::Machine => "the machine (MemAvailable)",
        }
    }
}

/// Memory that the process can still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Bytes.
    pub bytes: u64,
    /// What sets the limit.
    pub of: ShortOf,
}

/// Memory that a driver is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Bytes for the port.
    pub port: u64,
    /// Bytes for each of its queues.
    pub queue: u64,
    /// It is less than the shell has for it, because of this.
    pub short: Option<Left>,
}

impl Limits {
    /// What a driver is given under these limits; none where that would be less than it needs.
    ///
    /// What the process has left is shared out: to each what it needs, then to the port what it wants, then
    /// to its queues.
    pub fn grant(&self, driver: &Manifest) -> Option<Granted> {
        let (port, queue) = (driver.memory_port, driver.memory_queue);
        let most = Granted {
            port: port.grant(self.port_bytes)?,
            queue: queue.grant(self.queue_bytes)?,
            short: None,
        };
        let Some(left) = self.left.filter(|left| self.cost(most.port, most.queue) + MARGIN > left.bytes)
        else {
            return Some(most);
        };
        let needed = self.cost(port.needed, queue.needed);
        if needed > left.bytes {
            return None;
        }
        let spare = left.bytes.saturating_sub(MARGIN).saturating_sub(needed);
        let for_port = (most.port - port.needed).min(spare / PAGE * PAGE);
        let for_queue = (spare - for_port) / self.queues.max(1) / PAGE * PAGE;
        let queue = queue.needed + (most.queue - queue.needed).min(for_queue);
        Some(Granted { port: port.needed + for_port, queue, short: Some(left) })
    }

    /// What the process must get from the machine for that, bytes.
    fn cost(&self, port: u64, queue: u64) -> u64 {
        let arena = |bytes: u64| match bytes {
            kept if kept <= self.ready => 0,
            bytes => bytes.div_ceil(PAGE).saturating_mul(PAGE),
        };
        // Two numbers of 2^62 at most, so that a margin can be added.
        let queues = arena(queue).saturating_mul(self.queues.max(1));
        arena(port).min(1 << 62).saturating_add(queues.min(1 << 62))
    }
}

/// The rows of the port's memory and of each queue's.
pub(super) fn rows(candidate: &Manifest, limits: &Limits) -> [CheckRow; 2] {
    let granted = limits.grant(candidate);
    let needed = limits.cost(candidate.memory_port.needed, candidate.memory_queue.needed);
    let over = limits.left.filter(|left| needed > left.bytes);
    let row = |name: &str, memory: Memory, room: u64, given: Option<u64>| {
        let has = match room {
            // By itself there is no port that it would have to fit.
            u64::MAX => "no port sets a limit".to_owned(),
            bytes => format!("the shell has {}", show_size(bytes)),
        };
        let sides = format!(
            "{} {} needs {}, wants {}, {has}",
            candidate.name,
            candidate.version,
            show_size(memory.needed),
            show_size(memory.wanted)
        );
        let fits = memory.needed <= room;
        let left = match (given, granted, over) {
            (Some(given), Some(Granted { short: Some(left), .. }), _) if given < memory.wanted.min(room) => {
                format!(", {} has {} left", left.of.describe(), show_size(left.bytes))
            }
            (None, None, Some(left)) if fits && memory.needed > 0 => {
                format!(
                    ", {} has {} left, with {} queue(s)",
                    left.of.describe(),
                    show_size(left.bytes),
                    limits.queues
                )
            }
            _ => String::new(),
        };
        let (ok, verdict) = match given {
            Some(given) if given == memory.wanted => (true, String::new()),
            Some(given) => (true, format!(": it gets {}, reduced features", show_size(given))),
            // The other one may be what does not fit.
            None => (fits && left.is_empty(), String::new()),
        };
        CheckRow { name: name.to_owned(), ok, detail: format!("{sides}{left}{verdict}") }
    };
    [
        row("memory.port", candidate.memory_port, limits.port_bytes, granted.map(|granted| granted.port)),
        row("memory.queue", candidate.memory_queue, limits.queue_bytes, granted.map(|granted| granted.queue)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needed and wanted, for the port and for each queue.
    fn driver(port: (u64, u64), queue: (u64, u64)) -> Manifest {
        let ((needed, wanted), (each, most)) = (port, queue);
        let text = format!(
            "manifest=1\0name=t\0version=1.0.0\0class=block\0abi=1.1\0memory.port={needed}:{wanted}\0memory.queue={each}:{most}\0"
        );
        Manifest::parse(text.as_bytes()).expect("a manifest")
    }

    fn limits(left: u64, queues: u64) -> Limits {
        let left = Some(Left { bytes: left, of: ShortOf::AddressSpace });
        Limits { queues, left, ..Limits::NONE }
    }

    const MB: u64 = 1 << 20;

    #[test]
    fn what_is_needed_comes_first_and_what_is_wanted_is_shared_out() {
        let driver = driver((MB, 64 * MB), (MB, 8 * MB));
        let of = |left, queues| limits(left, queues).grant(&driver).map(|g| (g.port / MB, g.queue / MB));
        assert_eq!(of(200 * MB, 2), Some((64, 8)), "all");
        assert_eq!(of(MARGIN + 80 * MB, 2), Some((64, 8)), "just all");
        assert_eq!(of(MARGIN + 70 * MB, 2), Some((64, 3)), "the port first");
        assert_eq!(of(MARGIN + 10 * MB, 2), Some((8, 1)));
        assert_eq!(of(3 * MB, 2), Some((1, 1)), "what is needed may use the margin up");
        assert_eq!(of(3 * MB - 1, 2), None);
        assert_eq!(of(0, 2), None);
        let huge = Limits { port_bytes: u64::MAX, ..limits(u64::MAX, u64::MAX) };
        assert!(huge.grant(&self::driver((0, 1 << 60), (0, 0))).is_none_or(|g| g.port > 0), "no overflow");
    }

    #[test]
    fn what_is_kept_ready_is_not_taken_from_the_machine() {
        let kept = Limits { ready: 8 * MB, ..limits(MARGIN, 2) };
        let granted = kept.grant(&driver((MB, 8 * MB), (MB, 8 * MB))).expect("it is there");
        assert_eq!((granted.port, granted.queue, granted.short), (8 * MB, 8 * MB, None));
    }

    #[test]
    fn a_row_says_what_is_short() {
        let [port, queue] = rows(&driver((MB, 64 * MB), (0, 0)), &limits(MARGIN + 9 * MB, 1));
        assert!(port.ok && queue.ok, "{port:?}");
        for words in ["RLIMIT_AS", "has 25M left", "it gets 9M, reduced features"] {
            assert!(port.detail.contains(words), "{words}: {}", port.detail);
        }
        let [port, queue] = rows(&driver((64 * MB, 64 * MB), (0, 0)), &limits(MB, 1));
        assert!(!port.ok && queue.ok && port.detail.contains("RLIMIT_AS) has 1M left"), "{port:?} {queue:?}");
        let [port, queue] = rows(
            &driver((64 * MB, 64 * MB), (8 * MB, 8 * MB)),
            &Limits { port_bytes: MB, ..limits(999 * MB, 1) },
        );
        assert!(!port.ok && queue.ok && port.detail.contains("the shell has 1M"), "{port:?} {queue:?}");
    }
}
