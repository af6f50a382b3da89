//! `steadfast param`, `plan`, `activate`, `confirm`, `history` and `rollback`.

use crate::args::params::{Activate, Confirm, How, ParamCommand, ParamSet, PlanArgs, Rollback};
use crate::args::ports::Which;
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use steadfast_api::{
    ActivateRequest, Activating, Outcome, ParamsReport, ParamsRequest, Plan, PortPlan, Properties, Property,
    Receipt, ReloadRequest, RollbackRequest, RollingReport, SaveReport, SaveRequest,
};

/// `steadfast param ...`
pub(crate) fn param(client: &Client, command: ParamCommand, json: bool) -> Result<Exit, Failure> {
    match command {
        ParamCommand::List { port, pending } => {
            let mut all = fetch(client, &port)?;
            if pending {
                known(&all)?;
                all.properties.retain(|p| p.pending);
            }
            note(&all, json);
            show(&all, json, output::params::list)
        }
        ParamCommand::Get { port, name, saved } => {
            let all = fetch(client, &port)?;
            let found = find(&all, &name)?;
            let value = if saved {
                known(&all)?;
                &found.saved
            } else {
                note(&all, json);
                &found.current
            };
            match value {
                Some(value) if json => output::json(value)?,
                Some(value) => output::print(&format!("{value}\n"))?,
                None => return Err(Failure::new(format!("port {port}: {name} is undefined"))),
            }
            Ok(Exit::Done)
        }
        ParamCommand::Explain { port, name } => {
            let all = fetch(client, &port)?;
            note(&all, json);
            show(find(&all, &name)?, json, |p| output::params::explain(p, all.saved_known))
        }
        ParamCommand::Set(ParamSet { port, set, unset, undefine, temporary, how }) => {
            let set = each_once(set)?;
            if temporary {
                return set_for_now(client, &port, &ParamsRequest { set, unset }, json);
            }
            save(client, &port, &SaveRequest { set, unset, undefine, ..request(how) }, json)
        }
        ParamCommand::Unset(unset) => {
            let request = SaveRequest { unset: unset.names, ..request(unset.how) };
            save(client, &unset.port, &request, json)
        }
    }
}

/// Values by name.
fn each_once(set: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut named = BTreeMap::new();
    for (name, value) in set {
        if named.insert(name.clone(), value).is_some() {
            return Err(Failure::new(format!("parameter `{name}` is named twice")));
        }
    }
    Ok(named)
}

/// Changes live values that nobody saves.
fn set_for_now(client: &Client, port: &str, request: &ParamsRequest, json: bool) -> Result<Exit, Failure> {
    let report: ParamsReport = client.post(&format!("/devices/{}/params", segment(port)), request)?;
    show(&report, json, |report| output::params::changed(port, report))
}

fn request(how: How) -> SaveRequest {
    SaveRequest {
        set: BTreeMap::new(),
        unset: Vec::new(),
        undefine: Vec::new(),
        global: how.global,
        dry_run: how.dry_run,
    }
}

fn path(port: &str, what: &str) -> String {
    format!("/ports/{}/{what}", segment(port))
}

fn fetch(client: &Client, port: &str) -> Result<Properties, Failure> {
    client.get(&path(port, "params"))
}

/// What is asked for cannot be said without what is saved.
fn known(all: &Properties) -> Result<(), Failure> {
    if all.saved_known {
        return Ok(());
    }
    let what = format!("port {}: what is saved is not known: {}", all.port, all.faults.join("; "));
    Err(Failure::new(what).hint("`steadfast config lint` lists everything that is wrong with the files"))
}

/// What is in force is shown all the same where what is saved is not known: that is said beside it.
fn note(all: &Properties, json: bool) {
    if let Err(failure) = known(all) {
        output::note(&failure.message, json);
    }
}

fn find<'a>(all: &'a Properties, name: &str) -> Result<&'a Property, Failure> {
    all.properties.iter().find(|p| p.name == name).ok_or_else(|| {
        let names = all.properties.iter().map(|p| p.name.as_str());
        Failure::new(format!("port {}: no parameter `{name}`", all.port))
            .hint(steadfast_api::suggest::hint(name, names))
    })
}

/// Prints a document, for people or for programs.
pub(super) fn show<T: Serialize>(
    value: &T,
    json: bool,
    text: impl FnOnce(&T) -> String,
) -> Result<Exit, Failure> {
    if json {
        output::json(value)?;
    } else {
        output::print(&text(value))?;
    }
    Ok(Exit::Done)
}

fn save(client: &Client, port: &str, request: &SaveRequest, json: bool) -> Result<Exit, Failure> {
    let report: SaveReport = client.post(&path(port, "params"), request)?;
    show(&report, json, output::params::saved)
}

/// `steadfast plan`
pub(crate) fn plan(client: &Client, args: &PlanArgs, json: bool) -> Result<Exit, Failure> {
    let mut plan = Plan { version: Plan::VERSION, ports: Vec::new() };
    for port in &named(client, &args.ports.ports, &args.ports.which)? {
        plan.ports.push(client.get(&path(port, "plan"))?);
    }
    if let Some(file) = &args.out {
        let text = serde_json::to_string_pretty(&plan).map_err(Failure::new)?;
        std::fs::write(file, format!("{text}\n"))
            .map_err(|e| Failure::new(format!("{}: cannot be written: {e}", file.display())))?;
    }
    show(&plan, json, output::params::plan)?;
    let changes = plan.ports.iter().any(|port| !port.changes.is_empty());
    Ok(if changes { Exit::Changes } else { Exit::Done })
}

fn read_plan(file: &Path) -> Result<Vec<PortPlan>, Failure> {
    let failed = |what: String| Failure::new(format!("plan {}: {what}", file.display()));
    let text = steadfast_daemon::read_text(file).map_err(|e| failed(format!("cannot be read: {e}")))?;
    let plan: Plan = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
    if plan.version != Plan::VERSION {
        return Err(failed(format!("version {} is not known (allowed {})", plan.version, Plan::VERSION)));
    }
    Ok(plan.ports)
}

/// `steadfast activate`
pub(crate) fn activate(client: &Client, args: &Activate, json: bool) -> Result<Exit, Failure> {
    let ms = |time: Duration| time.as_millis() as u64;
    if args.reload {
        return reload(client, args, json);
    }
    // What is to come later, or may go back, is each port's own.
    let each = args.delay.is_some() || args.confirm_within.is_some() || args.call_off;
    if args.rolling || (args.which.is_given() && !each) {
        return super::rolling::activate(client, args, json);
    }
    let named = named(client, &args.ports, &args.which)?;
    if args.call_off {
        return of_each(&named, "called off", |port| {
            let answer: Activating = client.delete(&path(port, "activate"))?;
            show(&answer, json, |a| {
                format!("{}: the activation was called off, nothing was touched\n", a.port)
            })
        });
    }
    let request = ActivateRequest {
        idle_only: args.idle_only,
        delay_ms: args.delay.map_or(0, ms),
        drain_timeout_ms: args.drain_timeout.map(ms),
        confirm_within_ms: args.confirm_within.map(ms),
        wait: args.wait,
        force: args.force,
        abandon: args.abandon,
        accept_loss: args.accept_loss,
        fingerprint: None,
    };
    let ports: Vec<(String, Option<String>)> = match &args.plan {
        Some(file) => {
            let planned = |p: PortPlan| (!p.changes.is_empty()).then_some((p.port, Some(p.fingerprint)));
            read_plan(file)?.into_iter().filter_map(planned).collect()
        }
        None => named.into_iter().map(|port| (port, None)).collect(),
    };
    if ports.is_empty() {
        const NOTHING: &str = "the plan has no changes";
        if json { output::note(NOTHING, json) } else { output::print(&format!("{NOTHING}\n"))? }
    }
    // Of all of them before any: a plan is carried out as a whole or not at all.
    for (port, fingerprint) in ports.iter().filter_map(|(port, f)| Some((port, f.as_ref()?))) {
        let now: PortPlan = client.get(&path(port, "plan"))?;
        if now.fingerprint != *fingerprint {
            return Err(stale(port));
        }
    }
    let names: Vec<String> = ports.iter().map(|(port, _)| port.clone()).collect();
    for (at, (port, fingerprint)) in ports.into_iter().enumerate() {
        let request = ActivateRequest { fingerprint, ..request.clone() };
        let answer = client.post::<Activating>(&path(&port, "activate"), &request);
        answer.and_then(|answer| ended(&answer, json)).map_err(|mut failure| {
            failure.message.push_str(&beside(&names[..at], &names[at + 1..]));
            failure
        })?;
    }
    Ok(Exit::Done)
}

/// The ports that are meant, by name.
fn named(client: &Client, ports: &[String], which: &Which) -> Result<Vec<String>, Failure> {
    match which.is_given() {
        true => super::rolling::meant(client, which),
        false => Ok(ports.to_vec()),
    }
}

/// Does something to every one of several ports. Where one fails the others have their turn all the same.
fn of_each(
    ports: &[String],
    done: &str,
    mut to_one: impl FnMut(&str) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let (mut well, mut failed) = (Vec::new(), Vec::new());
    for port in ports {
        match to_one(port) {
            Ok(_) => well.push(port.clone()),
            Err(failure) => failed.push(failure),
        }
    }
    let mut failed = failed.into_iter();
    let Some(mut first) = failed.next() else { return Ok(Exit::Done) };
    for other in failed {
        first.message.push_str(&format!("; {}", other.message));
    }
    if !well.is_empty() {
        first.message.push_str(&format!("; {done}: {}", well.join(", ")));
    }
    Err(first)
}

/// What became of the other ports when one could not be activated.
fn beside(done: &[String], left: &[String]) -> String {
    let mut said = String::new();
    for (what, ports) in [("activated before", done), ("not begun", left)] {
        if !ports.is_empty() {
            said.push_str(&format!("; {what}: {}", ports.join(", ")));
        }
    }
    said
}

/// `steadfast activate --reload`
fn reload(client: &Client, args: &Activate, json: bool) -> Result<Exit, Failure> {
    let [port] = &args.ports[..] else {
        return Err(Failure::new(
            "--reload: one port says which module is meant; every port that runs it is",
        ));
    };
    let request = ReloadRequest {
        idle_only: args.idle_only,
        drain_timeout_ms: args.drain_timeout.map(|time| time.as_millis() as u64),
        force: args.force,
    };
    let report: RollingReport = client.post(&path(port, "reload"), &request)?;
    super::rolling::activated(&report, json)
}

fn stale(port: &str) -> Failure {
    let what = format!("port {port}: the plan is stale: what it was made from has changed since");
    Failure::ending(Exit::Stale, what).hint("make another one with `steadfast plan`; nothing was touched")
}

fn ended(answer: &Activating, json: bool) -> Result<Exit, Failure> {
    if json {
        output::json(answer)?;
    } else {
        output::print(&output::params::activating(answer))?;
    }
    let Some(receipt) = &answer.receipt else { return Ok(Exit::Done) };
    if receipt.outcome == Outcome::Done {
        return Ok(Exit::Done);
    }
    let sentence = output::params::sentence(receipt);
    let failure = Failure::ending(receipt.outcome.into(), format!("{sentence}: {}", receipt.reason));
    Err(failure.hint(hint(receipt)))
}

/// What to do about an activation that was not done. It has to suit the reason.
fn hint(receipt: &Receipt) -> String {
    let (port, reason) = (&receipt.port, &receipt.reason);
    match receipt.outcome {
        _ if receipt.outcome == Outcome::Stranded || reason.contains("it is stranded") => {
            format!(
                "`steadfast update {port} MODULE` puts a driver under it again; requests are held till then"
            )
        }
        Outcome::Busy if reason.contains("is under way") => {
            format!("wait until it is over, and try again; `steadfast history {port}` says how it went")
        }
        Outcome::Busy if output::params::new_state(receipt) == Some("down") => {
            "disconnect who uses it; from under clients, --force takes it down all the same".to_owned()
        }
        Outcome::Busy if reason.contains("writes of theirs may be lost") => {
            "disconnect who uses it; --force accepts the loss in the place of its clients".to_owned()
        }
        Outcome::Busy if reason.contains("other contents") => super::UNDER_CLIENTS.to_owned(),
        Outcome::Busy if reason.contains("in flight") => {
            "stop the I/O, or leave --idle-only out: requests are held meanwhile".to_owned()
        }
        Outcome::Busy => "try again".to_owned(),
        _ => String::new(),
    }
}

/// `steadfast confirm`
pub(crate) fn confirm(client: &Client, args: &Confirm, json: bool) -> Result<Exit, Failure> {
    of_each(&named(client, &args.ports.ports, &args.ports.which)?, "confirmed", |port| {
        let receipt: Receipt = client.post(&path(port, "confirm"), &serde_json::json!({}))?;
        show(&receipt, json, |r| format!("{}: confirmed, what receipt {} activated stays\n", r.port, r.id))
    })
}

/// `steadfast history`
pub(crate) fn history(client: &Client, port: &str, limit: u32, json: bool) -> Result<Exit, Failure> {
    let receipts: Vec<Receipt> = client.get(&format!("{}?limit={limit}", path(port, "history")))?;
    show(&receipts, json, |receipts| output::params::history(receipts))
}

/// `steadfast rollback`
pub(crate) fn rollback(client: &Client, args: &Rollback, json: bool) -> Result<Exit, Failure> {
    let request = RollbackRequest {
        to: args.to,
        idle_only: args.idle_only,
        drain_timeout_ms: args.drain_timeout.map(|time| time.as_millis() as u64),
        force: args.force,
        dry_run: args.dry_run,
    };
    let answer: Activating = client.post(&path(&args.port, "rollback"), &request)?;
    if let Some(would) = &answer.would {
        return show(&answer, json, |_| output::params::would_roll_back(would));
    }
    ended(&answer, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    #[test]
    fn a_hint_suits_the_reason() {
        let of = |outcome, reason: &str| {
            hint(&Receipt { outcome, reason: reason.to_owned(), ..Receipt::blank(1, "vol0", 0) })
        };
        let under_way = of(Outcome::Busy, "port vol0 is busy: an activation is under way");
        assert!(under_way.contains("wait until it is over") && !under_way.contains("idle"), "{under_way}");
        let flows = of(Outcome::Busy, "port vol0 is busy: 7 requests in 100 ms, 1 in flight");
        assert!(flows.contains("leave --idle-only out"), "{flows}");
        let stranded = of(Outcome::Refused, "port vol0: it is stranded, nobody serves it");
        assert!(stranded.contains("`steadfast update vol0 MODULE`"), "{stranded}");
        assert_eq!(stranded, of(Outcome::Stranded, "the previous set failed too"));
        assert_eq!(of(Outcome::Refused, "out of range"), "");
    }

    #[test]
    fn what_does_not_go_with_reload_is_named() {
        let line = ["steadfast", "activate", "--reload", "vol0", "--delay", "5s"];
        let error = Cli::try_parse_from(line).expect_err("not both").to_string();
        let first = error.lines().next().unwrap_or_default();
        assert!(first.contains("--reload") && first.contains("--delay"), "{error}");
    }
}
