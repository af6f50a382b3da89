use super::*;
use crate::SettingsError;
use proptest::prelude::*;
use std::fs;
use steadfast_shell::params::{ParamKind, Range, ShellDefaults, Value, resolve, table};

fn folder() -> (tempfile::TempDir, Profiles) {
    let folder = tempfile::tempdir().expect("folder");
    let profiles = Profiles::of(folder.path());
    fs::create_dir(profiles.folder()).expect("made");
    (folder, profiles)
}

fn write(profiles: &Profiles, name: &str, text: &str) {
    fs::write(profiles.path(name), text).expect("written");
}

/// The parameters that drivers usually have, as the built-in profiles are to suit them.
fn usual() -> Vec<ParamSpec> {
    let number = |name: &str, min: i64, max: i64, default: i64| {
        let mut spec = ParamSpec::new(name, ParamKind::I64);
        spec.range = Some(Range::Signed(min, max));
        spec.default = Some(Value::I64(default));
        spec
    };
    let mut scan = ParamSpec::new("lun_scan", ParamKind::Enum);
    scan.range = Some(Range::Choices(vec!["auto".into(), "manual".into()]));
    let own = [
        scan,
        number("failover_delay", -1, 3600, 30),
        number("fast_fail_delay", -1, 3600, 5),
        number("reconnect_delay", 1, 600, 10),
        number("target_queue_depth", 0, 65_535, 512),
        number("lun_queue_depth", 1, 1024, 32),
        number("connection_queue", 16, 1024, 128),
        number("io_queues", 0, 64, 0),
        number("keepalive_interval", 0, 600, 5),
        number("keepalive_timeout", 1, 600, 5),
    ];
    table(&own, ShellDefaults::default())
}

#[test]
fn every_built_in_profile_suits_the_usual_parameters_and_gives_reasons() {
    let (_folder, profiles) = folder();
    for name in BUILT_IN {
        let profile = profiles.get(name).expect("good");
        assert!(profile.path.is_none() && !profile.about.is_empty() && profile.values.len() > 5, "{name}");
        let table = usual();
        let fit = profile.for_table(&table);
        assert!(fit.missing.is_empty(), "{name}: {:?}", fit.missing);
        let given = fit.values.iter().map(|(n, v)| ((*n).to_owned(), v.value.clone())).collect();
        resolve(&table, &given).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        for (param, value) in &profile.values {
            assert!(value.why.len() > 10, "{name}: {param} has no reason");
            assert!(WELL_KNOWN.contains(&param.as_str()), "{name}: {param}");
            assert_eq!(value.source.to_string(), format!("profile {name}"));
        }
        // By the shell alone, under any driver, as well.
        let shell = table_of_shell();
        let fit = profile.for_table(&shell);
        let given = fit.values.iter().map(|(n, v)| ((*n).to_owned(), v.value.clone())).collect();
        resolve(&shell, &given).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert!(fit.values.len() >= 4 && !fit.missing.is_empty(), "{name}");
    }
}

fn table_of_shell() -> Vec<ParamSpec> {
    table(&[], ShellDefaults::default())
}

#[test]
fn a_profile_of_ones_own_extends_another_and_each_value_has_its_place_and_reason() {
    let (_folder, profiles) = folder();
    let text = "about = \"ours\"\nextends = \"oltp\"\n[params]\n# agreed with the owner\n# of the array\nio_throttle = 8\n\
                log_mask = 0xff # less noise\n";
    write(&profiles, "db", text);
    write(&profiles, "db2", "extends = \"db\"\n[params]\nlog_mask = 1\n");
    let profile = profiles.get("db2").expect("good");
    let value = |name: &str| {
        let v = &profile.values[name];
        let place = v.source.to_string();
        (v.value.clone(), v.why.clone(), place.rsplit('/').next().unwrap_or_default().to_owned())
    };
    let is = |value: &str, why: &str, place: &str| (value.to_owned(), why.to_owned(), place.to_owned());
    assert_eq!(value("io_throttle"), is("8", "agreed with the owner of the array", "db.toml:6"));
    assert_eq!(value("log_mask"), is("1", "", "db2.toml:3"));
    assert_eq!(value("io_slots").2, "profile oltp");
    assert_eq!((profile.extends.as_deref(), profile.about.as_str()), (Some("db"), ""));
    assert_eq!(profiles.names().expect("readable")[BUILT_IN.len()..], ["db", "db2"]);
}

#[test]
fn every_fault_has_its_line_and_what_is_allowed() {
    let (_folder, profiles) = folder();
    write(&profiles, "bad", "abuot = 1\nextends = 2\n[params]\nX = 1\nio_slots = 1.5\n");
    let faults = profiles.get("bad").expect_err("bad").to_string();
    let lines: Vec<&str> = faults.lines().map(|l| l.split("bad.toml:").nth(1).expect("its place")).collect();
    assert_eq!(
        lines,
        [
            "1: unknown: abuot (allowed about, extends and [params]; did you mean about?)",
            "2: extends=2 is not allowed (a profile's name, as a string)",
            "4: X is no parameter's name (allowed 1 to 64 lower-case letters, digits, '_' and '-', a letter first)",
            "5: io_slots=1.5 is not allowed (a string, an integer, true or false)",
        ]
    );
    write(&profiles, "a", "\nextends = \"b\"\n");
    write(&profiles, "b", "extends = \"a\"\n");
    let circle = profiles.get("a").expect_err("a circle").to_string();
    assert!(circle.ends_with("b.toml:1: extends itself: a -> b -> a"), "{circle}");
    write(&profiles, "c", "extends = \"oltb\"\n");
    let none = profiles.get("c").expect_err("none").to_string();
    assert!(
        none.ends_with("c.toml:1: extends=oltb: there is no such profile (did you mean oltp?)"),
        "{none}"
    );
    let none = profiles.get("streeming").expect_err("none").to_string();
    assert_eq!(none, "no profile streeming (did you mean streaming?)");
    assert!(matches!(profiles.get("../devices"), Err(SettingsError::Name { .. })));
}

#[test]
fn a_name_that_no_parameter_has_anywhere_is_a_fault_of_ones_own_and_one_of_another_driver_is_not() {
    let (_folder, profiles) = folder();
    write(&profiles, "db", "extends = \"backup\"\n[params]\nio_slot = 5\nfailover_delay = 3\ndeep = true\n");
    let profile = profiles.get("db").expect("good");
    let faults = profile.unknown_names(["direct"].into_iter());
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(faults[0].contains("db.toml:3: io_slot ") && faults[0].ends_with("did you mean io_slots?"));
    assert!(
        faults[1].ends_with("deep is no parameter of any driver here, nor one that drivers usually have")
    );
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert_eq!(profile.unknown_names(["deep", "io_slot"].into_iter()), []);
}

#[test]
fn a_built_ins_name_is_its_own_and_nothing_is_overwritten_unless_asked_for() {
    let (_folder, profiles) = folder();
    let mut new =
        NewProfile { name: "oltp".into(), from: "Saved from port a.".into(), ..NewProfile::default() };
    new.values = vec![("io_slots".into(), "512".into(), None), ("zone".into(), "a\"b".into(), None)];
    assert!(matches!(profiles.save(&new, true), Err(SettingsError::BuiltIn { .. })));
    new.name = "mine".into();
    new.about = Some("for \"us\"".into());
    let path = profiles.save(&new, false).expect("saved");
    let text = fs::read_to_string(&path).expect("there");
    assert_eq!(
        text,
        "# Saved from port a.\nabout = \"for \\\"us\\\"\"\n\n[params]\nio_slots = 512\nzone = \"a\\\"b\"\n"
    );
    let refused = profiles.save(&new, false).expect_err("it is there").to_string();
    assert!(refused.starts_with("profile mine is there already, in "), "{refused}");
    new.about = None;
    new.values.pop();
    profiles.save(&new, true).expect("replaced");
    let again = profiles.get("mine").expect("good");
    assert_eq!((again.about.as_str(), again.values.len()), ("for \"us\"", 1), "what it is for stays");
    // A file of a built-in's name: neither is taken for the other.
    write(&profiles, "backup", "[params]\nio_slots = 256\n");
    let refused = profiles.get("backup").expect_err("two of one name").to_string();
    assert!(refused.contains("backup.toml: backup is a profile that comes with steadfast"), "{refused}");
    assert_eq!(profiles.names().expect("readable").iter().filter(|n| *n == "backup").count(), 1);
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "(about|extends|params|[a-z0-9_=\\[\\]\"'# \n{}.,-]|\\PC){0,120}") {
        let path = std::path::Path::new("p.toml");
        let lines = text.matches('\n').count() as u32 + 1;
        match Profiles::of(std::path::Path::new("/nowhere")).parse("p", path, &text) {
            Err(SettingsError::Faults(faults)) => {
                prop_assert!(faults.0.iter().all(|fault| (1..=lines).contains(&fault.line)));
            }
            other => drop(other.expect("a profile")),
        }
    }
}
