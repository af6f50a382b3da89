//! What can be seen while it runs: a live line in a terminal, a plain line a second elsewhere.

use super::load::Counters;
use super::swaps::Swaps;
use crate::output::{self, units};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Shows how far it is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    begin: Instant,
    last: Instant,
    last_requests: u64,
    iops: u64,
}

impl Progress {
    /// Starts to show, on standard error, so that standard output is the result alone.
    pub(crate) fn new(length: Duration) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(length.as_millis() as u64), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:16} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        Progress { bar, begin: now, last: now, last_requests: 0, iops: 0 }
    }

    /// Says how it stands; does so only as often as it is worth looking at.
    pub(crate) fn show(&mut self, swaps: &Swaps, counters: &[Arc<Counters>]) {
        let since = self.last.elapsed();
        let every = Duration::from_millis(if self.bar.is_some() { 100 } else { 1000 });
        if since < every {
            return;
        }
        let sum = |field: fn(&Counters) -> u64| counters.iter().map(|c| field(c)).sum::<u64>();
        let requests = sum(|c| c.requests.load(Ordering::Relaxed));
        let errors = sum(|c| c.errors.load(Ordering::Relaxed));
        self.iops = ((requests - self.last_requests) as f64 / since.as_secs_f64()) as u64;
        (self.last, self.last_requests) = (Instant::now(), requests);
        let text = format!(
            "devices up, {} swaps, {errors} errors, pause p50 {} p99 {} max {}, {} IOPS",
            units::count(swaps.total()),
            units::time(swaps.all.value_at_quantile(0.5)),
            units::time(swaps.all.value_at_quantile(0.99)),
            units::time(swaps.all.max()),
            units::count(self.iops)
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.begin.elapsed().as_millis() as u64);
                bar.set_message(text);
            }
            None => output::say(&format!("{:5.1} s  {text}", self.begin.elapsed().as_secs_f64())),
        }
    }

    /// Takes the live line away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
