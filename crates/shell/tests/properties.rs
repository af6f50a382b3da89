//! Layers and whole sets, against models that are as simple as they can be: random tables, random files,
//! changes in random orders.

use proptest::prelude::*;
use std::collections::BTreeMap;
use steadfast_shell::params::{
    ActivationClass, ParamError, ParamKind, ParamSpec, Range, Value, live_change, resolve,
};
use steadfast_shell::properties::{Definition, Properties, Said, Source, merge, pending, values_of};

type Given = BTreeMap<String, String>;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "unknown"];

fn define(value: &str, line: u32) -> Definition {
    Definition { value: value.to_owned(), source: Source::File { path: "x.toml".into(), line } }
}

/// A parameter: numbers in a range that may have zero in it, a size, words, or yes and no.
fn spec(name: &'static str) -> impl Strategy<Value = ParamSpec> {
    let class = prop_oneof![
        Just(ActivationClass::Live),
        Just(ActivationClass::Reinit),
        Just(ActivationClass::Reload)
    ];
    (0_u8..5, 0_u64..4, 0_u64..30, prop::option::of(0_u64..40), class).prop_map(
        move |(kind, min, width, default, class)| {
            let max = min + width;
            let inside = default.map(|d| min + d % (width + 1));
            let (kind, range, default) = match kind {
                0 => (ParamKind::U32, Some(Range::Unsigned(min, max)), inside.map(Value::U64)),
                1 => {
                    let range = Range::Signed(-(min as i64), max as i64);
                    (ParamKind::I64, Some(range), inside.map(|d| Value::I64(d as i64)))
                }
                2 => (ParamKind::Size, Some(Range::Unsigned(min * 1024, max * 1024)), None),
                3 => {
                    let words = vec!["0".to_owned(), "auto".to_owned(), "7".to_owned()];
                    let first = Value::Enum { index: 0, text: "0".into() };
                    (ParamKind::Enum, Some(Range::Choices(words)), default.map(|_| first))
                }
                _ => (ParamKind::Bool, None, default.map(|d| Value::Bool(d % 2 == 0))),
            };
            ParamSpec { range, default, class, ..ParamSpec::new(name, kind) }
        },
    )
}

fn table() -> impl Strategy<Value = Vec<ParamSpec>> {
    let [a, b, c, d, e, _] = NAMES;
    (spec(a), spec(b), spec(c), spec(d), spec(e), 1_usize..6).prop_map(|(a, b, c, d, e, count)| {
        let mut table = vec![a, b, c, d, e];
        table.truncate(count);
        table
    })
}

/// Values of all kinds, in several ways to write them, and such as no parameter takes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0_i64..40).prop_map(|n| n.to_string()),
        2 => (0_i64..40).prop_map(|n| format!("{n:#x}")),
        2 => (0_i64..40).prop_map(|n| format!("{n}K")),
        1 => (-5_i64..0).prop_map(|n| n.to_string()),
        3 => prop::sample::select(vec!["auto", "true", "no", "on", "off", "soon", ""]).prop_map(str::to_owned),
    ]
}

fn given() -> impl Strategy<Value = Given> {
    prop::collection::btree_map(prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned), text(), 0..6)
}

/// What a text means to a parameter, the long way round; none where it is not allowed.
fn meaning(spec: &ParamSpec, text: &str) -> Option<String> {
    let plain = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse::<i128>().ok(),
    };
    let within = |n: i128| match spec.range {
        Some(Range::Unsigned(min, max)) => (i128::from(min)..=i128::from(max)).contains(&n),
        Some(Range::Signed(min, max)) => (i128::from(min)..=i128::from(max)).contains(&n),
        _ => false,
    };
    match spec.kind {
        ParamKind::Size => {
            let bytes = match text.strip_suffix('K') {
                Some(kilo) => plain(kilo).map(|n| n * 1024),
                None => plain(text),
            };
            bytes.filter(|n| within(*n)).map(|n| n.to_string())
        }
        ParamKind::Enum => ["0", "auto", "7"].contains(&text).then(|| text.to_owned()),
        ParamKind::Bool => match text {
            "true" | "yes" | "on" | "1" => Some("true".into()),
            "false" | "no" | "off" | "0" => Some("false".into()),
            _ => None,
        },
        _ => plain(text).filter(|n| within(*n)).map(|n| n.to_string()),
    }
}

fn shown(value: &Value) -> String {
    value.to_string()
}

/// What a set comes to: each parameter's meaning, or none when anything in it is not allowed.
fn outcome(table: &[ParamSpec], given: &Given) -> Option<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for spec in table {
        if let Some(default) = &spec.default {
            values.insert(spec.name.clone(), shown(default));
        }
    }
    for (name, text) in given {
        let spec = table.iter().find(|spec| spec.name == *name)?;
        values.insert(name.clone(), meaning(spec, text)?);
    }
    Some(values)
}

/// What of a set is allowed.
fn allowed(table: &[ParamSpec], mut set: Given) -> Given {
    let knows = |name: &String| table.iter().find(|spec| spec.name == *name);
    set.retain(|name, text| knows(name).is_some_and(|spec| meaning(spec, text).is_some()));
    set
}

fn resolved(table: &[ParamSpec], given: &Given) -> Option<BTreeMap<String, String>> {
    let values = resolve(table, given).ok()?;
    // A size is shown with the largest suffix that fits; the model counts bytes.
    let text = |value: &Value| match value {
        Value::U64(n) => n.to_string(),
        other => shown(other),
    };
    Some(values.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Several files, each with several words on a name: whoever speaks last, by file and by line, is heard.
    #[test]
    fn files_are_layers_and_the_last_word_wins(
        files in prop::collection::vec(
            prop::collection::vec((0_usize..6, prop::option::of(text())), 0..8), 0..4),
    ) {
        let say = |(i, (name, value)): (usize, &(usize, Option<String>))| -> Said {
            (NAMES[*name].to_owned(), value.as_ref().map(|v| define(v, i as u32 + 1)))
        };
        let said: Vec<Vec<Said>> = files.iter().map(|f| f.iter().enumerate().map(say).collect()).collect();
        let merged = merge(said.iter().map(Vec::as_slice));
        let all: Vec<&Said> = said.iter().flatten().collect();
        for name in NAMES {
            let last = all.iter().rev().find(|(n, _)| n == name).and_then(|(_, d)| d.clone());
            prop_assert_eq!(merged.get(name).cloned(), last, "{} of {:?}", name, files);
        }
    }

    /// What one set comes to, or is refused for, does not depend on the order in which it names its changes.
    #[test]
    fn the_order_within_a_set_does_not_matter(
        table in table(),
        load in given(),
        (set, other) in given().prop_flat_map(|set| {
            let list: Vec<(String, String)> = set.into_iter().collect();
            (Just(list.clone()), Just(list).prop_shuffle())
        }),
    ) {
        let load: BTreeMap<_, _> = load.iter().map(|(n, v)| (n.clone(), define(v, 1))).collect();
        let come_to = |changes: &[(String, String)]| {
            let mut properties = Properties::loaded(load.clone());
            changes.iter().for_each(|(name, value)| properties.define(name, define(value, 2)));
            let said: Vec<Said> = changes.iter().map(|(n, v)| (n.clone(), Some(define(v, 2)))).collect();
            let judged = resolve(&table, &properties.given());
            (properties, merge([said.as_slice()]), judged)
        };
        prop_assert_eq!(come_to(&set), come_to(&other));
    }

    /// A set is taken as a whole or not at all; what comes to be is what the model says.
    #[test]
    fn a_set_is_taken_whole_or_changes_nothing(
        table in table(),
        load in given(),
        sets in prop::collection::vec((given(), any::<bool>()), 1..6),
    ) {
        let load_time: BTreeMap<_, _> = load.iter().map(|(n, v)| (n.clone(), define(v, 1))).collect();
        let mut port = Properties::loaded(load_time.clone());
        let mut expected = load;
        for (set, sound) in sets {
            let set = &if sound { allowed(&table, set) } else { set };
            // An activation's steps, on a copy.
            let mut next = port.clone();
            next.clear();
            next.undefine_load_time();
            set.iter().for_each(|(name, value)| next.define(name, define(value, 3)));
            let whole = outcome(&table, set);
            prop_assert_eq!(resolved(&table, &next.given()), whole.clone(), "{:?}", set);
            if whole.is_some() {
                port = next;
                expected.clone_from(set);
            }
            prop_assert_eq!(port.given(), expected.clone());
            prop_assert_eq!(port.load_time(), &load_time, "load-time properties are indelible");
        }
    }

    /// Each value that is refused is named, with the value and what is allowed; those that are allowed
    /// are not.
    #[test]
    fn a_refused_value_is_named_with_what_is_allowed(table in table(), set in given()) {
        let faults = resolve(&table, &set).err().unwrap_or_default();
        let mut wrong = Vec::new();
        for (name, text) in &set {
            let spec = table.iter().find(|spec| spec.name == *name);
            if spec.is_none_or(|spec| meaning(spec, text).is_none()) {
                wrong.push(name.as_str());
            }
            let Some(fault) = faults.iter().find(|f| f.name() == name) else { continue };
            let message = fault.to_string();
            match (fault, spec) {
                (ParamError::Value { value, allowed, .. }, Some(spec)) => {
                    prop_assert_eq!((value, allowed), (text, &spec.allowed()));
                    prop_assert!(message.contains(allowed.as_str()) && message.contains(text.as_str()), "{}", message);
                }
                (ParamError::Unknown { .. }, None) => prop_assert!(message.contains(name.as_str())),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let mut named: Vec<&str> = faults.iter().map(ParamError::name).collect();
        named.sort_unstable();
        prop_assert_eq!(named, wrong);
    }

    /// Pending is what differs by value; going back to what runs leaves nothing, however it is written.
    #[test]
    fn pending_is_what_differs_by_value(
        table in table(),
        runs in given(),
        saved in given(),
        sound in prop::bool::weighted(0.8),
    ) {
        let runs = allowed(&table, runs);
        let saved = if sound { allowed(&table, saved) } else { saved };
        let now = outcome(&table, &runs).expect("all allowed");
        let current = resolve(&table, &runs).expect("allowed");
        let Some(then) = outcome(&table, &saved) else {
            prop_assert!(pending(&table, &current, &saved).is_err());
            return Ok(());
        };
        let found = pending(&table, &current, &saved).expect("allowed");
        let differ: Vec<(&str, ActivationClass)> = table
            .iter()
            .filter(|spec| now.get(&spec.name) != then.get(&spec.name))
            .map(|spec| (spec.name.as_str(), spec.class))
            .collect();
        let named: Vec<(&str, ActivationClass)> = found.iter().map(|p| (p.name.as_str(), p.class)).collect();
        prop_assert_eq!(named, differ);
        for p in &found {
            prop_assert!(p.current != p.saved);
        }
        let back = pending(&table, &current, &runs).expect("allowed");
        prop_assert!(back.is_empty(), "{:?}", back);
        // The same values in other words.
        let rewritten: Given = current.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        prop_assert!(pending(&table, &current, &rewritten).expect("allowed").is_empty());
    }

    /// Zero that is given is zero: it hides the default, and differs from it unless that is zero too.
    #[test]
    fn zero_is_a_value_in_any_table(spec in spec("a"), lower in text()) {
        let zero: Given = [("a".to_owned(), "0".to_owned())].into();
        let table = [spec.clone()];
        let mut port = Properties::loaded([("a".to_owned(), define(&lower, 1))].into());
        port.define("a", define("0", 2));
        prop_assert_eq!(values_of(&port.in_force()), zero.clone());
        let Some(meant) = meaning(&spec, "0") else {
            prop_assert!(resolve(&table, &zero).is_err(), "refused, not bent to the nearest or the default");
            return Ok(());
        };
        prop_assert_eq!(resolved(&table, &zero).expect("allowed")["a"].clone(), meant.clone());
        let defaults = resolve(&table, &Given::new()).expect("defaults");
        let differs = outcome(&table, &Given::new()).and_then(|all| all.get("a").cloned()) != Some(meant);
        prop_assert_eq!(!pending(&table, &defaults, &zero).expect("allowed").is_empty(), differs);
    }

    /// Pairs are judged by what both will be, never by what one of them was.
    #[test]
    fn pairs_are_judged_by_their_new_values(
        before in (0_i64..6, -1_i64..6, 0_i64..6, 0_i64..6),
        after in (0_i64..6, -1_i64..6, 0_i64..6, 0_i64..6),
        changed in any::<[bool; 4]>(),
    ) {
        let names = ["fast_fail_delay", "failover_delay", "lun_queue_depth", "target_queue_depth"];
        let table: Vec<ParamSpec> = names.iter().map(|name| ParamSpec {
            default: Some(Value::I64(0)),
            class: ActivationClass::Live,
            ..ParamSpec::new(*name, ParamKind::I64)
        }).collect();
        let list = |v: (i64, i64, i64, i64)| [v.0, v.1, v.2, v.3];
        let suits = |v: [i64; 4]| (v[1] == -1 || v[0] <= v[1]) && (v[3] == 0 || v[2] <= v[3]);
        let (old, mut new) = (list(before), list(before));
        let mut changes = BTreeMap::new();
        for i in (0..4).filter(|i| changed[*i]) {
            new[i] = list(after)[i];
            changes.insert(names[i].to_owned(), Some(new[i].to_string()));
        }
        let given: Given = names.iter().zip(old).map(|(n, v)| ((*n).to_owned(), v.to_string())).collect();
        let judged = live_change(&table, &given, &changes);
        prop_assert_eq!(judged.is_ok(), suits(new), "{:?} to {:?}", old, new);
        match judged {
            Ok(change) => {
                let values: Vec<Value> = names.iter().map(|n| change.values[*n].clone()).collect();
                prop_assert_eq!(values, new.map(Value::I64).to_vec());
            }
            Err(faults) => for fault in faults {
                let message = fault.to_string();
                prop_assert!(message.starts_with("do not suit each other") && message.contains("<="), "{}", message);
            },
        }
    }
}
