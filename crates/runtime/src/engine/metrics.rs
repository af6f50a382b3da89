//! What a port has done and how long it took: counted by each queue's own thread in plain numbers,
//! added up when somebody asks.

use crate::engine::Engine;
use crate::ids::LaneId;
use crate::lane::Lane;
use crate::lane::counters::{Counters, OperationCounts};
use crate::port::config::ANSWER;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use steadfast_abi::block_op;
use steadfast_shell::histogram::Histogram;

/// What a port has done since it was attached; or between two moments, see [`PortMetrics::since`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMetrics {
    /// Requests completed.
    pub requests: u64,
    /// Of those, failed.
    pub errors: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// By kind of request (`read`, `write`, `flush`, ...); kinds that never came are left out.
    pub operations: BTreeMap<String, OperationCounts>,
    /// How long requests took from their frontend and back to it, time held in an update included.
    pub latency: Histogram,
    /// Requests that the driver has now.
    pub in_flight: u32,
    /// Requests that are held now.
    pub held: u32,
    /// Requests that wait for their turn under `io_throttle` or `link_speed`.
    #[serde(default)]
    pub waiting: u32,
    /// Age of the oldest of those in flight and held, nanoseconds; 0 where there is none.
    pub oldest_ns: u64,
    /// Queues that did not answer, so that their part is missing: a driver may be stuck in them.
    pub silent_queues: u32,
}

impl PortMetrics {
    fn add(&mut self, lane: &LaneMetrics) {
        let total = lane.counters.total();
        self.requests += total.requests;
        self.errors += total.errors;
        self.bytes_read += lane.counters.bytes(block_op::READ);
        self.bytes_written += lane.counters.bytes(block_op::WRITE);
        for (name, counts) in lane.counters.by_kind() {
            if counts.requests > 0 {
                self.operations.entry(name.to_owned()).or_default().add(counts);
            }
        }
        self.latency.add(lane.counters.latency());
        self.in_flight += lane.in_flight;
        self.held += lane.held;
        self.waiting += lane.waiting;
        self.oldest_ns = self.oldest_ns.max(lane.oldest_ns);
    }

    /// What happened since `before`, earlier numbers of the same port. What is true of now (in flight,
    /// held, the oldest) stays.
    pub fn since(&self, before: &PortMetrics) -> PortMetrics {
        let counts = |(name, now): (&String, &OperationCounts)| {
            let then = before.operations.get(name).copied().unwrap_or_default();
            let window = now.since(then);
            (window.requests > 0).then(|| (name.clone(), window))
        };
        PortMetrics {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            bytes_read: self.bytes_read.saturating_sub(before.bytes_read),
            bytes_written: self.bytes_written.saturating_sub(before.bytes_written),
            operations: self.operations.iter().filter_map(counts).collect(),
            latency: self.latency.since(&before.latency),
            ..self.clone()
        }
    }
}

#[derive(Debug)]
struct LaneMetrics {
    counters: Counters,
    in_flight: u32,
    held: u32,
    waiting: u32,
    oldest_ns: u64,
}

fn read_lane(lane: &Lane) -> LaneMetrics {
    LaneMetrics {
        counters: lane.counters.clone(),
        in_flight: lane.slots.issued(),
        held: lane.held(),
        waiting: lane.waiting_in_line(),
        oldest_ns: lane.oldest_ns(),
    }
}

impl Engine {
    /// What a port has done and how long it took; `None` where there is no such port.
    pub fn metrics(&self, port: &str) -> Option<PortMetrics> {
        let port = self.control.find(port)?;
        let id = LaneId(port.id.0);
        let mut metrics = PortMetrics::default();
        for remote in &port.remotes {
            match remote.look(ANSWER, move |rt| rt.inspect_lane(id, read_lane)).flatten() {
                Some(lane) => metrics.add(&lane),
                None => metrics.silent_queues += 1,
            }
        }
        Some(metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::counters::Run;

    fn metrics(counters: &Counters) -> PortMetrics {
        let lane =
            LaneMetrics { counters: counters.clone(), in_flight: 1, held: 0, waiting: 0, oldest_ns: 9 };
        let mut metrics = PortMetrics::default();
        metrics.add(&lane);
        metrics
    }

    fn run(op: u16, requests: u64, bytes: u64, failed: bool) -> Run {
        Run { op, failed, submitted_ns: 0, requests, bytes }
    }

    #[test]
    fn requests_are_counted_by_what_they_ask() {
        let mut counters = Counters::default();
        counters.count(&run(block_op::READ, 3, 3 * 4096, false), 5);
        counters.count(&run(block_op::READ, 1, 4096, true), 5);
        counters.count(&run(block_op::STATUS, 1, 1 << 20, false), 5);
        counters.count(&run(77, 1, 1, true), 5);
        counters.count(&run(8, 1, 1, false), 5);
        counters.count(&run(block_op::WRITE, 0, 0, false), 5);
        let m = metrics(&counters);
        assert_eq!((m.requests, m.errors, m.bytes_read, m.bytes_written), (7, 2, 3 * 4096, 0));
        assert_eq!(m.operations["read"], OperationCounts { requests: 4, errors: 1, bytes: 3 * 4096 });
        assert_eq!(m.operations["other"].requests, 2, "numbers that are not known");
        assert!(!m.operations.contains_key("write"));
        assert_eq!(m.latency.count(), 7);
    }

    #[test]
    fn a_window_holds_what_happened_in_it() {
        let mut counters = Counters::default();
        counters.count(&run(block_op::READ, 1, 4096, false), 1_000);
        let before = metrics(&counters);
        counters.count(&run(block_op::WRITE, 1, 512, true), 80_000);
        let window = metrics(&counters).since(&before);
        assert_eq!((window.requests, window.errors, window.bytes_read), (1, 1, 0));
        assert_eq!(window.operations.keys().collect::<Vec<_>>(), ["write"]);
        assert_eq!((window.latency.count(), window.latency.max_ns()), (1, 80_000));
        assert_eq!((window.in_flight, window.oldest_ns), (1, 9), "what is true of now stays");
    }
}
