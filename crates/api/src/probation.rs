use crate::{IfBusy, Mode, ProbationReport, Release, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks that a driver be watched after an update, and the one before put back if it is worse. Bounds
/// that are missing take the daemon's: 0.1 % more errors than before, three times the latency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbationRequest {
    /// How long, milliseconds; at least 100.
    pub duration_ms: u64,
    /// Largest share of requests that may fail, 0 to 1, whatever it was before.
    #[serde(default)]
    pub max_error_rate: Option<f64>,
    /// How many times the latency before is allowed, more than 1: mean, and 99 of 100 requests.
    #[serde(default)]
    pub max_latency_factor: Option<f64>,
    /// How long requests may take, nanoseconds, whatever it was before: mean, and 99 of 100.
    #[serde(default)]
    pub max_latency_ns: Option<u64>,
    /// Go back also when there were too few requests to judge the driver by.
    #[serde(default)]
    pub require_judged: bool,
}

impl ProbationRequest {
    /// A probation with the daemon's bounds.
    pub fn new(duration_ms: u64) -> ProbationRequest {
        ProbationRequest {
            duration_ms,
            max_error_rate: None,
            max_latency_factor: None,
            max_latency_ns: None,
            require_judged: false,
        }
    }
}

/// Asks for the module that ran before the one that runs now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertRequest {
    /// How requests in flight are treated; the least disruptive that both drivers can do when
    /// missing.
    #[serde(default)]
    #[schema(value_type = Option<schema::Mode>)]
    pub mode: Option<Mode>,
    /// How long the update may wait for requests in flight, milliseconds; as the port's `drain_timeout` says
    /// when missing.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// What to do when requests are in flight that must be drained.
    #[serde(default)]
    pub if_busy: IfBusy,
    /// Watch the driver afterwards.
    #[serde(default)]
    pub probation: Option<ProbationRequest>,
    /// To what this receipt's update brought; when missing, to what ran before. What has gone back by itself is
    /// only gone forward to with it.
    #[serde(default)]
    pub to: Option<u64>,
    /// Only say what would be done: the answer is a report of the checks.
    #[serde(default)]
    pub dry_run: bool,
}

/// A probation that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Probation {
    /// The receipt of the update that it follows.
    pub receipt: u64,
    /// The driver on probation.
    #[schema(value_type = schema::Release)]
    pub driver: Release,
    /// The driver that is put back if it is worse.
    #[schema(value_type = schema::Release)]
    pub before: Release,
    /// Time that is left, milliseconds.
    pub left_ms: u64,
    /// What has been seen so far.
    #[schema(value_type = schema::ProbationReport)]
    pub report: ProbationReport,
}
