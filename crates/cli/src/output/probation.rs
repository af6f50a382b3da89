//! Probations.

use super::units;
use steadfast_api::{Available, Device, Limits, Observed, ProbationOutcome, ProbationReport};

/// What came of it, in one line.
pub(crate) fn sentence(report: &ProbationReport) -> String {
    let after = units::time(report.elapsed_ms * 1_000_000);
    let text = match report.outcome {
        ProbationOutcome::Running => {
            let left = report.length_ms.saturating_sub(report.elapsed_ms) * 1_000_000;
            format!("runs, {} left", units::time(left))
        }
        ProbationOutcome::Passed => format!("passed after {after}"),
        ProbationOutcome::Unjudged => format!("unjudged after {after}, and stays"),
        ProbationOutcome::Reverted => format!("not passed, went back after {after}"),
        ProbationOutcome::NotReverted => format!("not passed after {after}, and it could not go back"),
        ProbationOutcome::Ended => format!("ended after {after}"),
        // What serves after the next start is what the configuration says.
        ProbationOutcome::Stopped => format!("cut short after {after} by a stop of the daemon"),
        // When that was is not known: nobody was there to note it.
        ProbationOutcome::Killed => "cut short, the daemon was killed or crashed".to_owned(),
    };
    match report.reason.as_str() {
        "" => text,
        reason => format!("{text}: {reason}"),
    }
}

/// All of it, as names and values.
pub(crate) fn facts(report: &ProbationReport) -> Vec<(&'static str, String)> {
    let mut facts = vec![("probation", sentence(report))];
    // What was seen in a time that nobody noted is not known either.
    if !matches!(report.outcome, ProbationOutcome::Running | ProbationOutcome::Killed) {
        facts.push(("  observed", observed(&report.observed)));
    }
    facts.push(("  before", observed(&report.baseline)));
    facts.push(("  allowed", allowed(&report.limits)));
    if let Some(id) = report.revert_receipt {
        facts.push(("  way back", format!("receipt {id}")));
    }
    if let Some(id) = report.of_receipt {
        facts.push(("  update", format!("receipt {id}")));
    }
    facts
}

/// Everything about a device's probation and what is available for it.
pub(crate) fn of_device(device: &Device) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    if let Some(running) = &device.probation {
        let (driver, before) = (&running.driver, &running.before);
        let left = units::time(running.left_ms * 1_000_000);
        let back = format!("else {} {} comes back", before.driver, before.version);
        all.push(("probation", format!("{} {} for another {left}, {back}", driver.driver, driver.version)));
        all.push(("  observed", observed(&running.report.observed)));
        all.push(("  before", observed(&running.report.baseline)));
        all.push(("  allowed", allowed(&running.report.limits)));
    }
    if let Some(Available { module, path, policy, not_taken }) = &device.available {
        let mut text = format!("{} {} in {path} ({policy})", module.driver, module.version);
        if !not_taken.is_empty() {
            text.push_str(&format!("; not taken: {not_taken}"));
        }
        all.push(("available", text));
    }
    all
}

fn observed(observed: &Observed) -> String {
    let seconds = observed.ms as f64 / 1e3;
    let mut text = format!("{} requests in {seconds:.1} s", units::count(observed.requests));
    let faults = match observed.faults {
        0 => String::new(),
        n => format!(" and {n} faults"),
    };
    text.push_str(&format!(", {} errors{faults}", units::count(observed.errors)));
    if observed.requests > 0 {
        let [mean, p99, max] = [observed.mean_ns, observed.p99_ns, observed.max_ns].map(units::time);
        text.push_str(&format!(", mean {mean}, p99 {p99}, longest {max}"));
    }
    text
}

fn allowed(limits: &Limits) -> String {
    let rate = limits.error_rate * 100.0;
    let mut text = format!("{rate:.2} % errors");
    for (name, limit) in [("mean", limits.mean_ns), ("p99", limits.p99_ns)] {
        if let Some(ns) = limit {
            text.push_str(&format!(", {name} {}", units::time(ns)));
        }
    }
    format!("{text}, no request longer than {}", units::time(limits.patience_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probation_says_what_was_seen_and_what_was_allowed() {
        let seen = Observed {
            ms: 2500,
            requests: 12_345,
            errors: 600,
            error_rate: 0.05,
            mean_ns: 23_400,
            p99_ns: 99_000,
            max_ns: 1_000_000,
            ..Observed::default()
        };
        let limits =
            Limits { error_rate: 0.001, mean_ns: None, p99_ns: Some(2_000_000), patience_ns: 10_000_000_000 };
        let report = ProbationReport {
            outcome: ProbationOutcome::Reverted,
            reason: "4.86 % of requests failed".into(),
            length_ms: 30_000,
            elapsed_ms: 2_500,
            baseline: Observed::default(),
            observed: seen,
            limits,
            of_receipt: None,
            revert_receipt: Some(8),
        };
        let text: Vec<String> = facts(&report).into_iter().map(|(k, v)| format!("{k}: {v}")).collect();
        let expected = [
            "probation: not passed, went back after 2.50 s: 4.86 % of requests failed",
            "  observed: 12,345 requests in 2.5 s, 600 errors, mean 23.4 us, p99 99.0 us, longest 1.0 ms",
            "  before: 0 requests in 0.0 s, 0 errors",
            "  allowed: 0.10 % errors, p99 2.0 ms, no request longer than 10.00 s",
            "  way back: receipt 8",
        ];
        assert_eq!(text, expected);
        let running = ProbationReport { length_ms: 30_000, elapsed_ms: 12_000, ..Default::default() };
        assert_eq!(sentence(&running), "runs, 18.00 s left");
    }
}
