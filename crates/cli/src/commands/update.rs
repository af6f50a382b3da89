use super::module_argument;
use crate::args::{IfBusyArg, ModeArg, Update};
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use steadfast_api::{IfBusy, Mode, Outcome, Receipt, UpdateRequest};

/// `steadfast update`: asks for it, prints the receipt, and says by its exit code how it went.
pub(crate) fn update(client: &Client, update: &Update, json: bool) -> Result<Exit, Failure> {
    let request = UpdateRequest {
        mode: update.mode.map(|mode| match mode {
            ModeArg::Adopt => Mode::Adopt,
            ModeArg::Drain => Mode::Drain,
        }),
        deadline_ms: update.deadline.as_millis() as u64,
        if_busy: match update.if_busy {
            IfBusyArg::Wait => IfBusy::Wait,
            IfBusyArg::Fail => IfBusy::Fail,
        },
        allow_older: update.allow_older,
        allow_other: update.allow_other,
        ..UpdateRequest::new(module_argument(&update.module)?)
    };
    let path = format!("/devices/{}/update", segment(&update.device));
    let receipt: Receipt = client.post(&path, &request)?;
    if json {
        output::json(&receipt)?;
    } else {
        output::print(&output::receipt::text(&update.device, &receipt))?;
    }
    if receipt.outcome == Outcome::Done {
        return Ok(Exit::Done);
    }
    // The receipt went to standard output; what went wrong belongs to standard error as well.
    let sentence = output::receipt::sentence(&update.device, &receipt);
    Err(Failure {
        exit: receipt.outcome.into(),
        message: format!("{sentence}: {}", receipt.reason),
        hint: hint(&receipt),
    })
}

fn hint(receipt: &Receipt) -> String {
    let text = match receipt.outcome {
        Outcome::Busy => "try again, or let it wait with --if-busy wait --deadline 45s",
        Outcome::Refused if receipt.reason.contains("older") => "--allow-older goes to an older version",
        Outcome::Stranded => "`steadfast update` to a module that works lets the held requests go on",
        _ => "",
    };
    text.to_owned()
}
