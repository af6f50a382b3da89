//! The record of a probation, as receipts hold it.

use serde::{Deserialize, Serialize};

/// How a probation ended, or that it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbationOutcome {
    /// It is not over.
    #[default]
    Running,
    /// The new driver stays.
    Passed,
    /// There was too little to judge it by; the new driver stays.
    Unjudged,
    /// The new driver was worse; the one before serves again.
    Reverted,
    /// The new driver was worse, and the way back failed: the reason says why.
    NotReverted,
    /// Somebody changed the driver, or took the device away, before it was over.
    Ended,
    /// The daemon was asked to stop before it was over: nothing is said of the driver.
    Stopped,
    /// The daemon ended without a stop before it was over, as it does when a driver crashes.
    Killed,
}

impl ProbationOutcome {
    /// The outcome's name.
    pub const fn name(self) -> &'static str {
        match self {
            ProbationOutcome::Running => "running",
            ProbationOutcome::Passed => "passed",
            ProbationOutcome::Unjudged => "unjudged",
            ProbationOutcome::Reverted => "reverted",
            ProbationOutcome::NotReverted => "not_reverted",
            ProbationOutcome::Ended => "ended",
            ProbationOutcome::Stopped => "stopped",
            ProbationOutcome::Killed => "killed",
        }
    }
}

/// What a port did in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// How long, milliseconds.
    pub ms: u64,
    /// Requests completed.
    pub requests: u64,
    /// Of those, failed.
    pub errors: u64,
    /// Rules of the driver interface that the driver broke.
    pub faults: u64,
    /// Errors and faults by requests, 0 to 1.
    pub error_rate: f64,
    /// Mean latency, nanoseconds.
    pub mean_ns: u64,
    /// 99 of 100 requests took at most this long, nanoseconds.
    pub p99_ns: u64,
    /// The longest, nanoseconds.
    pub max_ns: u64,
}

/// What was allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Errors and faults by requests, 0 to 1.
    pub error_rate: f64,
    /// Mean latency, nanoseconds; missing where it was not judged.
    pub mean_ns: Option<u64>,
    /// Latency of 99 of 100 requests, nanoseconds; missing where it was not judged.
    pub p99_ns: Option<u64>,
    /// How long a request may stay without an end, or the port without an answer, nanoseconds.
    pub patience_ns: u64,
}

/// What was watched after an update, against what, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbationReport {
    /// How it ended.
    pub outcome: ProbationOutcome,
    /// In which way it was worse, or why it ended; empty when there is nothing to say.
    pub reason: String,
    /// How long it was to last, milliseconds.
    pub length_ms: u64,
    /// How long it has lasted, milliseconds.
    pub elapsed_ms: u64,
    /// The driver before.
    pub baseline: Observed,
    /// The new driver: all of the time, or the last 30 s of it when it was worse.
    pub observed: Observed,
    /// What was allowed.
    pub limits: Limits,
    /// On the receipt of the way back: the update that was on probation.
    #[serde(default)]
    pub of_receipt: Option<u64>,
    /// On the receipt of the update: the way back.
    #[serde(default)]
    pub revert_receipt: Option<u64>,
}
