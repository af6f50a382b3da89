//! Live parameters: from the control API to the engine and back.

use crate::app::App;
use std::collections::BTreeMap;
use steadfast_api::{
    Outcome, Param, ParamChange, ParamSource, ParamsReport, ParamsRequest, Problem, ProblemKind, Requester,
};
use steadfast_runtime::{EngineError, ErrorKind, ParamInfo, ParamReport, PortInfo};
use steadfast_shell::activation::Stamp;
use steadfast_shell::params::ActivationClass;
use steadfast_shell::receipt::{Cause, Kind, PropertiesReport, ValueChange};

impl App {
    /// Changes live parameters of a port, by its name or by that of a device of it.
    pub(crate) fn set_params(
        &self,
        name: &str,
        request: &ParamsRequest,
        who: &str,
    ) -> Result<ParamsReport, Problem> {
        let port = self.port_named(name)?.name;
        let changes = changes(request)?;
        let (report, id) = self.change_live(&port, &changes, who)?;
        let change = |c: steadfast_runtime::ParamChange| ParamChange {
            name: c.name,
            before: c.before,
            after: c.after,
        };
        let changed: Vec<ParamChange> = report.changed.into_iter().map(change).collect();
        for c in &changed {
            let (before, after) = (c.before.as_deref(), c.after.as_deref());
            tracing::info!(port = report.port, param = c.name, before, after, "parameter changed");
        }
        Ok(ParamsReport { port: report.port, changed, pause_ns: report.pause_ns, receipt: id })
    }

    /// Changes live parameters of a port, and keeps a receipt of it; says which.
    pub(crate) fn change_live(
        &self,
        port: &str,
        changes: &BTreeMap<String, Option<String>>,
        who: &str,
    ) -> Result<(ParamReport, u64), Problem> {
        let by = Requester { cause: Cause::Operator, who: who.to_owned() };
        let mut receipt = self.engine.begin_receipt(port, Kind::Live, &by, &said(changes));
        receipt.to = Some(receipt.from.clone());
        let stamp = self.engine.port(port).map(|port| port.stamp()).unwrap_or_default();
        let result = self.engine.set_param(port, changes, who);
        match &result {
            Ok(report) => {
                receipt.outcome = Outcome::Done;
                (receipt.pause_ns, receipt.longest_stall_ns) = (report.pause_ns, report.pause_ns);
                receipt.properties = Some(properties(report, stamp));
            }
            Err(e) => {
                if e.kind() == ErrorKind::Busy {
                    receipt.outcome = Outcome::Busy;
                }
                receipt.reason = e.to_string();
            }
        }
        let id = receipt.id;
        if receipt.outcome == Outcome::Done {
            self.note_in_force(port);
            self.serving().iter().for_each(|serving| serving.save_soon());
        }
        self.receipts.add(receipt);
        result.map(|report| (report, id)).map_err(|e| problem(&e))
    }
}

/// The change as it was asked for.
fn said(changes: &BTreeMap<String, Option<String>>) -> String {
    let one = |(name, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name} unset"),
    };
    changes.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The same generation before and after: nothing was initialised anew.
fn properties(report: &ParamReport, stamp: Stamp) -> PropertiesReport {
    let change = |c: &steadfast_runtime::ParamChange| ValueChange {
        name: c.name.clone(),
        before: c.before.clone(),
        after: c.after.clone(),
        class: ActivationClass::Live,
    };
    PropertiesReport {
        changes: report.changed.iter().map(change).collect(),
        before: report.defined_before.clone(),
        after: report.defined.clone(),
        stamp_before: stamp,
        stamp_after: stamp,
        ..PropertiesReport::default()
    }
}

fn changes(request: &ParamsRequest) -> Result<BTreeMap<String, Option<String>>, Problem> {
    let refused = |message: String| Err(Problem::new(ProblemKind::BadRequest, message));
    let set = request.set.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
    let mut changes: BTreeMap<String, Option<String>> = set.collect();
    for name in &request.unset {
        if changes.insert(name.clone(), None).is_some() {
            return refused(format!("parameter `{name}` is named twice"));
        }
    }
    if changes.is_empty() {
        return refused("no parameter is named".to_owned());
    }
    Ok(changes)
}

fn problem(error: &EngineError) -> Problem {
    let kind = match error.kind() {
        ErrorKind::NotFound => ProblemKind::NotFound,
        ErrorKind::Busy => ProblemKind::Busy,
        ErrorKind::Invalid | ErrorKind::Exists | ErrorKind::Driver | ErrorKind::Smaller => {
            ProblemKind::Refused
        }
        ErrorKind::Unsupported | ErrorKind::Unresponsive => ProblemKind::Internal,
    };
    Problem::new(kind, error.to_string())
}

/// Every parameter of the driver that runs; without one, what was given.
pub(crate) fn describe(port: &PortInfo) -> Vec<Param> {
    if port.driver.is_some() {
        return port.parameters.iter().map(param).collect();
    }
    let given = |(name, value): (&String, &String)| Param {
        name: name.clone(),
        value: value.clone(),
        source: ParamSource::Set,
        ..Param::default()
    };
    port.params.iter().map(given).collect()
}

fn param(info: &ParamInfo) -> Param {
    let source = match (info.given, &info.value) {
        (true, _) => ParamSource::Set,
        (false, Some(_)) => ParamSource::Default,
        (false, None) => ParamSource::Undefined,
    };
    Param {
        name: info.name.clone(),
        value: info.value.clone().unwrap_or_default(),
        source,
        default: info.default.clone(),
        allowed: info.allowed.clone(),
        unit: info.unit.clone(),
        class: info.class.name().to_owned(),
        help: info.help.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_set_or_unset_and_not_both() {
        let mut request = ParamsRequest::default();
        assert!(changes(&request).expect_err("nothing").message.contains("no parameter"));
        request.set.insert("depth".into(), "8".into());
        request.unset.push("delay".into());
        let found = changes(&request).expect("two changes");
        assert_eq!(found["depth"].as_deref(), Some("8"));
        assert_eq!(found["delay"], None);
        request.unset.push("depth".into());
        assert!(changes(&request).expect_err("both").message.contains("`depth`"));
    }
}
