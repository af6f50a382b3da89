use super::{Difference, Tally};
use crate::receipt::{Release, Unload};
use serde::{Deserialize, Serialize};

/// What a trial found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// The candidate.
    pub candidate: Option<Release>,
    /// Only a trial was asked for, and no update.
    pub only: bool,
    /// Nothing speaks against it.
    pub equal: bool,
    /// Everything that does.
    pub against: Vec<String>,
    /// Why it ended before its time, where somebody ended it: there is no verdict then. Empty otherwise.
    #[serde(default)]
    pub cut_short: String,
    /// How long reads were copied, milliseconds.
    pub duration_ms: u64,
    /// Reads that the device answered meanwhile.
    pub reads: u64,
    /// Of those, how many were compared.
    pub compared: u64,
    /// Compared and not the same.
    pub differ: u64,
    /// Not judged, because the range was changed in between.
    pub overlapped: u64,
    /// Not tried, because the candidate was busy: the device does not wait for it.
    pub skipped: u64,
    /// Not tried, by the sampling rate.
    pub passed: u64,
    /// Failed by the candidate, although the driver that serves did not.
    pub failed: u64,
    /// Never answered by the candidate.
    pub unanswered: u64,
    /// Operations of the candidate that would have changed something; each was refused.
    pub changes_refused: u64,
    /// Flushes of the candidate, which had nothing to make durable.
    pub flushes_swallowed: u64,
    /// Rules of the driver interface that the candidate broke.
    pub faults: u64,
    /// The first difference.
    pub first_difference: Option<Difference>,
    /// The first failure, in words; empty when there is none.
    pub first_failure: String,
    /// Half of the compared reads took the driver that serves at most that long, nanoseconds.
    pub live_p50_ns: u64,
    /// 99 of 100 did.
    pub live_p99_ns: u64,
    /// The same of the candidate.
    pub candidate_p50_ns: u64,
    /// The same of the candidate.
    pub candidate_p99_ns: u64,
    /// Whether the module left memory after the trial.
    pub unload: Unload,
}

impl Default for ShadowReport {
    fn default() -> ShadowReport {
        ShadowReport::of(&Tally::default())
    }
}

impl ShadowReport {
    /// A report of what was counted, without a verdict.
    pub fn of(tally: &Tally) -> ShadowReport {
        ShadowReport {
            candidate: None,
            only: false,
            equal: false,
            against: Vec::new(),
            cut_short: String::new(),
            duration_ms: 0,
            reads: tally.reads,
            compared: tally.judged(),
            differ: tally.differ,
            overlapped: tally.overlapped,
            skipped: tally.skipped,
            passed: tally.passed,
            failed: tally.failed,
            unanswered: tally.unanswered,
            changes_refused: 0,
            flushes_swallowed: 0,
            faults: 0,
            first_difference: tally.first.clone(),
            first_failure: tally.first_failure.map_or_else(String::new, |(at, errno)| {
                let error = std::io::Error::from_raw_os_error(errno);
                format!("{error}, {} bytes at {} of device {}", at.length, at.offset, at.device)
            }),
            live_p50_ns: tally.live.quantile(50, 100),
            live_p99_ns: tally.live.quantile(99, 100),
            candidate_p50_ns: tally.candidate.quantile(50, 100),
            candidate_p99_ns: tally.candidate.quantile(99, 100),
            unload: Unload::None,
        }
    }
}
