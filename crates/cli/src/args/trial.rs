//! The trial before an update: its part of the command line.

use clap::Args;
use std::time::Duration;
use steadfast_api::{Receipt, ShadowRequest};
use steadfast_daemon::parse_duration;

/// Longest trial.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

fn parse_length(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        length if length.is_zero() || length > LONGEST => {
            Err(format!("a trial of `{text}` is not allowed (above 0, at most 24 hours)"))
        }
        length => Ok(length),
    }
}

fn parse_sample(text: &str) -> Result<f64, String> {
    let sample = text.parse().ok().filter(|sample| *sample > 0.0 && *sample <= 1.0);
    sample.ok_or_else(|| format!("`{text}` is not allowed (a number above 0, at most 1)"))
}

fn parse_factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor: &f64| *factor > 0.0 && factor.is_finite());
    factor.ok_or_else(|| format!("`{text}` is not allowed (a number above 0)"))
}

/// The trial before an update.
#[derive(Args, Debug, Default)]
pub(crate) struct ShadowArgs {
    /// First let the module answer a copy of the device's reads, beside the driver that serves; go on
    /// only when nothing speaks against it
    #[arg(long, value_name = "TIME", conflicts_with = "revert", value_parser = parse_length)]
    pub(crate) shadow: Option<Duration>,
    /// Part of the reads that is copied, above 0 and at most 1
    #[arg(long, value_name = "P", requires = "shadow", default_value_t = 1.0, value_parser = parse_sample)]
    pub(crate) shadow_sample: f64,
    /// Refuse a module whose 99th percentile of latency is more than FACTOR times the other one's
    #[arg(long, value_name = "FACTOR", requires = "shadow", value_parser = parse_factor)]
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

/// Whether a trial speaks against the module.
pub(crate) fn failed(receipt: &Receipt) -> bool {
    receipt.shadow.as_ref().is_some_and(|report| !report.equal && report.cut_short.is_empty())
}
