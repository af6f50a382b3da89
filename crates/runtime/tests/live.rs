//! Parameters that change under load: the port is held while the driver is told, all of a set or none
//! takes effect, and what was set stays through updates.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use steadfast_loader::StagedModule;
use steadfast_runtime::{EngineError, ErrorKind, ParamReport, PortSpec, PortState, UpdateOptions};
use steadfast_shell::receipt::Outcome;
use support::Bench;

fn build(bench: &Bench, defines: &[&str]) -> StagedModule {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = bench.dir.path().join(format!("live{}.so", defines.join("-")));
    let built = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-shared", "-fPIC", "-O2", "-D_GNU_SOURCE", "-fvisibility=hidden"])
        .args(defines.iter().map(|d| format!("-D{d}")))
        .arg("-I")
        .arg(here.join("../abi/include"))
        .arg(here.join("tests/live.c"))
        .arg("-o")
        .arg(&output)
        .status();
    assert!(built.expect("the C compiler").success());
    bench.store.stage(&output).expect("staged")
}

fn attach(bench: &Bench, module: &StagedModule, queues: usize) {
    let module = Arc::new(module.load().expect("loaded"));
    let spec = PortSpec {
        name: "vol0".into(),
        module,
        params: BTreeMap::new(),
        queues: Some(queues),
        adapter: None,
    };
    bench.engine.attach(spec).expect("attached");
}

fn set(bench: &Bench, changes: &[(&str, Option<&str>)]) -> Result<ParamReport, EngineError> {
    let changes = changes.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
    bench.engine.set_param("vol0", &changes, "a test")
}

fn value(bench: &Bench, name: &str) -> (Option<String>, bool) {
    let info = bench.engine.port("vol0").expect("port");
    let found = info.parameters.into_iter().find(|p| p.name == name).expect("parameter");
    (found.value, found.given)
}

#[test]
fn values_change_under_load_on_every_queue_and_stay_through_updates() {
    for queues in [1, 3] {
        let bench = Bench::new(queues);
        let module = build(&bench, &[]);
        attach(&bench, &module, queues);
        let load = bench.load("vol0", queues * 2, 16);
        for round in 0..20 {
            let delay = (1000 + round * 1000).to_string();
            let report = set(&bench, &[("delay", Some(&delay)), ("even", Some("2"))]).expect("changed");
            assert_eq!(report.changed[0].after.as_deref(), Some(delay.as_str()), "{report:?}");
            assert!(report.pause_ns > 0);
            load.pass(50);
        }
        let updated = bench.engine.update("vol0", &module, &UpdateOptions::default());
        assert_eq!(updated.outcome, Outcome::Done, "{updated:?}");
        assert_eq!(value(&bench, "delay"), (Some("20000".into()), true));
        let back = set(&bench, &[("delay", None), ("even", None)]).expect("changed");
        assert_eq!(back.changed.len(), 2, "{back:?}");
        assert_eq!(value(&bench, "delay"), (Some("100000".into()), false));
        assert_eq!(value(&bench, "even"), (None, false));
        load.pass(50);
        assert_eq!(load.stop(), Vec::<String>::new());
        let info = bench.engine.port("vol0").expect("port");
        assert_eq!((info.state, info.generation, info.held), (PortState::Running, 2, 0));
        bench.engine.stop(Duration::from_secs(10));
    }
}

#[test]
fn a_refused_value_takes_the_others_back_with_it() {
    let bench = Bench::new(2);
    attach(&bench, &build(&bench, &[]), 2);
    let load = bench.load("vol0", 2, 8);
    set(&bench, &[("delay", Some("5000"))]).expect("changed");
    let refused = set(&bench, &[("delay", Some("6000")), ("even", Some("3"))]).expect_err("odd");
    assert_eq!(refused.kind(), ErrorKind::Driver);
    let text = refused.to_string();
    assert!(text.contains("port vol0: even=3 is refused: live 1.0.0: param_changed"), "{text}");
    assert!(!text.contains("go back"), "the driver has the old values again: {text}");
    assert_eq!(value(&bench, "delay"), (Some("5000".into()), true));
    assert_eq!(value(&bench, "even"), (None, false));
    load.pass(50);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn what_cannot_be_set_is_named_with_what_is_allowed() {
    let bench = Bench::new(1);
    attach(&bench, &build(&bench, &[]), 1);
    let invalid = |changes: &[(&str, Option<&str>)]| {
        let e = set(&bench, changes).expect_err("refused");
        assert_eq!(e.kind(), ErrorKind::Invalid);
        e.to_string()
    };
    assert!(invalid(&[("delay", Some("7"))]).contains("out of range: delay=7 (allowed 1000..=100000000)"));
    assert!(invalid(&[("dleay", Some("7"))]).contains("unknown parameter: dleay (did you mean delay?)"));
    let fixed = invalid(&[("fixed", Some("true")), ("delay", Some("2000"))]);
    assert!(fixed.contains("not live: fixed=true") && fixed.contains("delay, even, gate"), "{fixed}");
    assert_eq!(value(&bench, "delay"), (Some("100000".into()), false), "nothing of the set was made");
    let gone = bench.engine.set_param("vol7", &BTreeMap::new(), "a test").expect_err("no port");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    bench.engine.detach("vol0", false).expect("idle");
    attach(&bench, &build(&bench, &["DEAF"]), 1);
    let deaf = set(&bench, &[("even", Some("4"))]).expect_err("no entry point");
    assert!(deaf.to_string().contains("param_changed is missing"), "{deaf}");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_driver_that_does_not_return_keeps_the_port_to_itself_until_it_does() {
    let bench = Bench::new(2);
    let module = build(&bench, &[]);
    attach(&bench, &module, 2);
    let gate = bench.dir.path().join("gate");
    std::fs::write(&gate, "").expect("written");
    let stuck = set(&bench, &[("gate", Some(&gate.display().to_string()))]).expect_err("it hangs");
    assert_eq!(stuck.kind(), ErrorKind::Unresponsive, "{stuck}");
    let busy = set(&bench, &[("delay", Some("2000"))]).expect_err("busy");
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
    let update = bench.engine.update("vol0", &module, &UpdateOptions::default());
    assert_eq!(update.outcome, Outcome::Busy, "{update:?}");
    assert!(update.reason.contains("param_changed"), "{}", update.reason);
    std::fs::remove_file(&gate).expect("removed");
    let load = bench.load("vol0", 2, 8);
    load.pass(100);
    assert_eq!(value(&bench, "gate").0, Some(gate.display().to_string()), "it has taken the value");
    // It has the value before it is out of the call that brought it.
    let begin = std::time::Instant::now();
    while let Err(e) = set(&bench, &[("delay", Some("2000"))]) {
        assert!(
            e.kind() == ErrorKind::Busy && begin.elapsed() < Duration::from_secs(30),
            "not free again: {e}"
        );
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_driver_in_rust_takes_its_live_parameter_and_its_next_release_has_it() {
    let bench = Bench::new(1);
    bench.attach("vol0", "null", &[("size", "1M")], None);
    let fixed = set(&bench, &[("size", Some("2M"))]).expect_err("reinit");
    assert!(fixed.to_string().contains("(live parameters: zeroes, io_throttle, "), "{fixed}");
    set(&bench, &[("zeroes", Some("false"))]).expect("changed");
    let updated = bench.engine.update("vol0", &bench.stage("null"), &UpdateOptions::default());
    assert_eq!(updated.outcome, Outcome::Done, "{updated:?}");
    assert_eq!(value(&bench, "zeroes"), (Some("false".into()), true));
    assert_eq!(bench.engine.port("vol0").expect("port").params["zeroes"], "false");
    bench.engine.stop(Duration::from_secs(10));
}
