//! Drivers on probation: one thread each, that looks, asks the shell's own [`Probation`] what that
//! means, and puts the driver before back when it is worse.
//!
//! Whoever changes a device by hand ends its probation first ([`Probations::make_way`]); the thread also
//! looks each time whether it is still its driver that runs. So the two never fight.

mod baseline;
mod watch;

pub(crate) use baseline::Baselines;
pub(crate) use watch::{Begin, Watch};

use steadfast_shell::sync::lock;
use watch::Order;

use crate::app::App;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use steadfast_api::{
    Outcome, ProbationOutcome, ProbationReport, ProbationRequest, Problem, ProblemKind, Receipt,
};
use steadfast_runtime::PortState;
use steadfast_shell::probation::{LatencyBound, Probation, Sample, Terms, Verdict};

/// Shortest and longest probation.
const SHORTEST_MS: u64 = 100;
const LONGEST_MS: u64 = 24 * 3_600_000;
/// How often going back is tried where the port is busy or does not answer.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_secs(2);
/// How long stopping waits for the threads.
const FAREWELL: Duration = Duration::from_secs(15);

/// The probations that run, by port.
#[derive(Debug, Default)]
pub(crate) struct Probations {
    running: Mutex<BTreeMap<String, Arc<Watch>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stopping: AtomicBool,
}

impl Probations {
    /// The port's probation, if one runs.
    pub(crate) fn of(&self, port: &str) -> Option<Arc<Watch>> {
        lock(&self.running).get(port).cloned()
    }

    /// Somebody is about to change the port's driver. With `ends`, a probation ends with these words;
    /// without, it is in the way.
    pub(crate) fn make_way(&self, port: &str, ends: Option<&str>) -> Result<(), String> {
        let Some(watch) = self.of(port) else { return Ok(()) };
        let driver = format!("{} {}", watch.driver.driver, watch.driver.version);
        match ends {
            Some(why) if watch.order(Order::End(why.to_owned())) => {
                watch.wait_over(FAREWELL);
                Ok(())
            }
            Some(_) => Err(format!("port {port} is busy: it is reverting from {driver}")),
            None => {
                let left = watch.left().as_secs_f64().ceil();
                Err(format!("port {port} is busy: {driver} is on probation for another {left} s"))
            }
        }
    }

    /// Puts a driver on probation. Its receipt says so already.
    pub(crate) fn begin(app: &Arc<App>, watch: Arc<Watch>, machine: Probation) {
        let probations = &app.probations;
        lock(&probations.running).insert(watch.port.clone(), Arc::clone(&watch));
        if probations.stopping.load(Ordering::SeqCst) {
            watch.order(Order::Stop);
        }
        let (app2, watch2) = (Arc::clone(app), Arc::clone(&watch));
        let body = move || {
            Runner { app: &app2, watch: &watch2, machine }.run();
            watch2.over();
        };
        match std::thread::Builder::new().name("probation".to_owned()).spawn(body) {
            Ok(thread) => {
                let mut threads = lock(&probations.threads);
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
            }
            Err(e) => {
                let reason = format!("it could not be watched: {e}");
                let report = ProbationReport { outcome: ProbationOutcome::Ended, reason, ..watch.report() };
                Probations::end(app, &watch, report);
                watch.over();
            }
        }
    }

    /// Hashes of what is on probation and of what is put back.
    pub(crate) fn hashes(&self) -> Vec<String> {
        let running = lock(&self.running);
        running.values().flat_map(|watch| [watch.driver.hash.clone(), watch.before.hash.clone()]).collect()
    }

    /// It is over: at one time the port has none any more and the receipt says how it ended.
    fn end(app: &Arc<App>, watch: &Watch, report: ProbationReport) {
        let stays = matches!(report.outcome, ProbationOutcome::Passed | ProbationOutcome::Unjudged);
        let ended = report.outcome == ProbationOutcome::Ended;
        let runs =
            || app.engine.port(&watch.port).and_then(|port| port.driver).as_ref() == Some(&watch.driver);
        if (stays || ended && runs())
            && let Some(serving) = app.serving()
        {
            serving.change(&watch.port, |served| served.proven(watch.receipt));
            serving.save();
        }
        let saved = watch.save.as_ref().filter(|_| stays);
        let saved = saved.map(|keep| app.keep_update(&watch.port, keep, &watch.driver)).unwrap_or_default();
        let next = if stays || ended { app.next_module(&watch.port) } else { None };
        // The module before was kept for this.
        let unload = watch.let_go();
        let leave = || {
            let mut running = lock(&app.probations.running);
            if running.get(&watch.port).is_some_and(|other| other.receipt == watch.receipt) {
                running.remove(&watch.port);
            }
            running
        };
        let change = |receipt: &mut Receipt| {
            receipt.probation = Some(report);
            if let Some(unload) = unload {
                receipt.unload = unload;
            }
            if stays || ended {
                receipt.notes = saved.into_iter().chain(next).collect();
            }
        };
        app.receipts.amend_while(watch.receipt, change, leave);
        app.look_through_store();
    }

    /// The daemon stops.
    pub(crate) fn are_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The daemon stops: the probations are over, and their receipts say why.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for watch in lock(&self.running).values() {
            watch.order(Order::Stop);
        }
        let begin = Instant::now();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            while !thread.is_finished() && begin.elapsed() < FAREWELL {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

/// What is asked for, as the shell takes it.
pub(crate) fn terms(request: &ProbationRequest) -> Result<Terms, Problem> {
    let bad = |what: String| Err(Problem::new(ProblemKind::BadRequest, format!("probation: {what}")));
    let ms = request.duration_ms;
    if !(SHORTEST_MS..=LONGEST_MS).contains(&ms) {
        return bad(format!("duration {ms} ms is not allowed ({SHORTEST_MS} ms to 24 hours)"));
    }
    let mut terms = Terms::new(ms * 1_000_000);
    terms.require_judged = request.require_judged;
    if let Some(rate) = request.max_error_rate {
        if !(0.0..=1.0).contains(&rate) {
            return bad(format!("error rate {rate} is not allowed (0 to 1)"));
        }
        terms.max_error_rate = Some(rate);
    }
    match (request.max_latency_factor, request.max_latency_ns) {
        (Some(_), Some(_)) => return bad("latency is bounded twice, by a factor and by a time".to_owned()),
        (Some(factor), None) if !(1.0..=1e6).contains(&factor) => {
            return bad(format!("latency factor {factor} is not allowed (1 to 1000000)"));
        }
        (Some(factor), None) => terms.max_latency = LatencyBound::Factor(factor),
        (None, Some(0)) => return bad("latency 0 is not allowed (1 ns at least)".to_owned()),
        (None, Some(ns)) => terms.max_latency = LatencyBound::Ns(ns),
        (None, None) => {}
    }
    Ok(terms)
}

struct Runner<'a> {
    app: &'a Arc<App>,
    watch: &'a Watch,
    machine: Probation,
}

impl Runner<'_> {
    fn run(mut self) {
        loop {
            match self.watch.wait_order() {
                Order::Watch => {}
                Order::End(why) => return self.conclude(ProbationOutcome::Ended, why),
                Order::Stop => {
                    return self.conclude(ProbationOutcome::Stopped, "the daemon stopped".to_owned());
                }
                Order::GoingBack => return,
            }
            let sample = match self.look() {
                Ok(sample) => sample,
                Err(why) => return self.conclude(ProbationOutcome::Ended, why),
            };
            match self.machine.observe(sample) {
                Verdict::Watching => {
                    self.watch.set_report(self.machine.report(ProbationOutcome::Running, String::new()));
                }
                Verdict::Passed(note) => return self.conclude(ProbationOutcome::Passed, note),
                Verdict::Unjudged(few) => return self.conclude(ProbationOutcome::Unjudged, few),
                // Who has come first, a person or this, goes on.
                Verdict::Worse(why) if self.watch.order(Order::GoingBack) => return self.go_back(why),
                Verdict::Worse(_) => {}
            }
        }
    }

    /// The port's numbers, if it is still the driver on probation that makes them.
    fn look(&self) -> Result<Sample, String> {
        let taken = || "the device was taken away".to_owned();
        let port = self.app.engine.port(&self.watch.port).ok_or_else(taken)?;
        match &port.driver {
            Some(now) if *now != self.watch.driver => {
                Err(format!("the driver was changed to {} {}", now.driver, now.version))
            }
            None if port.state == PortState::Down => Err("the port was taken down".to_owned()),
            _ => self.app.sample(&self.watch.port).ok_or_else(taken),
        }
    }

    fn go_back(self, why: String) {
        let (port, driver) = (&self.watch.port, &self.watch.driver);
        tracing::warn!("port {port}: {} {} does worse: {why}", driver.driver, driver.version);
        let report = self.machine.report(ProbationOutcome::Reverted, why);
        for attempt in 1.. {
            let receipt = self.app.go_back_from(self.watch, &report);
            let again = matches!(receipt.outcome, Outcome::Busy | Outcome::Refused) && attempt < TRIES;
            if receipt.outcome == Outcome::Done || !again {
                return self.went_back(&receipt, report);
            }
            std::thread::sleep(BETWEEN_TRIES);
            // Whoever made it busy may have changed the driver.
            if let Err(why) = self.look() {
                return self.conclude(ProbationOutcome::Ended, format!("{}; {why}", report.reason));
            }
        }
    }

    fn went_back(&self, receipt: &Receipt, mut report: ProbationReport) {
        report.revert_receipt = Some(receipt.id);
        if receipt.outcome != Outcome::Done {
            report.outcome = ProbationOutcome::NotReverted;
            report.reason = format!("{}; it could not go back: {}", report.reason, receipt.reason);
        }
        self.record(report);
    }

    fn conclude(&self, outcome: ProbationOutcome, reason: String) {
        self.record(self.machine.report(outcome, reason));
    }

    fn record(&self, report: ProbationReport) {
        let port = &self.watch.port;
        let (outcome, reason) = (report.outcome.name(), &report.reason);
        tracing::info!(port, reason, "probation of update {}: {outcome}", self.watch.receipt);
        Probations::end(self.app, self.watch, report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_bounds_are_refused_with_the_range() {
        let ask = ProbationRequest::new(30_000);
        assert_eq!(terms(&ask).expect("the usual"), Terms::new(30_000_000_000));
        for (request, says) in [
            (ProbationRequest::new(99), "100 ms to 24 hours"),
            (ProbationRequest { max_error_rate: Some(1.5), ..ask.clone() }, "error rate 1.5"),
            (ProbationRequest { max_error_rate: Some(f64::NAN), ..ask.clone() }, "error rate NaN"),
            (ProbationRequest { max_latency_factor: Some(0.5), ..ask.clone() }, "factor 0.5"),
            (ProbationRequest { max_latency_ns: Some(0), ..ask.clone() }, "latency 0"),
            (
                ProbationRequest { max_latency_factor: Some(2.0), max_latency_ns: Some(1), ..ask.clone() },
                "bounded twice",
            ),
        ] {
            let problem = terms(&request).expect_err(says);
            assert!(problem.message.contains(says), "{problem}");
        }
    }
}
