//! How a candidate is tried before it may serve.

use std::time::Duration;
use steadfast_shell::shadow::Bounds;

/// How a candidate is tried before it may serve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialOptions {
    /// For how long.
    pub duration: Duration,
    /// Part of the reads that is copied, above 0 and at most 1.
    pub sample: f64,
    /// What the candidate must keep to.
    pub bounds: Bounds,
    /// Only report; never go on with the update.
    pub only: bool,
}

impl Default for TrialOptions {
    fn default() -> TrialOptions {
        TrialOptions {
            duration: Duration::from_secs(30),
            sample: 1.0,
            bounds: Bounds::default(),
            only: false,
        }
    }
}

impl TrialOptions {
    /// Longest trial.
    pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

    /// What is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.duration.is_zero() || self.duration > TrialOptions::LONGEST {
            let seconds = self.duration.as_secs_f64();
            return Err(format!("trial of {seconds} s is out of range (allowed: above 0, at most 24 h)"));
        }
        if !(self.sample > 0.0 && self.sample <= 1.0) {
            let sample = self.sample;
            return Err(format!(
                "sampling rate {sample} of a trial is out of range (allowed: above 0, at most 1)"
            ));
        }
        match self.bounds.max_latency {
            Some(factor) if !(factor > 0.0 && factor.is_finite()) => {
                Err(format!("latency factor {factor} of a trial is out of range (allowed: above 0)"))
            }
            _ => Ok(()),
        }
    }
}
