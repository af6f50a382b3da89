use super::{Range, ShadowReport};
use crate::histogram::Histogram;
use serde::{Deserialize, Serialize};

/// The first read that the candidate answered with other data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Device within the port.
    pub device: u32,
    /// First byte that differs, on the device.
    pub offset: u64,
    /// First byte of the read.
    pub read_offset: u64,
    /// Bytes of the read.
    pub read_length: u64,
    /// Checksum of what the driver that serves read: BLAKE3, its first 16 hexadecimal digits.
    pub live_sum: String,
    /// Checksum of what the candidate read.
    pub candidate_sum: String,
}

/// What came of one read of the device.
#[derive(Clone, Debug)]
pub enum Reading {
    /// The candidate read the same, in that time.
    Same {
        /// Nanoseconds that the driver that serves took.
        live_ns: u64,
        /// Nanoseconds that the candidate took.
        candidate_ns: u64,
    },
    /// The candidate read something else.
    Differs(Difference),
    /// The candidate failed where the driver that serves did not.
    Failed(Range, i32),
    /// The range was changed in between: nothing can be said.
    Overlapped,
    /// The candidate was busy with earlier ones: the device does not wait for it.
    Skipped,
    /// Not chosen, by the sampling rate.
    Passed,
    /// Taken back when the trial ended.
    Unanswered,
}

/// What was seen on one queue, or on all.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Reads that the device answered.
    pub reads: u64,
    /// Of those, how many the candidate read the same.
    pub same: u64,
    /// Read otherwise.
    pub differ: u64,
    /// Failed at.
    pub failed: u64,
    /// Not judged, because the range was changed in between.
    pub overlapped: u64,
    /// Not tried, because the candidate was busy.
    pub skipped: u64,
    /// Not tried, by the sampling rate.
    pub passed: u64,
    /// Never answered by the candidate.
    pub unanswered: u64,
    /// The first difference.
    pub first: Option<Difference>,
    /// The first failure: where, and the errno.
    pub first_failure: Option<(Range, i32)>,
    /// How long the driver that serves took for what was compared.
    pub live: Histogram,
    /// How long the candidate took.
    pub candidate: Histogram,
}

impl Tally {
    /// Counts one read of the device.
    pub fn count(&mut self, reading: Reading) {
        self.reads += 1;
        match reading {
            Reading::Same { live_ns, candidate_ns } => {
                self.same += 1;
                self.live.record(live_ns);
                self.candidate.record(candidate_ns);
            }
            Reading::Differs(difference) => {
                self.differ += 1;
                self.first.get_or_insert(difference);
            }
            Reading::Failed(range, errno) => {
                self.failed += 1;
                self.first_failure.get_or_insert((range, errno));
            }
            Reading::Overlapped => self.overlapped += 1,
            Reading::Skipped => self.skipped += 1,
            Reading::Passed => self.passed += 1,
            Reading::Unanswered => self.unanswered += 1,
        }
    }

    /// Adds what another queue has seen.
    pub fn add(&mut self, other: &Tally) {
        self.reads += other.reads;
        self.same += other.same;
        self.differ += other.differ;
        self.failed += other.failed;
        self.overlapped += other.overlapped;
        self.skipped += other.skipped;
        self.passed += other.passed;
        self.unanswered += other.unanswered;
        self.first = self.first.take().or_else(|| other.first.clone());
        self.first_failure = self.first_failure.or(other.first_failure);
        self.live.add(&other.live);
        self.candidate.add(&other.candidate);
    }

    /// Reads of which something can be said.
    pub fn judged(&self) -> u64 {
        self.same + self.differ
    }
}

/// What a candidate must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Fewest reads that must have been compared.
    pub least_compared: u64,
    /// Most that its 99th percentile may be of the other one's; `None`: latency is only reported.
    pub max_latency: Option<f64>,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { least_compared: 1, max_latency: None }
    }
}

impl Bounds {
    /// Everything that speaks against the candidate; empty when nothing does.
    pub fn judge(&self, report: &ShadowReport) -> Vec<String> {
        let mut why = Vec::new();
        let r = report;
        if r.differ > 0 {
            why.push(format!("{} of {} reads compared differ{}", r.differ, r.compared, first(r)));
        }
        if r.failed > 0 {
            let first = if r.first_failure.is_empty() { "no reason" } else { &r.first_failure };
            why.push(format!("the candidate failed {} reads, the first with: {first}", r.failed));
        }
        if r.unanswered > 0 {
            why.push(format!("the candidate never answered {} reads", r.unanswered));
        }
        if r.changes_refused > 0 {
            let n = r.changes_refused;
            why.push(format!("the candidate tried {n} times to change something in answer to reads"));
        }
        if r.faults > 0 {
            why.push(format!("the candidate broke rules of the driver interface {} times", r.faults));
        }
        if r.compared < self.least_compared {
            why.push(self.too_few(r));
        }
        why.extend(self.too_slow(r));
        why
    }

    fn too_few(&self, r: &ShadowReport) -> String {
        let least = self.least_compared;
        let rest = [
            (r.overlapped, "changed in between"),
            (r.skipped, "skipped because the candidate was busy"),
            (r.passed, "not sampled"),
        ];
        let rest: Vec<String> =
            rest.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let rest = if rest.is_empty() { String::new() } else { format!(" ({})", rest.join(", ")) };
        format!("{} reads could be compared, of {}{rest}; at least {least} are wanted", r.compared, r.reads)
    }

    fn too_slow(&self, r: &ShadowReport) -> Option<String> {
        let factor = self.max_latency?;
        let (live, candidate) = (r.live_p99_ns as f64 / 1e3, r.candidate_p99_ns as f64 / 1e3);
        let over = r.compared > 0 && candidate > live * factor;
        over.then(|| {
            format!(
                "slower: 99th percentile {candidate:.1} us, {live:.1} us with the driver that serves \
                 (allowed: {factor} times that)"
            )
        })
    }
}

fn first(r: &ShadowReport) -> String {
    r.first_difference.as_ref().map_or_else(String::new, |d| {
        format!(
            ", the first at byte {} of device {} (a read of {} bytes at {}: checksum {} where the driver \
             that serves read {})",
            d.offset, d.device, d.read_length, d.read_offset, d.candidate_sum, d.live_sum
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(offset: u64) -> Difference {
        Difference {
            device: 0,
            offset,
            read_offset: 4096,
            read_length: 4096,
            live_sum: "aa".into(),
            candidate_sum: "bb".into(),
        }
    }

    fn same(n: u64) -> Tally {
        let mut tally = Tally::default();
        (0..n).for_each(|_| tally.count(Reading::Same { live_ns: 1000, candidate_ns: 1000 }));
        tally
    }

    fn judge(tally: &Tally, bounds: Bounds) -> String {
        bounds.judge(&ShadowReport::of(tally)).join("; ")
    }

    #[test]
    fn a_sound_candidate_has_nothing_against_it() {
        let mut tally = same(812);
        tally.count(Reading::Overlapped);
        tally.count(Reading::Skipped);
        assert_eq!(judge(&tally, Bounds { least_compared: 812, max_latency: Some(1.0) }), "");
    }

    #[test]
    fn one_difference_of_a_thousand_is_enough() {
        let (mut tally, mut other) = (same(999), Tally::default());
        other.count(Reading::Differs(difference(5000)));
        other.count(Reading::Differs(difference(9000)));
        tally.add(&other);
        let why = judge(&tally, Bounds::default());
        assert!(
            why.starts_with("2 of 1001 reads compared differ, the first at byte 5000 of device 0"),
            "{why}"
        );
        assert!(why.contains("checksum bb") && why.contains("read aa"), "{why}");
    }

    #[test]
    fn a_trial_that_compared_nothing_proves_nothing() {
        let mut tally = Tally::default();
        assert_eq!(
            judge(&tally, Bounds::default()),
            "0 reads could be compared, of 0; at least 1 are wanted"
        );
        (0..3).for_each(|_| tally.count(Reading::Overlapped));
        tally.count(Reading::Passed);
        let why = judge(&tally, Bounds::default());
        assert!(
            why.contains("0 reads could be compared, of 4 (3 changed in between, 1 not sampled)"),
            "{why}"
        );
    }

    #[test]
    fn what_else_speaks_against_a_candidate_is_named() {
        let mut tally = same(10);
        tally.count(Reading::Failed(Range { device: 0, offset: 512, length: 512 }, 5));
        tally.count(Reading::Unanswered);
        let mut report = ShadowReport::of(&tally);
        (report.changes_refused, report.faults) = (3, 2);
        let why = Bounds::default().judge(&report);
        assert_eq!(why.len(), 4, "{why:?}");
        assert!(why[0].contains("failed 1 reads"), "{why:?}");
        assert!(why[1].contains("never answered 1"), "{why:?}");
        assert!(why[2].contains("tried 3 times to change"), "{why:?}");
    }

    #[test]
    fn latency_counts_only_when_it_is_asked_about() {
        let mut tally = Tally::default();
        (0..100).for_each(|_| tally.count(Reading::Same { live_ns: 10_000, candidate_ns: 40_000 }));
        assert_eq!(judge(&tally, Bounds::default()), "");
        let bounds = |factor| Bounds { max_latency: Some(factor), ..Bounds::default() };
        assert_eq!(judge(&tally, bounds(5.0)), "");
        assert!(judge(&tally, bounds(2.0)).starts_with("slower: 99th percentile"), "{tally:?}");
    }
}
