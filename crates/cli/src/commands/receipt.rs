//! `steadfast receipt list` and `show`.

use crate::args::{OutcomeArg, ReceiptId};
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use steadfast_api::{Health, HistoryHealth, Outcome, Receipt};

/// Prints the newest receipts.
pub(crate) fn list(
    client: &Client,
    device: Option<&str>,
    outcome: Option<OutcomeArg>,
    limit: u32,
    json: bool,
) -> Result<Exit, Failure> {
    let mut path = format!("/receipts?limit={limit}");
    if let Some(device) = device {
        path.push_str(&format!("&device={}", segment(device)));
    }
    if let Some(outcome) = outcome {
        path.push_str(&format!("&outcome={}", output::history::outcome(wanted(outcome))));
    }
    let receipts: Vec<Receipt> = client.get(&path)?;
    // Without it an empty or short list would read as if nothing had been done.
    let health: Health = client.get("/health")?;
    if !health.history.error.is_empty() {
        let HistoryHealth { path, error, .. } = health.history;
        let what =
            format!("the history {path} does not answer as it should, receipts may be missing: {error}");
        output::note(&what, json);
    }
    if json {
        output::json(&receipts)?;
    } else {
        output::print(&output::history::list(&receipts))?;
    }
    Ok(Exit::Done)
}

/// Prints one receipt.
pub(crate) fn show(
    client: &Client,
    id: ReceiptId,
    device: Option<&str>,
    json: bool,
) -> Result<Exit, Failure> {
    let receipt = match id {
        ReceiptId::Number(id) => client.get(&format!("/receipts/{id}"))?,
        ReceiptId::Last => last(client, device)?,
    };
    if json {
        output::json(&receipt)?;
    } else {
        output::print(&output::history::show(&receipt))?;
    }
    Ok(Exit::Done)
}

fn last(client: &Client, device: Option<&str>) -> Result<Receipt, Failure> {
    let of = device.map(|device| format!("&device={}", segment(device))).unwrap_or_default();
    let mut receipts: Vec<Receipt> = client.get(&format!("/receipts?limit=1{of}"))?;
    receipts.pop().ok_or_else(|| match device {
        Some(device) => Failure::new(format!("no receipt of device `{device}`"))
            .hint("`steadfast receipt list` shows all there are"),
        None => Failure::new("no receipt: nothing was updated yet"),
    })
}

fn wanted(outcome: OutcomeArg) -> Outcome {
    match outcome {
        OutcomeArg::Done => Outcome::Done,
        OutcomeArg::Refused => Outcome::Refused,
        OutcomeArg::Busy => Outcome::Busy,
        OutcomeArg::RolledBack => Outcome::RolledBack,
        OutcomeArg::Stranded => Outcome::Stranded,
        OutcomeArg::Tried => Outcome::Tried,
        OutcomeArg::Interrupted => Outcome::Interrupted,
    }
}
