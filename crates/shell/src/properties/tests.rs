use super::*;
use crate::params::{ParamKind, Range};
use proptest::prelude::*;

fn definition(value: &str) -> Definition {
    Definition { value: value.to_owned(), source: Source::Command { who: "a test".into() } }
}

fn set(pairs: &[(&str, &str)]) -> Definitions {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), definition(v))).collect()
}

fn value<'a>(properties: &'a Properties, name: &str) -> Option<(&'a str, Layer)> {
    properties.get(name).map(|(d, layer)| (d.value.as_str(), layer))
}

#[test]
fn the_last_definition_wins_and_undefining_lets_the_default_through() {
    let mut p = Properties::loaded(set(&[("a", "1"), ("b", "2")]));
    assert_eq!(value(&p, "a"), Some(("1", Layer::LoadTime)));
    p.define("a", definition("3"));
    assert_eq!(value(&p, "a"), Some(("3", Layer::Driver)));
    p.undefine("a");
    assert_eq!(value(&p, "a"), None);
    assert!(p.hides("a") && !p.hides("b"));
    p.clear();
    assert_eq!(value(&p, "a"), Some(("1", Layer::LoadTime)), "load-time properties are indelible");
    p.undefine("never defined");
    assert_eq!(p.in_force().len(), 2);
}

#[test]
fn an_activation_goes_through_the_steps_of_the_seeds() {
    // Defined at load, and not in the file any more: it must end as the default.
    let mut p = Properties::loaded(set(&[("gone", "1"), ("kept", "2")]));
    p.define("live", definition("9"));
    p.clear();
    p.undefine_load_time();
    for (name, d) in set(&[("kept", "5"), ("fresh", "6")]) {
        p.define(&name, d);
    }
    assert_eq!(p.given(), values_of(&set(&[("fresh", "6"), ("kept", "5")])));
    assert_eq!(p.load_time().len(), 2);
}

#[test]
fn layers_of_files_are_merged_in_their_order() {
    let say = |name: &str, value: Option<&str>| (name.to_owned(), value.map(definition));
    let global = [say("a", Some("1")), say("b", Some("1")), say("c", Some("1"))];
    let port = [say("b", Some("2")), say("c", None), say("b", Some("3"))];
    assert_eq!(values_of(&merge([&global[..], &port[..]])), values_of(&set(&[("a", "1"), ("b", "3")])));
}

#[test]
fn what_is_written_in_another_way_is_not_pending() {
    let mut spec = ParamSpec::new("depth", ParamKind::U32);
    spec.range = Some(Range::Unsigned(0, 64));
    spec.default = Some(Value::U64(0));
    let table = [spec];
    let given = |v: &str| [("depth".to_owned(), v.to_owned())].into();
    let current = resolve(&table, &given("16")).expect("allowed");
    assert!(pending(&table, &current, &given("0x10")).expect("allowed").is_empty());
    let found = pending(&table, &current, &BTreeMap::new()).expect("the default");
    assert_eq!((&found[0].current, &found[0].saved), (&Some(Value::U64(16)), &Some(Value::U64(0))));
    // Zero is a value: it differs from 16, and not from the default.
    let zero = resolve(&table, &given("0")).expect("allowed");
    assert!(pending(&table, &zero, &BTreeMap::new()).expect("the default").is_empty());
    assert!(pending(&table, &current, &given("65")).is_err());
}

#[derive(Clone, Debug)]
enum Op {
    Define(u8, u8),
    Undefine(u8),
    Clear,
    UndefineLoadTime,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0_u8..6, any::<u8>()).prop_map(|(n, v)| Op::Define(n, v)),
        3 => (0_u8..6).prop_map(Op::Undefine),
        1 => Just(Op::Clear),
        1 => Just(Op::UndefineLoadTime),
    ]
}

/// What the layers come to, kept as the whole history and read back to front.
#[derive(Default)]
struct Naive {
    load: Vec<(String, String)>,
    since: Vec<(String, Option<String>)>,
}

impl Naive {
    fn value(&self, name: &str) -> Option<String> {
        match self.since.iter().rev().find(|(n, _)| n == name) {
            Some((_, said)) => said.clone(),
            None => self.load.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()),
        }
    }
}

proptest! {
    #[test]
    fn layers_do_as_a_naive_model(
        load in proptest::collection::btree_map(0_u8..6, any::<u8>(), 0..6),
        ops in proptest::collection::vec(op(), 0..40),
    ) {
        let name = |n: &u8| format!("p{n}");
        let load: Vec<(String, String)> = load.iter().map(|(n, v)| (name(n), v.to_string())).collect();
        let mut p = Properties::loaded(load.iter().map(|(n, v)| (n.clone(), definition(v))).collect());
        let mut naive = Naive { load: load.clone(), since: Vec::new() };
        for op in &ops {
            match op {
                Op::Define(n, v) => {
                    p.define(&name(n), definition(&v.to_string()));
                    naive.since.push((name(n), Some(v.to_string())));
                }
                Op::Undefine(n) => {
                    p.undefine(&name(n));
                    naive.since.push((name(n), None));
                }
                Op::Clear => {
                    p.clear();
                    naive.since.clear();
                }
                Op::UndefineLoadTime => {
                    p.undefine_load_time();
                    naive.since.extend(load.iter().map(|(n, _)| (n.clone(), None)));
                }
            }
            for n in 0..6 {
                let n = name(&n);
                prop_assert_eq!(p.get(&n).map(|(d, _)| d.value.clone()), naive.value(&n));
                prop_assert_eq!(p.given().get(&n).cloned(), naive.value(&n));
            }
            prop_assert_eq!(p.load_time().len(), load.len());
        }
    }
}

#[test]
fn what_was_said_since_is_known_by_name_and_can_be_taken_over() {
    let mut before = Properties::loaded(set(&[("a", "1")]));
    before.define("b", definition("2"));
    let mut now = before.clone();
    assert!(now.changed_since(&before).is_empty());
    now.define("c", definition("3"));
    now.undefine("a");
    now.undefine("b");
    let changed = now.changed_since(&before);
    assert_eq!(changed.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    let mut next = before.clone();
    next.define("d", definition("4"));
    next.take_over(&now, &changed);
    assert_eq!((value(&next, "a"), value(&next, "b")), (None, None));
    assert_eq!(
        (value(&next, "c"), value(&next, "d")),
        (Some(("3", Layer::Driver)), Some(("4", Layer::Driver)))
    );
}
