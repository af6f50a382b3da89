//! Values that must suit each other. They are judged together, each against the other's *new* value, so
//! that no order of changes matters.

use std::collections::BTreeMap;

use super::{ParamError, Value};

/// `left` may not be more than `right`, unless `right` has the value `unless`.
struct Rule {
    left: &'static str,
    right: &'static str,
    unless: Option<i128>,
}

/// The rules; each holds where a port has both parameters.
const RULES: [Rule; 3] = [
    Rule { left: "fast_fail_delay", right: "failover_delay", unless: Some(-1) },
    Rule { left: "lun_queue_depth", right: "target_queue_depth", unless: Some(0) },
    Rule { left: "lun_queue_depth", right: "io_slots", unless: None },
];

fn number(values: &BTreeMap<String, Value>, name: &str) -> Option<i128> {
    match values.get(name)? {
        Value::U64(v) => Some(i128::from(*v)),
        Value::I64(v) => Some(i128::from(*v)),
        _ => None,
    }
}

/// Every pair that does not suit.
pub(super) fn check(values: &BTreeMap<String, Value>) -> Vec<ParamError> {
    let broken = |rule: &Rule| {
        let (left, right) = (number(values, rule.left)?, number(values, rule.right)?);
        let fine = left <= right || rule.unless == Some(right);
        (!fine).then(|| ParamError::Pair {
            name: rule.left.to_owned(),
            value: left.to_string(),
            other: rule.right.to_owned(),
            other_value: right.to_string(),
            unless: rule.unless.map_or_else(String::new, |v| format!(", unless that is {v}")),
        })
    };
    RULES.iter().filter_map(broken).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{ParamKind, ParamSpec, resolve};
    use super::*;

    fn judge(set: &[(&str, &str)]) -> Vec<String> {
        let spec = |name: &str, default: i64| {
            let mut spec = ParamSpec::new(name, ParamKind::I64);
            spec.default = Some(Value::I64(default));
            spec
        };
        let specs = [
            spec("fast_fail_delay", 5),
            spec("failover_delay", 30),
            spec("lun_queue_depth", 32),
            spec("target_queue_depth", 512),
            spec("io_slots", 1024),
        ];
        let given = set.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        resolve(&specs, &given).map_or_else(|e| e.iter().map(ToString::to_string).collect(), |_| Vec::new())
    }

    #[test]
    fn a_pair_is_named_with_both_values() {
        let wrong = judge(&[("fast_fail_delay", "31")]);
        assert_eq!(
            wrong,
            ["do not suit each other: fast_fail_delay=31 and failover_delay=30 \
              (allowed fast_fail_delay <= failover_delay, unless that is -1)"]
        );
        assert_eq!(judge(&[("lun_queue_depth", "600")]).len(), 1);
        assert_eq!(judge(&[("lun_queue_depth", "2000")]).len(), 2);
    }

    #[test]
    fn both_can_change_at_once_in_any_order() {
        assert!(judge(&[("fast_fail_delay", "100"), ("failover_delay", "200")]).is_empty());
        assert!(judge(&[("failover_delay", "3"), ("fast_fail_delay", "3")]).is_empty());
        assert_eq!(judge(&[("failover_delay", "3")]).len(), 1, "against the other's value as it is");
    }

    #[test]
    fn the_words_for_no_limit_are_no_numbers() {
        assert!(judge(&[("failover_delay", "-1"), ("fast_fail_delay", "3600")]).is_empty());
        assert!(judge(&[("target_queue_depth", "0"), ("lun_queue_depth", "1024")]).is_empty());
        assert_eq!(judge(&[("failover_delay", "0")]).len(), 1, "zero is a value");
    }
}
