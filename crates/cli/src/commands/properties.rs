//! `steadfast param`, `plan`, `activate`, `confirm`, `history` and `rollback`.

use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::properties::{Activate, How, ParamCommand, ParamSet, PlanArgs, Rollback};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use steadfast_api::{
    ActivateRequest, Activating, Outcome, Plan, PortPlan, Properties, Property, Receipt, ReloadRequest,
    RollbackRequest, RollingReport, SaveReport, SaveRequest,
};

/// `steadfast param ...`
pub(crate) fn param(client: &Client, command: ParamCommand, json: bool) -> Result<Exit, Failure> {
    match command {
        ParamCommand::List { port, pending } => {
            let mut all = fetch(client, &port)?;
            if pending {
                all.properties.retain(|p| p.pending);
            }
            show(&all, json, output::properties::list)
        }
        ParamCommand::Get { port, name, saved } => {
            let all = fetch(client, &port)?;
            let found = find(&all, &name)?;
            let value = if saved { &found.saved } else { &found.current };
            match value {
                Some(value) if json => output::json(value)?,
                Some(value) => output::print(&format!("{value}\n"))?,
                None => return Err(Failure::new(format!("port {port}: {name} is undefined"))),
            }
            Ok(Exit::Done)
        }
        ParamCommand::Explain { port, name } => {
            let all = fetch(client, &port)?;
            show(find(&all, &name)?, json, output::properties::explain)
        }
        ParamCommand::Set(ParamSet { port, set, unset, undefine, how }) => {
            let mut request = SaveRequest { unset, undefine, ..request(how) };
            for (name, value) in set {
                if request.set.insert(name.clone(), value).is_some() {
                    return Err(Failure::new(format!("parameter `{name}` is named twice")));
                }
            }
            save(client, &port, &request, json)
        }
        ParamCommand::Unset(unset) => {
            let request = SaveRequest { unset: unset.names, ..request(unset.how) };
            save(client, &unset.port, &request, json)
        }
    }
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
    show(&report, json, output::properties::saved)
}

/// `steadfast plan`
pub(crate) fn plan(client: &Client, args: &PlanArgs, json: bool) -> Result<Exit, Failure> {
    let mut plan = Plan { version: Plan::VERSION, ports: Vec::new() };
    for port in &args.ports {
        plan.ports.push(client.get(&path(port, "plan"))?);
    }
    if let Some(file) = &args.out {
        let text = serde_json::to_string_pretty(&plan).map_err(Failure::new)?;
        std::fs::write(file, format!("{text}\n"))
            .map_err(|e| Failure::new(format!("{}: cannot be written: {e}", file.display())))?;
    }
    show(&plan, json, output::properties::plan)?;
    let changes = plan.ports.iter().any(|port| !port.changes.is_empty());
    Ok(if changes { Exit::Changes } else { Exit::Done })
}

fn read_plan(file: &Path) -> Result<Vec<PortPlan>, Failure> {
    let failed = |what: String| Failure::new(format!("plan {}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| failed(format!("cannot be read: {e}")))?;
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
    let request = ActivateRequest {
        idle_only: args.idle_only,
        delay_ms: ms(args.delay),
        drain_timeout_ms: args.drain_timeout.map(ms),
        confirm_within_ms: args.confirm_within.map(ms),
        wait: args.wait,
        force: args.force,
        fingerprint: None,
    };
    let ports: Vec<(String, Option<String>)> = match &args.plan {
        Some(file) => {
            let planned = |p: PortPlan| (!p.changes.is_empty()).then_some((p.port, Some(p.fingerprint)));
            read_plan(file)?.into_iter().filter_map(planned).collect()
        }
        None => args.ports.iter().map(|port| (port.clone(), None)).collect(),
    };
    if ports.is_empty() {
        output::print("the plan has no changes\n")?;
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
    show(&report, json, output::rolling::reload)?;
    let exit = super::rolling::exit(report.outcome);
    if exit == Exit::Done {
        return Ok(exit);
    }
    Err(Failure { exit, message: output::rolling::reloaded(&report), hint: super::rolling::hint(&report) })
}

fn stale(port: &str) -> Failure {
    Failure {
        exit: Exit::Stale,
        message: format!("port {port}: the plan is stale: what it was made from has changed since"),
        hint: "make another one with `steadfast plan`; nothing was touched".to_owned(),
    }
}

fn ended(answer: &Activating, json: bool) -> Result<Exit, Failure> {
    if json {
        output::json(answer)?;
    } else {
        output::print(&output::properties::activating(answer))?;
    }
    let Some(receipt) = &answer.receipt else { return Ok(Exit::Done) };
    if receipt.outcome == Outcome::Done {
        return Ok(Exit::Done);
    }
    let sentence = output::properties::sentence(receipt);
    Err(Failure {
        exit: receipt.outcome.into(),
        message: format!("{sentence}: {}", receipt.reason),
        hint: match receipt.outcome {
            Outcome::Busy if output::properties::new_state(receipt) == Some("down") => {
                "disconnect who uses it; from under clients, --force takes it down all the same".to_owned()
            }
            Outcome::Busy if receipt.reason.contains("other contents") => super::UNDER_CLIENTS.to_owned(),
            Outcome::Busy => "stop the I/O, or let it be held with --hold".to_owned(),
            _ => String::new(),
        },
    })
}

/// `steadfast confirm`
pub(crate) fn confirm(client: &Client, port: &str, json: bool) -> Result<Exit, Failure> {
    let receipt: Receipt = client.post(&path(port, "confirm"), &serde_json::json!({}))?;
    show(&receipt, json, |r| format!("{}: confirmed, what receipt {} activated stays\n", r.port, r.id))
}

/// `steadfast history`
pub(crate) fn history(client: &Client, port: &str, limit: u32, json: bool) -> Result<Exit, Failure> {
    let receipts: Vec<Receipt> = client.get(&format!("{}?limit={limit}", path(port, "history")))?;
    show(&receipts, json, |receipts| output::properties::history(receipts))
}

/// `steadfast rollback`
pub(crate) fn rollback(client: &Client, args: &Rollback, json: bool) -> Result<Exit, Failure> {
    let request = RollbackRequest {
        to: args.to,
        idle_only: args.idle_only,
        drain_timeout_ms: args.drain_timeout.map(|time| time.as_millis() as u64),
        force: args.force,
    };
    let answer: Activating = client.post(&path(&args.port, "rollback"), &request)?;
    ended(&answer, json)
}
