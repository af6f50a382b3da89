//! Parameters: values against a model that is as simple as it can be, and the messages users see.

use std::collections::BTreeMap;

use proptest::prelude::*;
use steadfast_shell::params::{
    Fault, ParamError, ParamKind, ParamSpec, Range, Value, parse_size, resolve, show_size,
};

/// A whole number of any size, the long way round; none when the text is no number.
fn model_number(text: &str) -> Option<i128> {
    let (sign, rest) = if let Some(rest) = text.strip_prefix('-') { (-1, rest) } else { (1, text) };
    let (radix, digits) = if let Some(rest) = rest.strip_prefix("0x") { (16, rest) } else { (10, rest) };
    let mut number: i128 = 0;
    for c in digits.chars() {
        let digit = if c.is_ascii() { c.to_digit(radix)? } else { return None };
        number = (number * i128::from(radix) + i128::from(digit)).min(1 << 100);
    }
    (!digits.is_empty()).then_some(sign * number)
}

/// Bytes, the long way round.
fn model_size(text: &str) -> Option<i128> {
    let factors = [("", 1), ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50), ("E", 60)];
    for (suffix, power) in factors {
        for spelling in [
            suffix.to_owned(),
            suffix.to_lowercase(),
            format!("{suffix}iB"),
            format!("{}iB", suffix.to_lowercase()),
        ] {
            if suffix.is_empty() && !spelling.is_empty() {
                continue;
            }
            let Some(digits) = text.strip_suffix(&spelling) else { continue };
            let factor = if power == 1 { 1 } else { 1i128 << power };
            let hexadecimal = digits.contains("0x");
            if let Some(number) = model_number(digits).filter(|_| !hexadecimal || suffix.is_empty()) {
                return Some((number * factor).clamp(-(1 << 100), 1 << 100));
            }
        }
    }
    None
}

/// What a numeric parameter makes of a text: a value, out of range, or no number.
fn model(kind: ParamKind, min: i128, max: i128, text: &str) -> Result<i128, bool> {
    let number = if kind == ParamKind::Size { model_size(text) } else { model_number(text) };
    match number {
        None => Err(false),
        Some(number) if number < min || number > max => Err(true),
        Some(number) => Ok(number),
    }
}

fn numeric_kind() -> impl Strategy<Value = ParamKind> {
    prop_oneof![Just(ParamKind::U32), Just(ParamKind::U64), Just(ParamKind::I64), Just(ParamKind::Size)]
}

/// Texts that are numbers, almost numbers, and numbers around the edges.
fn text() -> impl Strategy<Value = String> {
    let edges = [
        "0",
        "-0",
        "1",
        "-1",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "0xffffffffffffffff",
        "0x10000000000000000",
        "0x",
        "",
        "-",
        "16E",
        "15E",
        "0E",
        "16777216T",
        "1KiB",
        "0x1E",
        "0x1K",
        "1iB",
        "K",
        "KiB",
        "+1",
        " 1",
        "1 ",
        "1_000",
        "1.5G",
        "1e3",
        "٣",
        "0X10",
        "--1",
    ];
    prop_oneof![
        prop::sample::select(edges.to_vec()).prop_map(str::to_owned),
        any::<i128>().prop_map(|n| n.to_string()),
        (-2000i64..2000).prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| format!("{n:#x}")),
        (0u64..5000, "[kKmMgGtTpPeE](iB)?").prop_map(|(n, suffix)| format!("{n}{suffix}")),
        "[-+0-9xaefKMGiB ]{0,8}",
        any::<String>(),
    ]
}

fn kind_bounds(kind: ParamKind) -> (i128, i128) {
    match kind {
        ParamKind::U32 => (0, u32::MAX.into()),
        ParamKind::I64 => (i64::MIN.into(), i64::MAX.into()),
        _ => (0, u64::MAX.into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers_are_what_the_model_says(
        kind in numeric_kind(),
        bounds in prop::option::of((-1000i64..1000, -1000i64..1000)),
        text in text(),
    ) {
        let (mut min, mut max) = kind_bounds(kind);
        let mut spec = ParamSpec::new("p", kind);
        if let Some((a, b)) = bounds {
            let (low, high) = (a.min(b), a.max(b));
            spec.range = Some(if kind == ParamKind::I64 {
                Range::Signed(low, high)
            } else {
                Range::Unsigned(low.unsigned_abs().min(high.unsigned_abs()), low.unsigned_abs().max(high.unsigned_abs()))
            });
            (min, max) = match &spec.range {
                Some(Range::Signed(low, high)) => ((*low).into(), (*high).into()),
                Some(Range::Unsigned(low, high)) => ((*low).into(), (*high).into()),
                _ => (min, max),
            };
        }
        let expected = model(kind, min, max, &text);
        let found = match spec.parse_value(&text) {
            Ok(Value::U64(n)) => Ok(i128::from(n)),
            Ok(Value::I64(n)) => Ok(i128::from(n)),
            Ok(other) => panic!("{other:?} of a {kind}"),
            Err(ParamError::Value { fault, .. }) => Err(fault == Fault::OutOfRange),
            Err(other) => panic!("{other:?}"),
        };
        prop_assert_eq!(found, expected, "{} {:?}", kind, text);
    }

    #[test]
    fn a_values_text_is_that_value(kind in prop::sample::select(ParamKind::ALL.to_vec()), text in text()) {
        let mut spec = ParamSpec::new("p", kind);
        if kind == ParamKind::Enum {
            spec.range = Some(Range::Choices(vec!["0".into(), "1".into(), "K".into()]));
        }
        if let Ok(value) = spec.parse_value(&text) {
            prop_assert_eq!(spec.parse_value(&value.to_string()), Ok(value));
        }
    }

    #[test]
    fn sizes_are_shown_exactly(bytes in prop_oneof![any::<u64>(), (0u32..64).prop_map(|n| 1 << n)]) {
        prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
    }

    #[test]
    fn messages_are_one_short_line(text in any::<String>(), name in any::<String>()) {
        let spec = ParamSpec::new("p", ParamKind::U32);
        let given = BTreeMap::from([(name, text.clone()), ("p".to_owned(), text)]);
        for error in resolve(&[spec], &given).err().unwrap_or_default() {
            let message = error.to_string();
            prop_assert!(!message.contains(|c: char| c.is_control()) && message.len() < 1500, "{message:?}");
        }
    }

    /// Whole sets: three parameters, each given or not, rightly or not.
    #[test]
    fn sets_are_judged_as_a_whole(
        shapes in prop::collection::vec((any::<bool>(), prop::option::of(0u64..10)), 0..4),
        given in prop::collection::btree_map("[a-e]", prop_oneof![Just("5"), Just("77"), Just("x")], 0..5),
    ) {
        let specs: Vec<ParamSpec> = shapes.iter().zip("abcd".chars()).map(|((required, default), name)| ParamSpec {
            range: Some(Range::Unsigned(0, 10)),
            default: default.filter(|_| !required).map(Value::U64),
            required: *required,
            ..ParamSpec::new(name, ParamKind::U64)
        }).collect();
        let given: BTreeMap<String, String> = given.into_iter().map(|(k, v)| (k, v.to_owned())).collect();
        let known = |name: &str| specs.iter().any(|s| s.name == name);
        let mut faults = given.iter().filter(|(name, text)| !known(name) || *text != "5").count();
        faults += specs.iter().filter(|s| s.required && !given.contains_key(&s.name)).count();
        match resolve(&specs, &given) {
            Err(errors) => prop_assert_eq!(errors.len(), faults),
            Ok(values) => {
                prop_assert_eq!(faults, 0);
                for spec in &specs {
                    let expected = if given.contains_key(&spec.name) { Some(Value::U64(5)) } else { spec.default.clone() };
                    prop_assert_eq!(values.get(&spec.name).cloned(), expected);
                }
                prop_assert!(values.keys().all(|name| known(name)));
            }
        }
    }
}

fn spec(name: &str, kind: ParamKind, range: Option<Range>) -> ParamSpec {
    ParamSpec { range, ..ParamSpec::new(name, kind) }
}

fn message(spec: &ParamSpec, text: &str) -> String {
    spec.parse_value(text).unwrap_err().to_string()
}

#[test]
fn messages_name_the_parameter_the_value_and_what_is_allowed() {
    let depth = spec("io_depth", ParamKind::U32, Some(Range::Unsigned(1, 1024)));
    assert_eq!(message(&depth, "0"), "out of range: io_depth=0 (allowed 1..=1024)");
    assert_eq!(message(&depth, "-3"), "out of range: io_depth=-3 (allowed 1..=1024)");
    assert_eq!(message(&depth, "many"), "not a number: io_depth=many (allowed 1..=1024)");
    assert_eq!(message(&depth, ""), "not a number: io_depth=\"\" (allowed 1..=1024)");
    assert_eq!(message(&depth, "1 2\n"), "not a number: io_depth=\"1 2\\n\" (allowed 1..=1024)");
    let size = spec("size", ParamKind::Size, Some(Range::Unsigned(4096, 1 << 40)));
    assert_eq!(message(&size, "1K"), "out of range: size=1K (allowed 4K..=1T)");
    assert_eq!(message(&size, "1.5G"), "not a size: size=1.5G (allowed 4K..=1T)");
    let speed = spec("speed", ParamKind::Enum, Some(Range::Choices(vec!["auto".into(), "10".into()])));
    assert_eq!(message(&speed, "fast"), "not a choice: speed=fast (allowed auto, 10)");
    assert_eq!(
        message(&spec("sync", ParamKind::Bool, None), "maybe"),
        "neither true nor false: sync=maybe (allowed true or false)"
    );
    let path = spec("path", ParamKind::Path, None);
    assert_eq!(message(&path, ""), "empty: path=\"\" (allowed a path of 1 to 4095 bytes)");
    assert!(message(&path, "a\0b").starts_with("has a NUL byte: path=\"a\\0b\""));
    assert!(message(&path, &"p".repeat(5000)).starts_with("too long: path=\"ppp"));
    assert!(message(&path, &"p".repeat(5000)).contains("…"));
}

#[test]
fn zero_is_a_value() {
    let throttle = ParamSpec {
        default: Some(Value::U64(7)),
        ..spec("io_throttle", ParamKind::U32, Some(Range::Unsigned(0, 8192)))
    };
    let given = BTreeMap::from([("io_throttle".to_owned(), "0".to_owned())]);
    assert_eq!(resolve(&[throttle], &given).unwrap()["io_throttle"], Value::U64(0));
}

#[test]
fn every_fault_of_a_set_is_told() {
    let specs = [
        ParamSpec { required: true, ..ParamSpec::new("path", ParamKind::Path) },
        spec("io_depth", ParamKind::U32, Some(Range::Unsigned(1, 64))),
    ];
    let given =
        [("io_dept", "3"), ("colour", "red"), ("io_depth", "65")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let messages: Vec<String> =
        resolve(&specs, &given.into()).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "unknown parameter: colour (the driver has io_depth, path)",
            "unknown parameter: io_dept (did you mean io_depth?)",
            "out of range: io_depth=65 (allowed 1..=64)",
            "missing parameter: path must be given (allowed a path of 1 to 4095 bytes)",
        ]
    );
    let nothing = resolve(&[], &[("a".to_owned(), "b".to_owned())].into()).unwrap_err();
    assert_eq!(nothing[0].to_string(), "unknown parameter: a (the driver has no parameters)");
    assert_eq!(nothing[0].name(), "a");
}

#[test]
fn values_are_plain_in_json() {
    let values = [
        (Value::Bool(true), "true"),
        (Value::U64(u64::MAX), "18446744073709551615"),
        (Value::I64(-5), "-5"),
        (Value::Str("a\"b".into()), "\"a\\\"b\""),
        (Value::Enum { index: 2, text: "auto".into() }, "\"auto\""),
    ];
    for (value, json) in values {
        assert_eq!(serde_json::to_string(&value).unwrap(), json);
    }
}
