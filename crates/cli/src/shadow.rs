//! The trial before an update: its part of the command line.

use clap::Args;
use std::time::Duration;
use steadfast_api::{Receipt, ShadowRequest};
use steadfast_daemon::parse_duration;

/// The trial before an update.
#[derive(Args, Debug, Default)]
pub(crate) struct ShadowArgs {
    /// First let the module answer a copy of the device's reads, beside the driver that serves; go on
    /// only when nothing speaks against it
    #[arg(long, value_name = "TIME", conflicts_with = "revert", value_parser = parse_duration)]
    pub(crate) shadow: Option<Duration>,
    /// Part of the reads that is copied, above 0 and at most 1
    #[arg(long, value_name = "P", requires = "shadow", default_value_t = 1.0)]
    pub(crate) shadow_sample: f64,
    /// Refuse a module whose 99th percentile of latency is more than FACTOR times the other one's
    #[arg(long, value_name = "FACTOR", requires = "shadow")]
    pub(crate) shadow_max_latency: Option<f64>,
    /// Fewest reads that must have been compared
    #[arg(long, value_name = "N", requires = "shadow", default_value_t = 1)]
    pub(crate) shadow_least: u64,
    /// Only report what the trial found; replace nothing
    #[arg(long, requires = "shadow", conflicts_with_all = ["probation", "end_probation"])]
    pub(crate) shadow_only: bool,
}

impl ShadowArgs {
    /// What the daemon is asked for.
    pub(crate) fn request(&self) -> Option<ShadowRequest> {
        let duration_ms = u64::try_from(self.shadow?.as_millis()).unwrap_or(u64::MAX);
        Some(ShadowRequest {
            duration_ms,
            sample: self.shadow_sample,
            max_latency: self.shadow_max_latency,
            least_compared: self.shadow_least,
            only: self.shadow_only,
        })
    }
}

/// Whether only a trial was asked for, and nothing speaks against the module.
pub(crate) fn passed_alone(receipt: &Receipt) -> bool {
    receipt.shadow.as_ref().is_some_and(|report| report.only && report.equal)
}

/// Whether a trial speaks against the module.
pub(crate) fn failed(receipt: &Receipt) -> bool {
    receipt.shadow.as_ref().is_some_and(|report| !report.equal)
}
