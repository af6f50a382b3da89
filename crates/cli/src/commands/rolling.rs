//! `steadfast update` and `activate` of several ports.

use crate::args::Update;
use crate::args::params::Activate;
use crate::args::ports::Which;
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use steadfast_api::{
    ActivateSeveralRequest, Adapter, Port, RollingOutcome, RollingReport, RollingRequest, UpdateRequest,
};

/// Whether several ports are meant.
pub(crate) fn is_several(update: &Update) -> bool {
    let several = &update.several;
    several.adapter.is_some() || several.all_of.is_some() || several.rolling || update.device.contains(',')
}

/// The module of the update: with `--adapter` or `--all-of` it is the only word.
pub(crate) fn module(update: &Update) -> Result<&str, Failure> {
    let by_name = update.several.adapter.is_none() && update.several.all_of.is_none();
    match (&update.module, by_name) {
        (Some(module), true) => Ok(module),
        (None, false) => Ok(&update.device),
        (None, true) => Err(Failure::new("no module is given").hint("steadfast update vol0,vol1 MODULE")),
        (Some(_), false) => Err(Failure::new(format!(
            "devices ({}) and --adapter or --all-of: one of them says which ports are meant",
            update.device
        ))),
    }
}

/// Updates them, prints what was done to each, and says by its exit code how it went.
pub(crate) fn update(
    client: &Client,
    update: &Update,
    request: UpdateRequest,
    json: bool,
) -> Result<Exit, Failure> {
    if request.shadow.as_ref().is_some_and(|shadow| shadow.only) {
        return Err(Failure::new("--trial-only replaces nothing, so there is no order to do it in"));
    }
    let by_name = update.several.adapter.is_none() && update.several.all_of.is_none();
    let names = update.device.split(',').map(str::trim).filter(|name| by_name && !name.is_empty());
    let request = RollingRequest {
        devices: names.map(str::to_owned).collect(),
        adapter: update.several.adapter.clone(),
        all_of: update.several.all_of.clone(),
        rolling: update.several.rolling,
        update: request,
    };
    let mut report: RollingReport = client.post("/update", &request)?;
    report.reason = super::whole::as_given(&report.reason);
    let unjudged = output::rolling::unjudged(&report);
    let exit = match exit(report.outcome) {
        Exit::Done if !unjudged.is_empty() => Exit::Unjudged,
        exit => exit,
    };
    match json {
        true => output::json(&report)?,
        // Where it fails the sentence is the error's.
        false if exit == Exit::Done => output::print(&output::rolling::report(&report))?,
        false => output::print(&output::rolling::table(&report))?,
    }
    if exit == Exit::Done {
        return Ok(exit);
    }
    let hint = match unjudged.first().filter(|_| exit == Exit::Unjudged) {
        Some(first) => format!(
            "`steadfast update --revert {first}` takes one back; with --require-judged they go back by themselves"
        ),
        None => hint(&report),
    };
    Err(Failure::ending(exit, output::rolling::sentence(&report)).hint(hint))
}

/// Names of the ports that are meant, in the order in which an update would take them.
pub(super) fn meant(client: &Client, which: &Which) -> Result<Vec<String>, Failure> {
    if let Some(adapter) = &which.adapter {
        let adapter: Adapter = client.get(&format!("/adapters/{}", segment(adapter)))?;
        return Ok(adapter.ports.into_iter().map(|port| port.name).collect());
    }
    let Some(driver) = &which.all_of else { return Ok(Vec::new()) };
    let ports: Vec<Port> = client.get("/ports")?;
    let runs = |port: &Port| port.driver.as_ref().is_some_and(|release| release.driver == *driver);
    let ports: Vec<String> = ports.into_iter().filter(runs).map(|port| port.name).collect();
    match ports.is_empty() {
        true => Err(Failure::new(format!("no port runs driver `{driver}`"))
            .hint("`steadfast port list` shows what each runs")),
        false => Ok(ports),
    }
}

/// Activates several ports as a whole: all of them are looked at before the first one is touched.
pub(super) fn activate(client: &Client, args: &Activate, json: bool) -> Result<Exit, Failure> {
    let request = ActivateSeveralRequest {
        ports: args.ports.clone(),
        adapter: args.which.adapter.clone(),
        all_of: args.which.all_of.clone(),
        rolling: args.rolling,
        idle_only: args.idle_only,
        drain_timeout_ms: args.drain_timeout.map(|time| time.as_millis() as u64),
        force: args.force,
        accept_loss: args.accept_loss,
        abandon: args.abandon,
    };
    let report: RollingReport = client.post("/activate", &request)?;
    activated(&report, json)
}

/// Prints what became of each port, and says by its exit code how it went.
pub(super) fn activated(report: &RollingReport, json: bool) -> Result<Exit, Failure> {
    let exit = exit(report.outcome);
    match json {
        true => output::json(report)?,
        // Where it fails the sentence is the error's.
        false if exit == Exit::Done => output::print(&output::rolling::activation(report))?,
        false => output::print(&output::rolling::activation_table(report))?,
    }
    if exit == Exit::Done {
        return Ok(exit);
    }
    let hint = match report.outcome {
        RollingOutcome::Stopped => {
            "with --rolling those already activated would have gone back; `steadfast rollback` takes one back"
                .into()
        }
        _ => hint(report),
    };
    Err(Failure::ending(exit, output::rolling::activated(report)).hint(hint))
}

/// The exit code of something that was done to several ports.
fn exit(outcome: RollingOutcome) -> Exit {
    match outcome {
        RollingOutcome::Done => Exit::Done,
        RollingOutcome::Busy => Exit::Busy,
        RollingOutcome::RolledBack => Exit::RolledBack,
        RollingOutcome::Refused | RollingOutcome::Stopped | RollingOutcome::Mixed => Exit::Error,
    }
}

/// What to do about it.
fn hint(report: &RollingReport) -> String {
    match report.outcome {
        RollingOutcome::Stopped => {
            "with --rolling those already updated would have gone back; `steadfast update --revert` takes one back"
        }
        RollingOutcome::Mixed => "`steadfast port list` shows what each port runs now",
        RollingOutcome::Busy if report.reason.contains("other contents") => super::UNDER_CLIENTS,
        RollingOutcome::Busy => "nothing was touched: try again",
        _ => "",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn parsed(line: &[&str]) -> Update {
        let line = [&["steadfast", "update"], line].concat();
        match Cli::try_parse_from(line).expect("it parses").command {
            Command::Update(update) => update,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn which_word_is_the_module() {
        let one = parsed(&["vol0", "file"]);
        assert!(!is_several(&one) && module(&one).expect("given") == "file");
        let list = parsed(&["vol0,vol1", "file", "--rolling"]);
        assert!(is_several(&list) && module(&list).expect("given") == "file");
        let adapter = parsed(&["--adapter", "san0", "file"]);
        assert!(is_several(&adapter) && module(&adapter).expect("given") == "file");
        let both = parsed(&["vol0", "file", "--adapter", "san0"]);
        assert!(module(&both).expect_err("both").message.contains("which ports are meant"));
    }
}
