//! Probation: a driver that has just taken over is watched for a while, and compared with the one
//! before it.
//!
//! Numbers go in ([`Sample`]), a [`Verdict`] comes out. There is no clock and no I/O here: the time is
//! part of a sample. What is judged, and against what:
//!
//! | what | worse when | judged when |
//! |---|---|---|
//! | errors | their share is above the bound | 100 requests, or 10 errors; at the end also when all failed, or half of them and 3 at least |
//! | faults of the driver | more of them than nobody's | always |
//! | mean latency | above the bound | 100 requests, or 10 when it is ten times the bound and half of them are above it |
//! | latency of 99 of 100 | above the bound | 1,000 requests |
//! | a request that does not end | it is older than the patience | always |
//! | a port that does not answer | for longer than the patience | always |
//!
//! A bound on latency that is a multiple of what was before needs as many requests before as now: 100 for
//! the mean, 1,000 for 99 of 100.
//!
//! What counts is the last 30 s at most, so that a driver which begins to fail late in a long probation
//! is not hidden by a good beginning. When the time is over and something hangs, the probation goes on
//! for the patience at most, so that a driver which begins to hang at the end does not pass.

mod report;
#[cfg(test)]
mod tests;

pub use report::{Limits, Observed, ProbationOutcome, ProbationReport};

use crate::histogram::Histogram;
use std::collections::VecDeque;

/// Requests from which shares of errors and mean latencies mean something.
pub const ENOUGH: u64 = 100;
/// Requests from which the latency of 99 of 100 means something.
pub const ENOUGH_P99: u64 = 1_000;
/// Requests from which a mean means something that is plainly above its bound: the slower a driver is,
/// the fewer requests it ends, so waiting for many would let the slowest pass.
const FEW: u64 = 10;
/// How many times its bound a mean is plainly above it.
const PLAINLY: u64 = 10;
/// Errors that count however few the requests are.
const MANY_ERRORS: u64 = 10;
/// Errors that count at the end when they are half of all requests, or more.
const FEW_ERRORS: u64 = 3;
/// Where no bound is given: share of errors that may be added to what was before.
pub const DEFAULT_ERROR_RATE: f64 = 0.001;
/// Where no bound is given: errors that are passed over, for a medium has bad blocks.
const STRAY_ERRORS: u64 = 2;
/// Where no bound is given: how many times the latency before.
pub const DEFAULT_FACTOR: f64 = 3.0;
/// With a factor: mean and 99 of 100 may always grow by so much. Threads that wait for a processor
/// make more of a difference than that.
const SLACK_MEAN_NS: u64 = 250_000;
const SLACK_P99_NS: u64 = 2_000_000;
/// What is looked at, at most.
const WINDOW_NS: u64 = 30_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// The bound on latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LatencyBound {
    /// So many times the latency before: mean, and 99 of 100.
    Factor(f64),
    /// So many nanoseconds at most: mean, and 99 of 100.
    Ns(u64),
}

/// What a driver on probation is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// How long, nanoseconds.
    pub length_ns: u64,
    /// Largest share of failed requests, 0 to 1; `None`: 0.1 % more than before, three at least. What was
    /// before counts from 100 requests.
    pub max_error_rate: Option<f64>,
    /// Latency.
    pub max_latency: LatencyBound,
    /// Too little to judge it by is too little to keep it.
    pub require_judged: bool,
}

impl Terms {
    /// The bounds that hold where none are given.
    pub const fn new(length_ns: u64) -> Terms {
        Terms {
            length_ns,
            max_error_rate: None,
            max_latency: LatencyBound::Factor(DEFAULT_FACTOR),
            require_judged: false,
        }
    }

    /// How often to look.
    pub const fn interval_ns(&self) -> u64 {
        let twentieth = self.length_ns / 20;
        if twentieth > SECOND {
            SECOND
        } else if twentieth < 20_000_000 {
            20_000_000
        } else {
            twentieth
        }
    }
}

/// The counters of a port at one moment, all counted since it was attached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When, nanoseconds of a monotonic clock.
    pub at_ns: u64,
    /// Requests completed.
    pub requests: u64,
    /// Of those, failed.
    pub errors: u64,
    /// Rules of the driver interface that the driver broke.
    pub faults: u64,
    /// How long requests took.
    pub latency: Histogram,
    /// Age of the oldest request that has not ended, nanoseconds; 0 where there is none.
    pub oldest_ns: u64,
    /// All queues of the port answer.
    pub responsive: bool,
}

impl Sample {
    /// What happened since `before`.
    pub fn since(&self, before: &Sample) -> Observed {
        let latency = self.latency.since(&before.latency);
        let requests = self.requests.saturating_sub(before.requests);
        let errors = self.errors.saturating_sub(before.errors);
        let faults = self.faults.saturating_sub(before.faults);
        Observed {
            ms: self.at_ns.saturating_sub(before.at_ns) / 1_000_000,
            requests,
            errors,
            faults,
            error_rate: share(errors + faults, requests),
            mean_ns: latency.mean_ns(),
            p99_ns: latency.quantile(99, 100),
            max_ns: latency.max_ns(),
        }
    }
}

fn share(errors: u64, requests: u64) -> f64 {
    match requests.max(errors) {
        0 => 0.0,
        all => errors as f64 / all as f64,
    }
}

/// What a sample meant.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing is wrong so far.
    Watching,
    /// The time is over and nothing was wrong; the text says what of it there was too little to judge.
    Passed(String),
    /// The time is over and there was too little to judge anything by: how much.
    Unjudged(String),
    /// It is worse: how, against what, and what it was before.
    Worse(String),
}

/// A driver on probation.
#[derive(Clone, Debug)]
pub struct Probation {
    terms: Terms,
    baseline: Observed,
    limits: Limits,
    /// When it began.
    began_ns: u64,
    /// What all is counted from: the first sample of the whole port.
    begin: Sample,
    /// Samples of the window, the oldest first; never empty.
    window: VecDeque<Sample>,
    /// Since when the port does not answer.
    silent_since: Option<u64>,
    /// There was a time with enough requests to judge the latency of 99 of 100.
    p99_judged: bool,
}

impl Probation {
    /// Begins one. `baseline` is what was observed of the driver before; `begin` the first sample
    /// after the update.
    pub fn new(terms: Terms, baseline: Observed, begin: Sample) -> Probation {
        let limits = limits(&terms, &baseline);
        Probation {
            terms,
            baseline,
            limits,
            window: VecDeque::from([begin.clone()]),
            began_ns: begin.at_ns,
            silent_since: (!begin.responsive).then_some(begin.at_ns),
            begin,
            p99_judged: false,
        }
    }

    /// Takes a sample, later than the one before.
    pub fn observe(&mut self, sample: Sample) -> Verdict {
        let now = sample.at_ns;
        let pending = self.pending(&sample);
        if let Some(worse) = self.stuck(&sample) {
            self.push(sample);
            return Verdict::Worse(worse);
        }
        // A port that does not answer has numbers of a part of itself; they say nothing.
        if sample.responsive {
            if !self.begin.responsive {
                // Counted from a part of the port, the rest's history would look like the new driver's.
                self.begin = sample.clone();
                self.window.clear();
            }
            self.push(sample);
            if let Some(worse) = self.judge(now) {
                return Verdict::Worse(worse);
            }
        }
        // What hangs at the end is given the time in which it either ends or is found to be stuck.
        let more = if pending { self.limits.patience_ns } else { 0 };
        if self.elapsed(now) < self.terms.length_ns.saturating_add(more) {
            return Verdict::Watching;
        }
        self.at_the_end()
    }

    /// The time is over, and nothing was worse for certain.
    fn at_the_end(&self) -> Verdict {
        let seen = self.seen();
        if seen.requests >= ENOUGH {
            return Verdict::Passed(self.not_judged());
        }
        // Where nothing worked before either, it is not the driver's.
        let before = &self.baseline;
        let as_before = before.errors > 0 && before.errors >= before.requests;
        let all = seen.errors > 0 && seen.errors >= seen.requests;
        let half = seen.errors >= FEW_ERRORS && seen.errors * 2 >= seen.requests;
        if (all || half) && !as_before && seen.error_rate > self.limits.error_rate {
            return Verdict::Worse(self.failed(&seen));
        }
        let few = format!("too few requests to judge: {}", seen.requests);
        match self.terms.require_judged {
            true => Verdict::Worse(few),
            false => Verdict::Unjudged(few),
        }
    }

    /// What there was too little of to judge; empty when all was judged.
    fn not_judged(&self) -> String {
        const P99: &str = "the latency of 99 of 100";
        let (seen, before) = (self.seen().requests, self.baseline.requests);
        if self.limits.mean_ns.is_none() && self.limits.p99_ns.is_none() {
            format!("too few requests before the update to judge latency: {before}")
        } else if self.limits.p99_ns.is_none() {
            format!("too few requests before the update to judge {P99}: {before}")
        } else if !self.p99_judged {
            format!("too few requests to judge {P99}: {seen}")
        } else {
            String::new()
        }
    }

    /// Whether something may be about to hang: the port does not answer, or a request takes long.
    fn pending(&self, sample: &Sample) -> bool {
        let long = (self.terms.length_ns / 4).clamp(1, SECOND);
        !sample.responsive || self.oldest(sample) >= long
    }

    /// Age of the oldest request under the new driver: what was begun before is not its delay.
    fn oldest(&self, sample: &Sample) -> u64 {
        sample.oldest_ns.min(self.elapsed(sample.at_ns))
    }

    /// Nanoseconds since the beginning.
    pub fn elapsed(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.began_ns)
    }

    /// The record, as of the last sample.
    pub fn report(&self, outcome: ProbationOutcome, reason: String) -> ProbationReport {
        let last = self.last();
        let observed = match outcome {
            ProbationOutcome::Reverted | ProbationOutcome::NotReverted => last.since(self.first()),
            _ => self.seen(),
        };
        ProbationReport {
            outcome,
            reason,
            length_ms: self.terms.length_ns / 1_000_000,
            elapsed_ms: self.elapsed(last.at_ns) / 1_000_000,
            baseline: self.baseline,
            observed,
            limits: self.limits,
            of_receipt: None,
            revert_receipt: None,
        }
    }

    fn push(&mut self, sample: Sample) {
        let now = sample.at_ns;
        self.window.push_back(sample);
        // The first one is the last that is at least a window old.
        while self.window.get(1).is_some_and(|next| now.saturating_sub(next.at_ns) >= WINDOW_NS) {
            self.window.pop_front();
        }
    }

    fn first(&self) -> &Sample {
        self.window.front().unwrap_or(&self.begin)
    }

    fn last(&self) -> &Sample {
        self.window.back().unwrap_or(&self.begin)
    }

    /// All that was observed since the beginning.
    fn seen(&self) -> Observed {
        self.last().since(&self.begin)
    }

    /// Whether nothing moves, although something should.
    fn stuck(&mut self, sample: &Sample) -> Option<String> {
        let (now, patience) = (sample.at_ns, self.limits.patience_ns);
        if !sample.responsive {
            let since = *self.silent_since.get_or_insert(now);
            let silent = now.saturating_sub(since);
            return (silent >= patience).then(|| {
                let (silent, patience) = (time(silent), time(patience));
                format!("the port has not answered for {silent}; {patience} is allowed")
            });
        }
        self.silent_since = None;
        let oldest = self.oldest(sample);
        (oldest >= patience).then(|| {
            let (oldest, patience) = (time(oldest), time(patience));
            format!("a request has not ended after {oldest}; {patience} is allowed")
        })
    }

    /// Whether what is in the window is worse than the bounds.
    fn judge(&mut self, now: u64) -> Option<String> {
        let observed = self.last().since(self.first());
        if let Some(worse) = self.judge_errors(&observed) {
            return Some(worse);
        }
        // The first moments after a swap are slower than what follows: caches are cold.
        let settled = self.elapsed(now) >= (self.terms.length_ns / 4).min(2 * SECOND);
        if !settled {
            return None;
        }
        self.p99_judged |= observed.requests >= ENOUGH_P99;
        self.judge_latency(&observed)
    }

    fn judge_errors(&self, observed: &Observed) -> Option<String> {
        // A medium has bad blocks; a driver that breaks its own rules, or panics, has no such excuse.
        if self.terms.max_error_rate.is_none() && observed.faults > 0 && self.baseline.faults == 0 {
            return Some(self.failed(observed));
        }
        let bad = observed.errors + observed.faults;
        let enough = observed.requests >= ENOUGH || bad >= MANY_ERRORS;
        let stray = self.terms.max_error_rate.is_none() && bad <= STRAY_ERRORS;
        let limit = self.limits.error_rate;
        if !enough || stray || observed.error_rate <= limit {
            return None;
        }
        Some(self.failed(observed))
    }

    fn failed(&self, observed: &Observed) -> String {
        let bad = observed.errors + observed.faults;
        let limit = self.limits.error_rate;
        let faults = match observed.faults {
            0 => String::new(),
            n => format!(", {n} of them breaches of the driver interface"),
        };
        format!(
            "{} of requests failed ({bad} of {}{faults}); {} is allowed, before it was {}",
            percent(observed.error_rate),
            observed.requests.max(bad),
            percent(limit),
            percent(self.baseline.error_rate),
        )
    }

    fn judge_latency(&self, observed: &Observed) -> Option<String> {
        let before = &self.baseline;
        // One long wait among a few requests lifts their mean: half of them have to be too long as well.
        let plain = |limit| {
            let median = || self.last().latency.since(&self.first().latency).quantile(1, 2);
            observed.mean_ns / PLAINLY > limit && median() > limit
        };
        let enough = if self.limits.mean_ns.is_some_and(plain) { FEW } else { ENOUGH };
        let rows = [
            ("the mean latency", enough, observed.mean_ns, self.limits.mean_ns, before.mean_ns),
            (
                "the latency of 99 of 100 requests",
                ENOUGH_P99,
                observed.p99_ns,
                self.limits.p99_ns,
                before.p99_ns,
            ),
        ];
        rows.into_iter().find_map(|(what, enough, now, limit, before)| {
            let limit = limit.filter(|limit| observed.requests >= enough && now > *limit)?;
            let (now, limit, before) = (time(now), time(limit), time(before));
            Some(format!("{what} is {now}; {limit} is allowed, before it was {before}"))
        })
    }
}

/// The bounds in numbers.
fn limits(terms: &Terms, baseline: &Observed) -> Limits {
    let grown =
        |ns: u64, factor: f64, slack: u64| ((ns as f64 * factor) as u64).max(ns.saturating_add(slack));
    let (mean_ns, p99_ns) = match terms.max_latency {
        LatencyBound::Ns(ns) => (Some(ns), Some(ns)),
        LatencyBound::Factor(factor) => (
            (baseline.requests >= ENOUGH).then(|| grown(baseline.mean_ns, factor, SLACK_MEAN_NS)),
            (baseline.requests >= ENOUGH_P99).then(|| grown(baseline.p99_ns, factor, SLACK_P99_NS)),
        ),
    };
    // A share of a few requests is no share.
    let error_rate = if baseline.requests >= ENOUGH { baseline.error_rate } else { 0.0 };
    let patience = (terms.length_ns / 2).clamp(SECOND, 10 * SECOND);
    Limits {
        error_rate: terms.max_error_rate.unwrap_or(error_rate + DEFAULT_ERROR_RATE),
        mean_ns,
        p99_ns,
        patience_ns: patience.max(baseline.max_ns.saturating_mul(4)),
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 10.0 { format!("{percent:.0} %") } else { format!("{percent:.2} %") }
}

fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{:.0} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}
