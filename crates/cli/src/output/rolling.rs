//! How updates and activations of several ports look.

use super::{Table, units};
use steadfast_api::{PortFate, ProbationOutcome, RolledPort, RollingOutcome, RollingReport};

/// What was done to each port, then how it ended.
pub(crate) fn report(report: &RollingReport) -> String {
    format!("{}{}\n", table(report), sentence(report))
}

/// What was done to each port.
pub(crate) fn table(report: &RollingReport) -> String {
    table_of(report, PortFate::name)
}

/// The same for an activation.
pub(crate) fn activation(report: &RollingReport) -> String {
    format!("{}{}\n", activation_table(report), activated(report))
}

/// What became of each port in an activation.
pub(crate) fn activation_table(report: &RollingReport) -> String {
    table_of(report, |fate| if fate == PortFate::Updated { "activated" } else { fate.name() })
}

fn table_of(report: &RollingReport, name_of: impl Fn(PortFate) -> &'static str) -> String {
    let mut table = Table::new(&["PORT", "FATE", "GENERATION", ">PAUSE", ">RECEIPT", ">BACK"]);
    for port in &report.ports {
        let RolledPort { port: name, fate, receipt, back } = port;
        let id = |receipt: &Option<steadfast_api::Receipt>| {
            receipt.as_ref().map_or("-".to_owned(), |receipt| receipt.id.to_string())
        };
        let generation = receipt.as_ref().map_or("-".to_owned(), |receipt| {
            let last = back.as_ref().unwrap_or(receipt).generation_after;
            format!("{} -> {last}", receipt.generation_before)
        });
        let name_of = |fate: PortFate| {
            if fate == PortFate::Updated && is_unjudged(port) { "unjudged" } else { name_of(fate) }
        };
        let pause = receipt.as_ref().map_or("-".to_owned(), |receipt| units::time(receipt.pause_ns));
        table.row([name.clone(), name_of(*fate).to_owned(), generation, pause, id(receipt), id(back)]);
    }
    table.to_string()
}

/// How an activation of several ports ended, in one line.
pub(crate) fn activated(report: &RollingReport) -> String {
    let (name, why) = (&report.name, &report.reason);
    match report.outcome {
        RollingOutcome::Done => format!("{name}: done, {} ports were initialised anew", report.ports.len()),
        RollingOutcome::RolledBack => {
            format!("{name}: rolled back, every port has what it had before; what is saved waits: {why}")
        }
        RollingOutcome::Mixed => {
            format!("{name}: NOT EVERY PORT HAS WHAT IT HAD BEFORE, the table says which: {why}")
        }
        RollingOutcome::Stopped => {
            let done = report.ports.iter().filter(|port| port.fate == PortFate::Updated).count();
            let all = report.ports.len();
            format!("{name}: stopped, {done} of {all} ports were activated and stay so: {why}")
        }
        RollingOutcome::Refused | RollingOutcome::Busy => sentence(report),
    }
}

/// How it ended, in one line.
pub(crate) fn sentence(report: &RollingReport) -> String {
    let count = |fate| report.ports.iter().filter(|port| port.fate == fate).count();
    let (all, updated) = (report.ports.len(), count(PortFate::Updated));
    let (name, why) = (&report.name, &report.reason);
    match report.outcome {
        RollingOutcome::Done => match unjudged(report).as_slice() {
            [] => format!("{name}: done, {all} ports were updated"),
            ports => format!(
                "{name}: done, {all} ports were updated; too few requests came on {} to judge the driver by, and it \
                 stays there",
                ports.join(", ")
            ),
        },
        RollingOutcome::Refused => format!("{name}: refused: {why}"),
        RollingOutcome::Busy => format!("{name}: busy: {why}"),
        RollingOutcome::RolledBack => {
            let back = count(PortFate::TakenBack);
            let back = if back == 0 { String::new() } else { format!(" ({back} went back)") };
            format!("{name}: rolled back, every port runs what it ran before{back}: {why}")
        }
        RollingOutcome::Stopped => {
            format!("{name}: stopped, {updated} of {all} ports were updated and stay so: {why}")
        }
        RollingOutcome::Mixed => {
            format!("{name}: NOT EVERY PORT RUNS WHAT IT RAN BEFORE, the table says which: {why}")
        }
    }
}

/// Ports whose driver stays although too little was seen of it.
pub(crate) fn unjudged(report: &RollingReport) -> Vec<&str> {
    report.ports.iter().filter(|port| is_unjudged(port)).map(|port| port.port.as_str()).collect()
}

fn is_unjudged(port: &RolledPort) -> bool {
    let report = port.receipt.as_ref().and_then(|receipt| receipt.probation.as_ref());
    port.fate == PortFate::Updated
        && report.is_some_and(|report| report.outcome == ProbationOutcome::Unjudged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_not_judged_is_named() {
        let mut receipt = steadfast_api::Receipt::blank(1, "a", 0);
        let outcome = ProbationOutcome::Unjudged;
        receipt.probation = Some(steadfast_api::ProbationReport { outcome, ..Default::default() });
        let port = |name: &str, receipt| RolledPort {
            port: name.into(),
            fate: PortFate::Updated,
            receipt,
            back: None,
        };
        let mut rolled = RollingReport {
            outcome: RollingOutcome::Done,
            reason: String::new(),
            name: "rolling-7".into(),
            ports: vec![port("a", Some(receipt)), port("b", None)],
        };
        let text = report(&rolled);
        assert!(text.contains("a     unjudged") && text.contains("b     updated"), "{text}");
        assert!(text.contains("too few requests came on a to judge"), "{text}");
        assert_eq!(unjudged(&rolled), ["a"]);
        rolled.outcome = RollingOutcome::RolledBack;
        assert!(!sentence(&rolled).contains("went back"), "nothing did: {}", sentence(&rolled));
    }

    #[test]
    fn each_port_has_a_line_and_the_end_says_what_holds() {
        let port = |name: &str, fate| RolledPort { port: name.into(), fate, receipt: None, back: None };
        let mut rolled = RollingReport {
            outcome: RollingOutcome::RolledBack,
            reason: "c: connect: Input/output error".into(),
            name: "rolling-7".into(),
            ports: vec![port("a", PortFate::TakenBack), port("c", PortFate::Failed)],
        };
        let text = report(&rolled);
        assert!(text.contains("a     taken back"), "{text}");
        assert!(text.ends_with("runs what it ran before (1 went back): c: connect: Input/output error\n"));
        rolled.outcome = RollingOutcome::Mixed;
        assert!(sentence(&rolled).contains("NOT EVERY PORT"));
    }
}
