//! Updates with `--probation`: what is asked for, and waiting until it is over.

use crate::args::Update;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output;
use std::time::Duration;
use steadfast_api::{ProbationOutcome, ProbationReport, ProbationRequest, Receipt};
use steadfast_daemon::LatencyBound;

/// How often the daemon is asked whether it is over.
const EVERY: Duration = Duration::from_millis(250);

pub(super) fn request(update: &Update) -> Option<ProbationRequest> {
    let duration = update.probation?;
    let mut request = ProbationRequest::new(duration.as_millis() as u64);
    request.max_error_rate = update.max_error_rate;
    request.require_judged = update.require_judged;
    match update.max_latency {
        Some(LatencyBound::Factor(factor)) => request.max_latency_factor = Some(factor),
        Some(LatencyBound::Ns(ns)) => request.max_latency_ns = Some(ns),
        None => {}
    }
    Some(request)
}

/// Waits until the probation is over. It is the daemon that watches: whoever interrupts this leaves it
/// running.
pub(super) fn wait(client: &Client, device: &str, receipt: Receipt, json: bool) -> Result<Exit, Failure> {
    let begun = receipt.probation.clone().unwrap_or_default();
    if !json {
        let seconds = begun.length_ms as f64 / 1e3;
        output::print(&format!("{device}: on probation for {seconds} s; interrupting this leaves it so\n"))?;
    }
    let receipt = follow(client, receipt)?;
    let report = receipt.probation.clone().unwrap_or_default();
    if json {
        output::json(&receipt)?;
    } else {
        let facts = output::probation::facts(&report);
        let lines: String = facts.iter().map(|(name, value)| format!("  {name:<12} {value}\n")).collect();
        output::print(&lines)?;
    }
    conclude(device, &receipt, &report)
}

fn follow(client: &Client, mut receipt: Receipt) -> Result<Receipt, Failure> {
    let path = format!("/receipts/{}", receipt.id);
    while receipt.probation.as_ref().is_some_and(|p| p.outcome == ProbationOutcome::Running) {
        std::thread::sleep(EVERY);
        let lost =
            |failure: Failure| failure.hint("where the daemon has gone, its receipts say how it ended");
        receipt = client.get(&path).map_err(lost)?;
    }
    Ok(receipt)
}

fn conclude(device: &str, receipt: &Receipt, report: &ProbationReport) -> Result<Exit, Failure> {
    let exit = match report.outcome {
        ProbationOutcome::Passed => return Ok(Exit::Done),
        ProbationOutcome::Unjudged => Exit::Unjudged,
        ProbationOutcome::Reverted => Exit::RolledBack,
        _ => Exit::Error,
    };
    let driver = receipt.to.as_ref().map_or(String::new(), |to| format!("{} {}", to.driver, to.version));
    let message = format!("{device}: probation of {driver}: {}", output::probation::sentence(report));
    let hint = match report.outcome {
        ProbationOutcome::Unjudged => {
            format!(
                "`steadfast update --revert {device}` goes back; with --require-judged it does so by itself"
            )
        }
        _ => String::new(),
    };
    Err(Failure::ending(exit, message).hint(hint))
}
