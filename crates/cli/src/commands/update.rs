use super::module_argument;
use crate::args::{IfBusyArg, ModeArg, Update};
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use std::collections::BTreeMap;
use steadfast_api::{IfBusy, Mode, Outcome, Receipt, UpdateRequest};

/// `steadfast update`: asks for it, prints the receipt, and says by its exit code how it went.
pub(crate) fn update(client: &Client, update: &Update, json: bool) -> Result<Exit, Failure> {
    let request = UpdateRequest {
        mode: update.mode.map(|mode| match mode {
            ModeArg::Adopt => Mode::Adopt,
            ModeArg::Split => Mode::Split,
            ModeArg::Drain => Mode::Drain,
        }),
        deadline_ms: update.deadline.as_millis() as u64,
        if_busy: match update.if_busy {
            IfBusyArg::Wait => IfBusy::Wait,
            IfBusyArg::Fail => IfBusy::Fail,
        },
        allow_older: update.allow_older,
        allow_other: update.allow_other,
        params: params(update)?,
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

/// The parameters that change; one named twice is a mistake of which none of the two is meant.
fn params(update: &Update) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let mut params = BTreeMap::new();
    let set = update.set.iter().map(|(name, value)| (name, Some(value.clone())));
    for (name, value) in set.chain(update.unset.iter().map(|name| (name, None))) {
        if params.insert(name.clone(), value).is_some() {
            return Err(Failure {
                exit: Exit::Error,
                message: format!("parameter {name}: given more than once by --set and --unset"),
                hint: String::new(),
            });
        }
    }
    Ok(params)
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
