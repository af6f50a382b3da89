//! State that goes from driver to driver: looked at, checked, and parameters that change with it.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_runtime::UpdateOptions;
use steadfast_shell::receipt::{Outcome, Receipt};
use steadfast_shell::state::{StateValue, read};
use support::Bench;

/// Says that its state is a map.
const TYPED: &str = "STATE=\"cbor\"";

fn update(bench: &Bench, defines: &[&str]) -> Receipt {
    let module = bench.trouble(defines);
    bench.engine.update("vol0", &module, &UpdateOptions::default())
}

#[test]
fn the_state_of_a_live_driver_is_read_under_load() {
    let bench = Bench::new(2);
    let path = bench.dir.path().join("disk.img");
    std::fs::File::create(&path).expect("file").set_len(4 << 20).expect("size");
    let path = path.display().to_string();
    bench.attach("vol0", "file_1_1", &[("path", &path)], Some(2));
    let load = bench.load("vol0", 2, 16);
    for _ in 0..20 {
        load.pass(50);
        let states = bench.engine.save_state("vol0").expect("state");
        let schemas: Vec<&str> = states.iter().map(|s| s.schema.as_str()).collect();
        assert_eq!(schemas, ["file/2", "file/1"]);
        let Ok(StateValue::Map(fields)) = read(&states[0].bytes) else { panic!("{states:?}") };
        let size = fields.iter().find(|(name, _)| *name == "size").map(|(_, value)| value.clone());
        assert_eq!(size, Some(StateValue::Unsigned(4 << 20)));
    }
    let last = bench.engine.update("vol0", &bench.stage("file_1_1"), &UpdateOptions::default());
    assert_eq!(last.outcome, Outcome::Done, "looking at the state has changed none of it: {last:?}");
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_driver_without_save_state_is_named() {
    let bench = Bench::new(1);
    let module = bench.trouble(&[]);
    bench.attach_trouble("vol0", &module, 1);
    let error = bench.engine.save_state("vol0").expect_err("it cannot");
    assert!(error.to_string().contains("trouble 1.0.0 cannot write its state"), "{error}");
    bench.attach("plain", "null", &[("size", "1M")], None);
    assert_eq!(bench.engine.save_state("plain").expect("none"), Vec::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn damaged_state_is_not_handed_on() {
    let bench = Bench::new(1);
    // A map of five entries that ends after the first byte.
    let module = bench.trouble(&[TYPED, "MARK=0xa5"]);
    bench.attach_trouble("vol0", &module, 1);
    let load = bench.load("vol0", 1, 8);
    load.pass(50);
    let receipt = update(&bench, &[]);
    assert_eq!(receipt.outcome, Outcome::RolledBack);
    assert!(receipt.reason.contains("state trouble/1") && receipt.reason.contains("damaged"), "{receipt:?}");
    load.pass(50);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn state_that_does_not_claim_to_be_a_map_is_handed_on_whatever_it_looks_like() {
    let bench = Bench::new(1);
    let module = bench.trouble(&["MARK=0xa5"]);
    bench.attach_trouble("vol0", &module, 1);
    assert_eq!(update(&bench, &["SAVES_STATE"]).outcome, Outcome::Done);
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_driver_that_has_lost_a_part_of_the_state_does_not_come_to_serve() {
    let bench = Bench::new(1);
    // {} is handed on; what the candidate would write is a map that is damaged, or no map at all.
    let module = bench.trouble(&[TYPED, "MARK=0xa0"]);
    bench.attach_trouble("vol0", &module, 1);
    let load = bench.load("vol0", 1, 8);
    for (mark, why) in [("MARK=0xa5", "damaged"), ("MARK=1", "no map")] {
        load.pass(50);
        let receipt = update(&bench, &[TYPED, "SAVES_STATE", mark]);
        assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:?}");
        assert!(receipt.reason.contains(why), "{}", receipt.reason);
    }
    assert_eq!(update(&bench, &[TYPED, "SAVES_STATE", "MARK=0xa0"]).outcome, Outcome::Done);
    load.pass(50);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn parameters_given_with_an_update_change_only_when_it_succeeds() {
    let bench = Bench::new(1);
    let module = bench.trouble(&[]);
    bench.attach_trouble("vol0", &module, 1);
    let given = |name: &str| bench.engine.port("vol0").expect("port").params.get(name).cloned();
    let before = given("gate");
    let opts = |value: Option<&str>| UpdateOptions {
        params: BTreeMap::from([("gate".to_owned(), value.map(str::to_owned))]),
        ..UpdateOptions::default()
    };
    let refused = bench.engine.update("vol0", &bench.trouble(&["FAIL_CONNECT"]), &opts(Some("/elsewhere")));
    assert_eq!((refused.outcome, given("gate")), (Outcome::RolledBack, before));
    let done = bench.engine.update("vol0", &module, &opts(Some("/elsewhere")));
    assert_eq!((done.outcome, given("gate").as_deref()), (Outcome::Done, Some("/elsewhere")));
    let unknown = UpdateOptions {
        params: BTreeMap::from([("gait".to_owned(), Some("1".to_owned()))]),
        ..UpdateOptions::default()
    };
    let receipt = bench.engine.update("vol0", &module, &unknown);
    assert_eq!(receipt.outcome, Outcome::Refused);
    assert!(receipt.reason.contains("gait"), "{}", receipt.reason);
    assert_eq!(bench.engine.update("vol0", &module, &opts(None)).outcome, Outcome::Done);
    assert_eq!(given("gate"), None, "undefined again");
    bench.engine.stop(Duration::from_secs(10));
}
