//! Changes to the parameters of a port that is running.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{ActivationClass, ParamError, ParamKind, ParamSpec, Value, resolve, shown};

/// Why a parameter cannot be changed while the port runs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The driver has no such parameter, or the set of values would not do.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// A change of it does not take effect at once.
    #[error("not live: {name}={} takes effect {} (live parameters: {live})", shown(.value), when(*.class))]
    NotLive {
        /// Parameter.
        name: String,
        /// The value that was given; `default` for none.
        value: String,
        /// What a change of it takes.
        class: ActivationClass,
        /// Names of those that are live.
        live: String,
    },
    /// The daemon's own folder is not the one that the path was meant from.
    #[error("not absolute: {name}={} (allowed a path that begins with /)", shown(.value))]
    NotAbsolute {
        /// Parameter.
        name: String,
        /// The path.
        value: String,
    },
}

fn when(class: ActivationClass) -> &'static str {
    match class {
        ActivationClass::Live => "at once",
        ActivationClass::Reinit => "when the port is attached anew, or with an update of its driver",
        ActivationClass::Reload => {
            "when every port that runs the module is attached anew (`activate --reload`), or with an update of \
             its driver"
        }
    }
}

/// A set of changes that may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is given from then on.
    pub given: BTreeMap<String, String>,
    /// Every value from then on.
    pub values: BTreeMap<String, Value>,
    /// Those whose value is another one.
    pub changed: BTreeSet<String>,
}

/// Judges a set of changes (`None` goes back to the default) as a whole, without making them.
///
/// # Errors
/// Every fault: unknown names, values that are not allowed, parameters that are not live. A value that
/// is given as it already is changes nothing, and so is allowed in any class.
pub fn live_change(
    specs: &[ParamSpec],
    given: &BTreeMap<String, String>,
    changes: &BTreeMap<String, Option<String>>,
) -> Result<Change, Vec<ChangeError>> {
    let mut next = given.clone();
    let mut faults: Vec<ChangeError> = Vec::new();
    for (name, value) in changes {
        let known = specs.iter().any(|spec| spec.name == *name);
        match value {
            Some(text) => drop(next.insert(name.clone(), text.clone())),
            None if known => drop(next.remove(name)),
            None => faults.push(ParamError::unknown(name, specs.iter().map(|s| s.name.as_str())).into()),
        }
    }
    let before = resolve(specs, given).unwrap_or_default();
    let values = match resolve(specs, &next) {
        Ok(values) => values,
        Err(more) => {
            faults.extend(more.into_iter().map(ChangeError::from));
            return Err(faults);
        }
    };
    let differs = |name: &&String| before.get(*name) != values.get(*name);
    let changed: BTreeSet<String> = changes.keys().filter(differs).cloned().collect();
    faults.extend(specs.iter().filter(|s| changed.contains(&s.name)).filter_map(|spec| {
        let value = changes.get(&spec.name).and_then(Option::as_deref);
        refuse(specs, spec, value)
    }));
    if faults.is_empty() { Ok(Change { given: next, values, changed }) } else { Err(faults) }
}

fn refuse(specs: &[ParamSpec], spec: &ParamSpec, value: Option<&str>) -> Option<ChangeError> {
    let (name, shown) = (spec.name.clone(), value.unwrap_or("default").to_owned());
    if spec.class != ActivationClass::Live {
        let live = specs.iter().filter(|s| s.class == ActivationClass::Live);
        let live: Vec<&str> = live.map(|s| s.name.as_str()).collect();
        let live = if live.is_empty() { "none".to_owned() } else { live.join(", ") };
        return Some(ChangeError::NotLive { name, value: shown, class: spec.class, live });
    }
    let relative = spec.kind == ParamKind::Path && value.is_some_and(|path| !path.starts_with('/'));
    relative.then_some(ChangeError::NotAbsolute { name, value: shown })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Range;

    fn specs() -> Vec<ParamSpec> {
        let mut depth = ParamSpec::new("depth", ParamKind::U32);
        depth.range = Some(Range::Unsigned(1, 64));
        depth.default = Some(Value::U64(8));
        depth.class = ActivationClass::Live;
        let mut size = ParamSpec::new("size", ParamKind::Size);
        size.default = Some(Value::U64(4096));
        let mut log = ParamSpec::new("log", ParamKind::Path);
        log.class = ActivationClass::Live;
        vec![depth, size, log]
    }

    fn change(given: &[(&str, &str)], changes: &[(&str, Option<&str>)]) -> Result<Change, String> {
        let given = given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let changes = changes.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        live_change(&specs(), &given, &changes)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn a_live_parameter_changes_and_goes_back_to_its_default() {
        let set = change(&[], &[("depth", Some("16"))]).expect("live");
        assert_eq!(set.given["depth"], "16");
        assert_eq!(
            (set.values["depth"].clone(), set.values["size"].clone()),
            (Value::U64(16), Value::U64(4096))
        );
        assert!(set.changed.contains("depth") && set.changed.len() == 1);
        let unset = change(&[("depth", "16")], &[("depth", None)]).expect("live");
        assert!(unset.given.is_empty() && unset.values["depth"] == Value::U64(8));
    }

    #[test]
    fn what_changes_nothing_is_allowed_and_nothing_is_changed() {
        let same =
            change(&[("size", "8192")], &[("size", Some("8K")), ("depth", Some("8"))]).expect("the same");
        assert!(same.changed.is_empty(), "{same:?}");
        assert_eq!(same.given["size"], "8K", "what is given is kept as it was written");
    }

    #[test]
    fn every_fault_is_named_with_its_value_and_what_is_allowed() {
        let refused = change(&[], &[("depth", Some("65")), ("detph", None)]).expect_err("two faults");
        assert_eq!(
            refused,
            "unknown parameter: detph (did you mean depth?); out of range: depth=65 (allowed 1..=64)"
        );
        let refused = change(&[], &[("size", Some("1M"))]).expect_err("not live");
        assert!(refused.starts_with("not live: size=1M takes effect when the port is attached anew"));
        assert!(refused.ends_with("(live parameters: depth, log)"), "{refused}");
        let refused = change(&[], &[("log", Some("x/y"))]).expect_err("relative");
        assert_eq!(refused, "not absolute: log=x/y (allowed a path that begins with /)");
    }
}
