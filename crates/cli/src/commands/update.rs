use super::{module_argument, probation, rolling, whole};
use crate::args::trial;
use crate::args::{IfBusyArg, ModeArg, Update};
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use serde::Serialize;
use std::collections::BTreeMap;
use steadfast_api::{CheckReport, IfBusy, Mode, Outcome, Receipt, RevertRequest, Shadow, UpdateRequest};

/// A mode, as the API has it.
pub(super) fn mode(mode: ModeArg) -> Mode {
    match mode {
        ModeArg::Adopt => Mode::Adopt,
        ModeArg::Split => Mode::Split,
        ModeArg::Drain => Mode::Drain,
    }
}

/// `steadfast update`: asks for it, prints the receipt, and says by its exit code how it went.
pub(crate) fn update(client: &Client, update: &Update, json: bool) -> Result<Exit, Failure> {
    let device = &update.device;
    if update.end_trial {
        return end_trial(client, device, json);
    }
    let several = rolling::is_several(update);
    let module = if several { Some(rolling::module(update)?) } else { update.module.as_deref() };
    let path = |verb: &str| format!("/devices/{}/{verb}", segment(device));
    match module {
        Some(module) => {
            let request = UpdateRequest {
                mode: update.mode.map(mode),
                deadline_ms: update.deadline.map(|deadline| deadline.as_millis() as u64),
                if_busy: if_busy(update),
                allow_older: update.allow.allow_older,
                allow_other: update.allow.allow_other,
                allow_skip: update.allow.allow_skip,
                allow_again: update.allow.allow_again,
                force: update.force,
                abandon: update.abandon,
                params: params(&update.set, &update.unset)?,
                shadow: update.trial.request(),
                probation: probation::request(update),
                end_probation: update.end_probation,
                save: update.save,
                ..UpdateRequest::new(module_argument(module)?)
            };
            if several {
                return rolling::update(client, update, request, json);
            }
            ask(client, device, &path("update"), &request, json)
        }
        // The command line has one or the other.
        None => {
            let request = RevertRequest {
                mode: update.mode.map(mode),
                deadline_ms: update.deadline.map(|deadline| deadline.as_millis() as u64),
                if_busy: if_busy(update),
                probation: probation::request(update),
                to: update.to,
                dry_run: update.dry_run,
            };
            if update.dry_run {
                return would_revert(client, &path("revert"), &request, json);
            }
            ask(client, device, &path("revert"), &request, json)
        }
    }
}

fn would_revert(client: &Client, path: &str, request: &RevertRequest, json: bool) -> Result<Exit, Failure> {
    let report: CheckReport = client.post(path, request)?;
    if json {
        output::json(&report)?;
    } else {
        output::print(&format!("{}nothing was touched\n", output::driver::report(&report)))?;
    }
    Ok(if report.ok { Exit::Done } else { Exit::Mismatch })
}

/// Ends a trial that somebody else waits for.
fn end_trial(client: &Client, device: &str, json: bool) -> Result<Exit, Failure> {
    let path = format!("/devices/{}/end-trial", segment(device));
    let ended: Shadow = client.post(&path, &serde_json::json!({}))?;
    if json {
        output::json(&ended)?;
    } else {
        let (driver, version) = (&ended.candidate.driver, &ended.candidate.version);
        let compared = ended.compared;
        output::print(&format!(
            "{device}: the trial of {driver} {version} is ended after {compared} reads compared; nothing is replaced\n"
        ))?;
    }
    Ok(Exit::Done)
}

fn ask(
    client: &Client,
    device: &str,
    path: &str,
    request: &impl Serialize,
    json: bool,
) -> Result<Exit, Failure> {
    let receipt = whole::of_receipt(client.post(path, request)?);
    let on_probation = receipt.probation.is_some() && receipt.outcome == Outcome::Done;
    if json && !on_probation {
        output::json(&receipt)?;
    }
    let done = matches!(receipt.outcome, Outcome::Done | Outcome::Tried);
    // What went wrong is said once, on standard error; what was measured is the result in any case.
    match (json, done) {
        (true, _) => {}
        (false, true) => output::print(&output::receipt::text(device, &receipt))?,
        (false, false) => output::print(&output::receipt::text_beside_error(device, &receipt))?,
    }
    if on_probation {
        return probation::wait(client, device, receipt, json);
    }
    if done {
        return Ok(Exit::Done);
    }
    let sentence = output::receipt::sentence(device, &receipt);
    let exit = if trial::failed(&receipt) { Exit::Mismatch } else { receipt.outcome.into() };
    Err(Failure::ending(exit, format!("{sentence}: {}", receipt.reason)).hint(hint(device, &receipt)))
}

fn if_busy(update: &Update) -> IfBusy {
    match update.if_busy {
        IfBusyArg::Wait => IfBusy::Wait,
        IfBusyArg::Fail => IfBusy::Fail,
    }
}

/// The parameters that change; one named twice is a mistake of which none of the two is meant.
pub(super) fn params(
    set: &[(String, String)],
    unset: &[String],
) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let mut params = BTreeMap::new();
    let set = set.iter().map(|(name, value)| (name, Some(value.clone())));
    for (name, value) in set.chain(unset.iter().map(|name| (name, None))) {
        if params.insert(name.clone(), value).is_some() {
            let what = format!("parameter {name}: given more than once by --set and --unset");
            return Err(Failure::new(what));
        }
    }
    Ok(params)
}

fn hint(device: &str, receipt: &Receipt) -> String {
    match receipt.outcome {
        Outcome::Busy if receipt.reason.contains("on probation") => format!(
            "wait for it, or go back with `steadfast update --revert {device}`; --end-probation ends it"
        ),
        Outcome::Busy if receipt.reason.contains("on trial") => {
            format!("wait for it, or end it with `steadfast update --end-trial {device}`")
        }
        Outcome::Busy if receipt.reason.contains("other contents") => super::UNDER_CLIENTS.to_owned(),
        Outcome::Busy if receipt.reason.contains("is under way") => {
            "wait until it is over, and try again".to_owned()
        }
        Outcome::Busy if receipt.reason.contains("in flight") => {
            "try again, or let it wait with --if-busy wait --deadline 45s".to_owned()
        }
        Outcome::Busy => "try again".to_owned(),
        Outcome::Refused if receipt.reason.contains("older") => {
            "--allow-older goes to an older version".to_owned()
        }
        Outcome::Refused if receipt.reason.contains("allow again") => {
            "--allow-again replaces it again, or start the daemon anew".to_owned()
        }
        Outcome::Refused if receipt.reason.contains("allow the skip") => {
            "--allow-skip goes there at once, where the state can be handed on".to_owned()
        }
        Outcome::Stranded => {
            "a driver that is only slow to let go comes back by itself; else `steadfast update --abandon` with a module \
             that works puts it away, and the held requests go on"
                .to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_suits_the_reason() {
        let of = |reason: &str| {
            let receipt =
                Receipt { outcome: Outcome::Busy, reason: reason.to_owned(), ..Receipt::blank(1, "vol0", 0) };
            hint("vol0", &receipt)
        };
        let under_way = of("port vol0 is busy: an activation is under way");
        assert!(under_way.contains("until it is over") && !under_way.contains("--if-busy"), "{under_way}");
        assert!(of("busy: 3 in flight").contains("--if-busy wait"));
        assert!(of("on probation until later").contains("--end-probation"));
    }
}
