//! A profile of one's own.

use super::{Finding, Known, Severity};
use crate::Profile;
use steadfast_shell::params::ParamSpec;
use steadfast_shell::properties::Source;

/// Names that no parameter has, and values that the drivers that have the parameter refuse.
pub(super) fn examine(profile: &Profile, known: &Known) -> Vec<Finding> {
    let tables = || known.values().flat_map(|d| d.ports.values().map(|p| &p.table).chain([&d.table]));
    let names = tables().flatten().map(|spec| spec.name.as_str());
    let faults = profile.unknown_names(names);
    let own = faults.into_iter().filter(|fault| Some(&fault.path) == profile.path.as_ref());
    let mut findings: Vec<Finding> =
        own.map(|f| Finding::fault(&f.path, f.line, f.kind.to_string())).collect();
    for (name, value) in &profile.values {
        let Source::File { path, line } = &value.source else { continue };
        if profile.path.as_ref().is_none_or(|own| own.display().to_string() != *path) {
            continue;
        }
        let (mut refused, mut takes) = (Vec::new(), false);
        for (driver, known) in known {
            let specs = known.ports.values().flat_map(|port| &port.table).chain(&known.table);
            let specs: Vec<&ParamSpec> = specs.filter(|spec| spec.name == *name).collect();
            let fault = specs.iter().find_map(|spec| spec.parse_value(&value.value).err());
            takes |= !specs.is_empty() && fault.is_none();
            refused.extend(fault.map(|fault| (driver.as_str(), fault)));
        }
        let Some((_, fault)) = refused.first() else { continue };
        let path = path.as_ref();
        findings.push(if takes {
            let drivers: Vec<&str> = refused.iter().map(|(driver, _)| *driver).collect();
            let message = format!("{fault} with driver {}; others take it", drivers.join(", "));
            Finding::at(Severity::Warning, path, *line, message)
        } else {
            Finding::fault(path, *line, format!("{fault}: no driver that has the parameter takes it"))
        });
    }
    findings
}
