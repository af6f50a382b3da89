//! One port is initialised anew with other properties: under load, beside others, and when it goes wrong.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use steadfast_runtime::{ActivateOptions, PortSpec};
use steadfast_shell::activation::Step;
use steadfast_shell::properties::{Definition, Definitions, Source};
use steadfast_shell::receipt::{Kind, Outcome, Receipt};
use support::Bench;

/// Ports under the driver in `live.c`, whose parameter `fixed` takes effect at an attach.
fn attach(bench: &Bench, names: &[&str], queues: usize, params: &[(&str, &str)]) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = bench.dir.path().join("live.so");
    let built = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-shared", "-fPIC", "-O2", "-D_GNU_SOURCE", "-fvisibility=hidden"])
        .arg("-I")
        .arg(here.join("../abi/include"))
        .arg(here.join("tests/live.c"))
        .arg("-o")
        .arg(&output)
        .status();
    assert!(built.expect("the C compiler").success());
    let module = Arc::new(bench.store.stage(&output).expect("staged").load().expect("loaded"));
    for name in names {
        let params: BTreeMap<String, String> =
            params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let spec = PortSpec {
            name: (*name).into(),
            module: module.clone(),
            params,
            queues: Some(queues),
            adapter: None,
        };
        bench.engine.attach(spec).expect("attached");
    }
}

fn set(pairs: &[(&str, &str)]) -> Result<Definitions, String> {
    let source = Source::File { path: "live.toml".into(), line: 7 };
    let define = |(name, value): &(&str, &str)| {
        ((*name).to_owned(), Definition { value: (*value).to_owned(), source: source.clone() })
    };
    Ok(pairs.iter().map(define).collect())
}

fn activate(bench: &Bench, pairs: &[(&str, &str)], idle_only: bool) -> Receipt {
    let opts = ActivateOptions { idle_only, ..ActivateOptions::default() };
    bench.engine.activate("vol0", || set(pairs), &opts)
}

fn value(bench: &Bench, name: &str) -> Option<String> {
    let info = bench.engine.port("vol0").expect("port");
    info.parameters.into_iter().find(|p| p.name == name).expect("parameter").value
}

fn steps(receipt: &Receipt) -> Vec<Step> {
    receipt.properties.as_ref().expect("a report").steps.iter().map(|s| s.step).collect()
}

#[test]
fn one_port_changes_under_load_and_the_others_do_not_notice() {
    for queues in [1, 3] {
        let bench = Bench::new(queues);
        attach(&bench, &["vol0", "vol1", "vol2"], queues, &[]);
        let loads = ["vol0", "vol1", "vol2"].map(|name| bench.load(name, queues, 16));
        for round in 0..20 {
            let fixed = if round % 2 == 0 { "true" } else { "false" };
            let receipt = activate(&bench, &[("fixed", fixed), ("delay", "5000")], false);
            assert_eq!(receipt.outcome, Outcome::Done, "{receipt:#?}");
            assert_eq!(receipt.kind, Kind::Activation);
            assert_eq!(receipt.generation_after, receipt.generation_before + 1);
            assert_eq!(value(&bench, "fixed").as_deref(), Some(fixed));
            let info = bench.engine.port("vol0").expect("port");
            assert_eq!(info.properties["fixed"].source.to_string(), "live.toml:7");
            assert_eq!(info.swaps, 0, "the driver was not replaced");
            loads[0].pass(100);
        }
        for other in ["vol1", "vol2"] {
            assert_eq!(bench.engine.port(other).expect("port").generation, 1, "{other}");
        }
        for load in loads {
            assert_eq!(load.stop(), Vec::<String>::new());
        }
    }
}

#[test]
fn the_steps_are_in_the_receipt_and_what_is_not_defined_any_more_is_a_default() {
    let bench = Bench::new(1);
    attach(&bench, &["vol0"], 1, &[("fixed", "true"), ("delay", "7000")]);
    let receipt = activate(&bench, &[("delay", "8000")], false);
    use Step::*;
    assert_eq!(
        steps(&receipt),
        [Parse, Collect, Stamp, Clear, Undefine, Define, Delay, Block, Reinit, Compare, Unblock]
    );
    let report = receipt.properties.expect("a report");
    assert_eq!(report.steps[1].detail, "load-time: delay, fixed");
    assert!(report.stamp_after.is_newer_than(report.stamp_before));
    let changed: Vec<&str> = report.changes.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(changed, ["delay", "fixed"]);
    assert_eq!(value(&bench, "fixed").as_deref(), Some("false"), "undefined: the driver's default");
    let info = bench.engine.port("vol0").expect("port");
    assert_eq!(info.load_time.len(), 2, "load-time properties are indelible");
}

#[test]
fn idle_only_is_busy_under_any_load_and_always_done_without() {
    let bench = Bench::new(2);
    attach(&bench, &["vol0"], 2, &[]);
    let load = bench.load("vol0", 1, 1);
    load.pass(10);
    for _ in 0..5 {
        let receipt = activate(&bench, &[("fixed", "true")], true);
        assert_eq!(receipt.outcome, Outcome::Busy, "{receipt:#?}");
        assert_eq!(receipt.generation_after, receipt.generation_before);
        assert_eq!(value(&bench, "fixed").as_deref(), Some("false"), "nothing was changed");
        assert!(receipt.reason.contains("vol0 is busy"), "{}", receipt.reason);
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    for _ in 0..5 {
        assert_eq!(activate(&bench, &[("fixed", "true")], true).outcome, Outcome::Done);
    }
}

#[test]
fn a_set_that_would_not_do_changes_nothing_and_says_all_that_is_wrong() {
    let bench = Bench::new(1);
    attach(&bench, &["vol0"], 1, &[("fixed", "true")]);
    let receipt = activate(&bench, &[("delay", "1"), ("fixd", "true")], false);
    assert_eq!(receipt.outcome, Outcome::Refused);
    assert!(receipt.reason.contains("delay=1 (allowed 1000..=100000000)"), "{}", receipt.reason);
    assert!(receipt.reason.contains("did you mean fixed?"), "{}", receipt.reason);
    let unreadable =
        bench.engine.activate("vol0", || Err("live.toml:3: no".into()), &ActivateOptions::default());
    assert_eq!((unreadable.outcome, unreadable.reason.as_str()), (Outcome::Refused, "live.toml:3: no"));
    assert_eq!(value(&bench, "fixed").as_deref(), Some("true"));
    assert_eq!(bench.engine.port("vol0").expect("port").generation, 1);
}

#[test]
fn a_driver_that_cannot_attach_with_the_new_set_serves_with_the_previous_one() {
    let bench = Bench::new(1);
    let disk = bench.dir.path().join("disk.img");
    std::fs::File::create(&disk).and_then(|f| f.set_len(1 << 20)).expect("a disk");
    let path = disk.display().to_string();
    bench.attach("vol0", "file_1_1", &[("path", &path)], None);
    let load = bench.load("vol0", 1, 8);
    load.pass(50);
    let missing = bench.dir.path().join("missing.img").display().to_string();
    for _ in 0..3 {
        let receipt = activate(&bench, &[("path", &missing)], false);
        assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:#?}");
        assert!(receipt.reason.contains("missing.img"), "{}", receipt.reason);
        assert_eq!(receipt.generation_after, receipt.generation_before);
        let taken = steps(&receipt);
        assert_eq!(taken[taken.len() - 2..], [Step::Restore, Step::Unblock]);
        let info = bench.engine.port("vol0").expect("port");
        assert_eq!(info.params["path"], path);
        load.pass(50);
    }
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn what_is_said_after_the_configuration_was_read_is_not_overwritten() {
    let bench = Bench::new(1);
    attach(&bench, &["vol0"], 1, &[]);
    let read_and_then_changed = || {
        let read = set(&[("fixed", "true"), ("delay", "7000")]);
        let change = BTreeMap::from([("delay".to_owned(), Some("5000".to_owned()))]);
        bench.engine.set_param("vol0", &change, "somebody else").expect("live");
        read
    };
    let receipt = bench.engine.activate("vol0", read_and_then_changed, &ActivateOptions::default());
    assert_eq!(receipt.outcome, Outcome::Refused, "{receipt:#?}");
    assert!(receipt.reason.contains("port vol0 were changed after"), "{}", receipt.reason);
    assert_eq!((receipt.generation_after, value(&bench, "delay")), (1, Some("5000".into())));
    let again = activate(&bench, &[("fixed", "true"), ("delay", "5000")], false);
    assert_eq!((again.outcome, again.generation_after), (Outcome::Done, 2), "{again:#?}");
}

#[test]
fn a_live_change_of_something_else_stays_and_ends_no_activation() {
    let bench = Bench::new(1);
    attach(&bench, &["vol0"], 1, &[]);
    let read_and_then_changed = || {
        let read = set(&[("fixed", "true")]);
        let change = BTreeMap::from([("delay".to_owned(), Some("5000".to_owned()))]);
        bench.engine.set_param("vol0", &change, "somebody else").expect("live");
        read
    };
    let receipt = bench.engine.activate("vol0", read_and_then_changed, &ActivateOptions::default());
    assert_eq!((receipt.outcome, receipt.generation_after), (Outcome::Done, 2), "{receipt:#?}");
    assert_eq!(value(&bench, "delay").as_deref(), Some("5000"), "the younger one is not overwritten");
    assert_eq!(value(&bench, "fixed").as_deref(), Some("true"));
    let info = bench.engine.port("vol0").expect("port");
    assert_eq!(info.properties["delay"].source.to_string(), "command by somebody else");
    let report = receipt.properties.expect("a report");
    assert!(report.steps.iter().any(|s| s.detail.contains("set since: delay")), "{:#?}", report.steps);
    assert_eq!(report.after["delay"].value, "5000");
}

#[test]
fn a_port_that_goes_away_during_the_delay_ends_it() {
    let bench = Bench::new(1);
    attach(&bench, &["vol0"], 1, &[]);
    let engine = bench.engine.clone();
    let opts = ActivateOptions { delay: Duration::from_secs(60), ..ActivateOptions::default() };
    let waiting = std::thread::spawn(move || engine.activate("vol0", || set(&[("fixed", "true")]), &opts));
    bench.engine.detach("vol0", false).expect("nobody uses it");
    let receipt = waiting.join().expect("no panic");
    assert_eq!(receipt.outcome, Outcome::Refused, "{receipt:#?}");
}
