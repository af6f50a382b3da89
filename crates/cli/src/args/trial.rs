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
pub(crate) struct TrialArgs {
    /// First let the module answer a copy of the device's reads, beside the driver that serves; update only if
    /// every answer is right
    #[arg(long, alias = "shadow", value_name = "TIME", conflicts_with = "revert", value_parser = parse_length)]
    pub(crate) trial: Option<Duration>,
    /// Fraction of the reads to copy, above 0 and at most 1
    #[arg(long, alias = "shadow-sample", value_name = "P", requires = "trial", default_value_t = 1.0, value_parser = parse_sample)]
    pub(crate) trial_sample: f64,
    /// Refuse a module whose 99th percentile of latency exceeds FACTOR times the running driver's
    #[arg(long, alias = "shadow-max-latency", value_name = "FACTOR", requires = "trial", value_parser = parse_factor)]
    pub(crate) trial_max_latency: Option<f64>,
    /// Compare at least this many reads
    #[arg(long, alias = "shadow-least", value_name = "N", requires = "trial", default_value_t = 1)]
    pub(crate) trial_least: u64,
    /// Only report what the trial found; replace nothing
    #[arg(long, alias = "shadow-only", requires = "trial", conflicts_with_all = ["probation", "end_probation"])]
    pub(crate) trial_only: bool,
}

impl TrialArgs {
    /// What the daemon is asked for.
    pub(crate) fn request(&self) -> Option<ShadowRequest> {
        let duration_ms = u64::try_from(self.trial?.as_millis()).unwrap_or(u64::MAX);
        Some(ShadowRequest {
            duration_ms,
            sample: self.trial_sample,
            max_latency: self.trial_max_latency,
            least_compared: self.trial_least,
            only: self.trial_only,
        })
    }
}

/// Whether a trial speaks against the module.
pub(crate) fn failed(receipt: &Receipt) -> bool {
    receipt.shadow.as_ref().is_some_and(|report| !report.equal && report.cut_short.is_empty())
}
