//! The manifest: what it means, and what is said of a wrong one.

use proptest::prelude::*;
use steadfast_abi::block_feature;
use steadfast_shell::manifest::{Class, Manifest, ManifestError, Memory, PduSpec, Schema};
use steadfast_shell::params::{ActivationClass, ParamKind, Range, Scope, Value};

const LEAST: [&str; 5] = ["manifest=1", "name=test", "version=1.2.3", "class=block", "abi=1.0"];

fn section<S: AsRef<str>>(entries: &[S]) -> Vec<u8> {
    entries.iter().flat_map(|entry| [entry.as_ref().as_bytes(), b"\0"].concat()).collect()
}

/// The least manifest with more entries; one whose key it has already takes its place.
fn with(more: &[&str]) -> Result<Manifest, ManifestError> {
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let replaced = |entry: &&&str| !more.iter().any(|other| key(other) == key(entry));
    let entries: Vec<&str> = LEAST.iter().filter(replaced).chain(more).copied().collect();
    Manifest::parse(&section(&entries))
}

fn schema(text: &str) -> Schema {
    text.parse().unwrap()
}

#[test]
fn the_least_manifest_has_the_defaults_of_the_format() {
    let m = with(&[]).unwrap();
    assert_eq!((m.name.as_str(), m.version.to_string().as_str(), m.abi), ("test", "1.2.3", (1, 0)));
    assert_eq!((m.class, m.ops, m.port_ops, m.features), (Class::Block, 1, 0, 0));
    assert_eq!((m.memory_port, m.memory_queue), (Memory::default(), Memory::default()));
    assert_eq!((m.pdu, m.min_from, m.about), (None, None, String::new()));
    assert!(m.hwids.is_empty() && m.params.is_empty() && m.state_read.is_empty() && m.extra.is_empty());
}

#[test]
fn every_key_means_what_the_format_says() {
    let m = with(&[
        "about=reads = and writes",
        "hwid=file:regular",
        "hwid=pci:1af4:*@1-3",
        "state.write=file/2",
        "state.write=file/1",
        "state.read=file/2",
        "pdu=file.pdu/1:64",
        "pdu.adopt=old/9",
        "memory.port=4096:65536",
        "memory.queue=0:4096",
        "ops=0",
        "port-ops=1024",
        "feature=fua",
        "feature=flush",
        "min_from=1.0.0",
        "x-build=abc=d",
        "x-build=again",
    ])
    .unwrap();
    assert_eq!(m.about, "reads = and writes");
    assert!(m.serves("file:regular", 7) && m.serves("pci:1af4:9", 3) && !m.serves("pci:1af4:9", 4));
    assert_eq!(m.state_write, [schema("file/2"), schema("file/1")]);
    assert_eq!(m.state_read, [schema("file/2")]);
    assert_eq!(m.pdu, Some(PduSpec { schema: schema("file.pdu/1"), size: 64 }));
    assert_eq!(m.pdu_adopt, [schema("old/9")]);
    assert_eq!(m.memory_port, Memory { needed: 4096, wanted: 65536 });
    assert_eq!((m.ops, m.port_ops), (0, 1024));
    assert_eq!(m.features, block_feature::FUA | block_feature::FLUSH);
    assert_eq!(m.feature_names(), ["flush", "fua"]);
    assert_eq!(m.min_from.unwrap().to_string(), "1.0.0");
    let extra = [("x-build", "abc=d"), ("x-build", "again")];
    assert_eq!(m.extra, extra.map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn parameters_are_described_in_any_order() {
    let m = with(&[
        "param.depth.default=0x10",
        "param.path=path",
        "param.depth.range=1..=64",
        "param.depth=u32",
        "param.path.required=true",
        "param.depth.class=live",
        "param.depth.scope=adapter",
        "param.depth.unit=requests",
        "param.depth.help=how many",
        "param.mode=enum",
        "param.mode.range=direct,buffered",
        "param.mode.default=buffered",
    ])
    .unwrap();
    let [depth, path, mode] = m.params.as_slice() else { panic!("{:?}", m.params) };
    assert_eq!((depth.name.as_str(), depth.kind), ("depth", ParamKind::U32));
    assert_eq!(depth.range, Some(Range::Unsigned(1, 64)));
    assert_eq!(depth.default, Some(Value::U64(16)));
    assert_eq!((depth.class, depth.scope), (ActivationClass::Live, Scope::Adapter));
    assert_eq!((depth.unit.as_str(), depth.help.as_str()), ("requests", "how many"));
    assert_eq!((path.required, path.class, path.scope), (true, ActivationClass::Reinit, Scope::Port));
    assert_eq!(mode.default, Some(Value::Enum { index: 1, text: "buffered".into() }));
}

#[test]
fn padding_between_entries_is_nothing() {
    let mut padded = b"\0\0".to_vec();
    for entry in LEAST {
        padded.extend_from_slice(entry.as_bytes());
        padded.extend_from_slice(b"\0\0\0\0");
    }
    assert_eq!(Manifest::parse(&padded).unwrap(), with(&[]).unwrap());
}

#[test]
fn what_is_wrong_is_named() {
    let cases: &[(&[&str], &str)] = &[
        (&["manifest=2"], "manifest=2 (this reader knows manifest=1)"),
        (&["manifest=2", "later-key=1"], "manifest=2 (this reader knows manifest=1)"),
        (&["nmae=x"], "unknown key nmae (did you mean name?)"),
        (&["quux=x"], "unknown key quux"),
        (&["name=one", "name=two"], "name stands twice"),
        (&["Name=x"], "unknown key Name (did you mean name?)"),
        (&["name=Big"], "name=Big (allowed: 1 to 32 lower-case letters"),
        (&["name=devices"], "name=devices (allowed: any other name: devices, instances and profiles are"),
        (&["name=instances"], "name=instances (allowed: any other name"),
        (&["name=profiles"], "name=profiles (allowed: any other name"),
        (&["name="], "name=\"\" (allowed"),
        (&["name=abcdefghijklmnopqrstuvwxyz-0123456"], "(allowed: 1 to 32"),
        (&["version=1.0"], "version=1.0 (allowed: a semantic version, MAJOR.MINOR.PATCH;"),
        (&["class=tape"], "class=tape (allowed: block)"),
        (&["abi=1"], "abi=1 (allowed: MAJOR.MINOR"),
        (&["abi=1.70000"], "abi=1.70000 (allowed: MAJOR.MINOR"),
        (&["abi=1.-1"], "abi=1.-1"),
        (&["about=two\nlines"], "about=\"two\\nlines\" (allowed: one line"),
        (&["hwid=file"], "hwid=file (allowed: BUS:ID"),
        (&["state.read=file"], "state.read=file (allowed: NAME/N"),
        (&["state.read=file/01"], "state.read=file/01 (allowed"),
        (&["state.read=file/4294967296"], "(allowed: NAME/N"),
        (&["state.write=a/1", "state.write=a/1"], "state.write=a/1 stands twice"),
        (&["pdu=a/1"], "pdu=a/1 (allowed: SCHEMA:BYTES"),
        (&["pdu=a/1:4294967296"], "(allowed: SCHEMA:BYTES"),
        (&["memory.port=2:1"], "memory.port=2:1 (allowed: NEEDED:WANTED, bytes, NEEDED not above WANTED)"),
        (&["memory.queue=4K:8K"], "memory.queue=4K:8K"),
        (&["ops=17"], "ops=17 (allowed: 0..=16)"),
        (&["port-ops=1025"], "port-ops=1025 (allowed: 0..=1024)"),
        (&["feature=fast"], "feature=fast (allowed: flush, fua, trim"),
        (&["feature=fua", "feature=fua"], "feature=fua stands twice"),
        (&["min_from=1.2.4"], "min_from=1.2.4 (allowed: at most the driver's own version, 1.2.3)"),
        (&["param.a=float"], "param.a=float (allowed: bool, u32"),
        (&["param.=u32"], "param=\"\" (allowed: 1 to 64"),
        (&["param.A=u32"], "param=A (allowed: 1 to 64"),
        (&["param.a.help=x"], "there is no param.a"),
        (&["param.a=u32", "param.a.defautl=1"], "param.a.defautl (did you mean param.a.default?)"),
        (&["param.a=u32", "param.a.range.b=1"], "unknown key param.a.range.b"),
        (&["param.a=u32", "param.a=u64"], "param.a stands twice"),
        (
            &["param.a=u32", "param.a.range=5..=1"],
            "param.a.range=5..=1 (allowed: MIN..=MAX with MIN not above",
        ),
        (&["param.a=u32", "param.a.range=1..2"], "(allowed: MIN..=MAX"),
        (&["param.a=u32", "param.a.range=0..=4294967296"], "both of kind u32"),
        (&["param.a=bool", "param.a.range=0..=1"], "a bool parameter has none"),
        (&["param.a=enum"], "there is no param.a.range"),
        (&["param.a=enum", "param.a.range=x,,y"], "words of letters"),
        (&["param.a=enum", "param.a.range=x,x"], "x is there twice"),
        (
            &["param.a=u32", "param.a.range=1..=9", "param.a.default=10"],
            "param.a.default=10 (allowed: 1..=9)",
        ),
        (&["param.a=u32", "param.a.default=1", "param.a.required=true"], "not beside a default"),
        (&["param.a=u32", "param.a.required=maybe"], "(allowed: true, false)"),
        (&["param.a=u32", "param.a.class=soon"], "(allowed: live, reinit, reload)"),
        (&["param.a=u32", "param.a.scope=all"], "(allowed: port, adapter)"),
        (&["just words"], "the entry \"just words\" is not KEY=VALUE"),
    ];
    for (entries, words) in cases {
        let message = with(entries).expect_err(words).to_string();
        assert!(message.starts_with("manifest: ") && message.contains(words), "{message:?} / {words:?}");
    }
}

#[test]
fn every_required_key_is_missed_by_name() {
    for missing in LEAST {
        let rest: Vec<&str> = LEAST.into_iter().filter(|entry| *entry != missing).collect();
        let key = missing.split('=').next().unwrap();
        let error = Manifest::parse(&section(&rest)).unwrap_err();
        assert_eq!(error, ManifestError::Missing { key: key.to_owned() });
    }
}

#[test]
fn what_is_no_manifest_text_is_refused() {
    let parse = |bytes: &[u8]| Manifest::parse(bytes).unwrap_err();
    assert_eq!(parse(b""), ManifestError::Size { bytes: 0 });
    assert_eq!(parse(&[0; 65_537]), ManifestError::Size { bytes: 65_537 });
    assert_eq!(parse(&[0; 65_536]), ManifestError::Missing { key: "manifest".into() });
    assert_eq!(parse(b"a=1\0\xff\0"), ManifestError::NotText { at: 4 });
    assert_eq!(parse(b"a=1\0b=2"), ManifestError::Unterminated { entry: "b=2".into() });
}

#[test]
fn lists_are_bounded() {
    let entries = |count: u32| -> Vec<String> {
        let all = LEAST.into_iter().map(str::to_owned);
        all.chain((0..count).map(|n| format!("state.read=a/{n}"))).collect()
    };
    assert!(Manifest::parse(&section(&entries(256))).is_ok());
    let error = Manifest::parse(&section(&entries(257))).unwrap_err();
    assert_eq!(error, ManifestError::TooMany { key: "state.read".into() });
}

#[test]
fn memory_is_granted_as_wanted_or_as_there_is() {
    let memory = Memory { needed: 10, wanted: 20 };
    assert_eq!(
        [9, 10, 15, 20, 30].map(|there| memory.grant(there)),
        [None, Some(10), Some(15), Some(20), Some(20)]
    );
}

#[test]
fn a_manifest_in_json_reads_as_people_write_it() {
    let m =
        with(&["pdu=p/1:8", "hwid=a:b@1-2", "param.s=size", "param.s.range=4K..=1M", "param.s.default=8K"])
            .unwrap();
    let json = serde_json::to_value(&m).unwrap();
    assert_eq!(json["pdu"]["schema"], "p/1");
    assert_eq!(json["hwids"][0], "a:b@1-2");
    assert_eq!(json["class"], "block");
    assert_eq!(json["version"], "1.2.3");
    assert_eq!(json["params"][0]["default"], 8192);
    assert_eq!(json["params"][0]["range"], "4096..=1048576");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Manifest::parse(&bytes);
    }

    /// Entries that are nearly right, in any number and order, have an answer in one line.
    #[test]
    fn near_misses_have_an_answer_in_one_line(
        entries in prop::collection::vec("(param\\.a(\\.range|\\.default|\\.required)?|ops|pdu|abi|hwid|memory\\.port|name)=[0-9a-z/:.,=-]{0,12}", 0..12),
    ) {
        let all: Vec<String> = LEAST.into_iter().map(str::to_owned).chain(entries).collect();
        if let Err(error) = Manifest::parse(&section(&all)) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn order_means_nothing(order in Just(vec![
        "manifest=1", "name=t", "version=1.0.0", "class=block", "abi=1.0", "param.a.default=3", "param.a=u32",
        "param.a.range=1..=4", "ops=2", "feature=fua", "pdu=a/1:8",
    ]).prop_shuffle()) {
        let manifest = Manifest::parse(&section(&order)).unwrap();
        prop_assert_eq!((manifest.ops, manifest.features), (2, block_feature::FUA));
        prop_assert_eq!(manifest.params[0].default.clone(), Some(Value::U64(3)));
    }

    #[test]
    fn schemas_print_as_they_are_read(text in "[a-z0-9._-]{1,64}/(0|[1-9][0-9]{0,8})") {
        prop_assert_eq!(text.parse::<Schema>().unwrap().to_string(), text);
    }
}
