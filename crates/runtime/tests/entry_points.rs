//! Every entry point of the ABI's tables, held at a gate between two ports that serve: nothing is measured, other ports
//! get on while it is shut. The list is the tables' own definition: a new entry point has to say how it is held.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_abi::{BlockOps, Driver, Field, FieldKind};
use steadfast_runtime::{PortState, TroubleCode, UpdateOptions};
use steadfast_shell::receipt::{Mode, Outcome};
use support::Bench;

/// How a driver comes to be held in an entry point.
enum Held {
    /// An update from one with these troubles to one with those, and what comes of it.
    Update(&'static [&'static str], &'static [&'static str], Outcome),
    /// A live parameter of one with these changes.
    Change(&'static [&'static str]),
    /// Somebody looks at the state of one with these.
    Look(&'static [&'static str]),
    /// It is a request's own: it holds its queue, and is named, by this name.
    Own(&'static str, &'static [&'static str]),
    /// This shell does not call it: a driver that has it has one that is called in its place.
    Uncalled,
    /// It is called while the port runs, and is no request's own.
    Apart(&'static [&'static str]),
}

const NONE: &[&str] = &[];
const OTHER: &[&str] = &["READ_NS=4000000"];

fn how(entry: &str) -> Held {
    use Outcome::{Done, RolledBack};
    match entry {
        // Its gate is in its code: it has no port yet.
        "probe" => Held::Update(NONE, &["PROBE"], Done),
        "prepare" => Held::Update(NONE, &["HANG_PREPARE"], Done),
        "connect" => Held::Update(NONE, &["HANG"], Done),
        "disconnect" => Held::Update(&["HANG_DISCONNECT"], OTHER, Done),
        "reconnect" => Held::Update(&["HANG_RECONNECT"], &["FAIL_CONNECT"], RolledBack),
        "release" => Held::Update(&["HANG_RELEASE"], OTHER, Done),
        "queue_start" => Held::Update(NONE, &["HANG_QUEUE_START"], Done),
        "queue_stop" => Held::Update(&["HANG_QUEUE_STOP"], OTHER, Done),
        "adopt" => Held::Update(
            &["READ_NS=500000000"],
            &["HANG_ADOPT", "PDU=\"two/1\"", "ADOPTS=\"trouble/1\""],
            Done,
        ),
        "queue_run" => Held::Update(NONE, &["HANG_QUEUE_RUN"], Done),
        "hand_back" => Held::Update(&["HANDS_BACK", "HANG_HAND_BACK"], OTHER, Done),
        "param_changed" => Held::Change(&["HANG_PARAM"]),
        "save_state" => Held::Look(&["SAVES_STATE", "HANG_SAVE"]),
        "submit" => Held::Own("submit", &["HANG_SUBMIT"]),
        "commit" => Held::Apart(&["HANG_COMMIT"]),
        "event" => Held::Own("event", &["HANG_EVENT"]),
        "event_answer" => Held::Own("event", &["ANSWERS", "HANG_EVENT"]),
        "submit_many" | "events" => Held::Uncalled,
        "timer" => Held::Apart(&["HANG_TIMER", "TICKS=200000000"]),
        "abort" => Held::Apart(&["HANG_ABORT", "READ_NS=60000000000"]),
        new => panic!("{new}: say how a driver is held in it, and where it is called"),
    }
}

fn entries(fields: &[Field]) -> impl Iterator<Item = &'static str> {
    fields.iter().filter(|field| field.kind != FieldKind::Data).map(|field| field.name)
}

fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("never {what}");
}

/// Does it while the gate is shut, and finds that nobody else notices.
fn nobody_else_notices(entry: &str, old: &[&str], act: impl FnOnce(&Bench) + Send) {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(old), 1);
    bench.attach("beside", "ram", &[("size", "1M")], Some(1));
    let (load, beside) = (bench.readers("vol0", 1, 4), bench.load("beside", 1, 8));
    load.pass(8);
    let gate = bench.gate("vol0");
    std::fs::write(&gate, "").expect("gate");
    std::thread::scope(|scope| {
        let acts = scope.spawn(|| act(&bench));
        let reached = gate.with_file_name("gate-vol0.reached");
        until(&format!("in {entry}"), || reached.exists() || acts.is_finished());
        assert!(reached.exists(), "{entry} was not called");
        beside.pass(200);
        let port = bench.engine.port("beside").expect("port");
        assert_eq!(port.state, PortState::Running, "{entry}");
        assert!(port.troubles.is_empty(), "{entry}: {:?}", port.troubles);
        assert!(gate.exists());
        std::fs::remove_file(&gate).expect("removed");
        acts.join().unwrap_or_else(|_| panic!("{entry}"));
    });
    until("running", || bench.engine.port("vol0").is_some_and(|port| port.state == PortState::Running));
    load.pass(20);
    assert_eq!((load.stop(), beside.stop()), (Vec::new(), Vec::new()), "{entry}");
    assert!(bench.engine.stop(Duration::from_secs(20)));
}

fn is_named(entry: &str, defines: &[&str]) {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(defines), 1);
    bench.attach("beside", "ram", &[("size", "1M")], Some(1));
    let timeout = BTreeMap::from([("request_timeout".to_owned(), Some("1".to_owned()))]);
    bench.engine.set_param("vol0", &timeout, "test").expect("set");
    std::fs::write(bench.gate("vol0"), "").expect("gate");
    let load = bench.readers("vol0", 1, 1);
    for port in ["vol0", "beside"] {
        until(&format!("{entry} named by {port}"), || {
            let troubles = bench.engine.port(port).expect("port").troubles;
            let named = troubles.iter().find(|t| t.code == TroubleCode::Stuck);
            named.is_some_and(|t| t.target == entry && t.detail.contains(&format!("`{entry}` on queue 0")))
        });
    }
    std::fs::remove_file(bench.gate("vol0")).expect("removed");
    until("running", || bench.engine.port("beside").is_some_and(|port| port.state == PortState::Running));
    assert_eq!(load.stop(), Vec::<String>::new(), "{entry}");
    assert!(bench.engine.stop(Duration::from_secs(20)));
}

/// A driver that does not return while its port runs keeps that port and nobody else, and can be put away.
fn keeps_its_own_port(entry: &str, defines: &[&str]) {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(defines), 1);
    bench.attach("beside", "ram", &[("size", "1M")], Some(1));
    let timeout = BTreeMap::from([("request_timeout".to_owned(), Some("1".to_owned()))]);
    bench.engine.set_param("vol0", &timeout, "test").expect("set");
    let beside = bench.load("beside", 1, 8);
    std::fs::write(bench.gate("vol0"), "").expect("gate");
    let load = bench.readers("vol0", 1, 1);
    let port = |name: &str| bench.engine.port(name).expect("port");
    until(&format!("{entry} named"), || {
        let troubles = port("vol0").troubles;
        let named = troubles.iter().find(|t| t.code == TroubleCode::Stuck);
        named.is_some_and(|t| t.target == entry && t.detail.contains("--abandon"))
    });
    assert_eq!(port("vol0").state, PortState::Unresponsive, "{entry}");
    beside.pass(200);
    assert_eq!((port("beside").state, port("beside").troubles), (PortState::Running, Vec::new()), "{entry}");
    let other = bench.engine.update("beside", &bench.stage("ram"), &UpdateOptions::default());
    assert_eq!(other.outcome, Outcome::Done, "{entry}: {other:#?}");

    let next = bench.trouble(OTHER);
    let opts = UpdateOptions { mode: Some(Mode::Adopt), ..UpdateOptions::default() };
    let receipt = bench.engine.update("vol0", &next, &opts);
    assert_eq!(receipt.outcome, Outcome::Busy, "{entry}: {receipt:#?}");
    assert!(receipt.reason.contains(&format!("has not returned from `{entry}`")), "{}", receipt.reason);
    let opts = UpdateOptions { abandon: true, ..opts };
    let receipt = bench.engine.update("vol0", &next, &opts);
    assert_eq!(receipt.outcome, Outcome::Done, "{entry}: {receipt:#?}");
    load.pass(20);
    let vol0 = port("vol0");
    assert_eq!((vol0.state, vol0.troubles.len()), (PortState::Running, 0), "{entry}: {:?}", vol0.troubles);
    assert_eq!((vol0.abandoned[0].entry.as_str(), vol0.abandoned[0].inside), (entry, true));
    assert!(bench.gate("vol0").exists(), "all of that while it was shut");
    std::fs::remove_file(bench.gate("vol0")).expect("removed");
    until("gone", || port("vol0").abandoned.is_empty());
    // One that was too old ended with an error: that is what it was asked for.
    load.stop();
    assert_eq!(beside.stop(), Vec::<String>::new(), "{entry}");
    assert!(bench.engine.stop(Duration::from_secs(20)));
}

fn update(bench: &Bench, defines: &[&str], outcome: Outcome) {
    let module = match defines {
        ["PROBE"] => bench.trouble(&[&format!("HANG_PROBE=\"{}\"", bench.gate("vol0").display())]),
        defines => bench.trouble(defines),
    };
    let opts = UpdateOptions {
        mode: Some(Mode::Adopt),
        deadline: Some(Duration::from_secs(60)),
        ..UpdateOptions::default()
    };
    let receipt = bench.engine.update("vol0", &module, &opts);
    assert_eq!(receipt.outcome, outcome, "{receipt:#?}");
}

#[test]
fn whatever_entry_point_a_driver_is_held_in_others_get_on_or_know_whom_they_wait_for() {
    for entry in entries(Driver::FIELDS).chain(entries(BlockOps::FIELDS)) {
        println!("{entry}");
        match how(entry) {
            Held::Update(old, new, outcome) => {
                nobody_else_notices(entry, old, |bench| update(bench, new, outcome));
            }
            // It is not waited for as long as the machine may take: what comes of it is no matter here.
            Held::Change(old) => nobody_else_notices(entry, old, |bench| {
                let level = BTreeMap::from([("level".to_owned(), Some("2".to_owned()))]);
                drop(bench.engine.set_param("vol0", &level, "test"));
            }),
            Held::Look(old) => nobody_else_notices(entry, old, |bench| {
                drop(bench.engine.save_state("vol0"));
            }),
            Held::Own(name, defines) => is_named(name, defines),
            Held::Uncalled => {}
            Held::Apart(defines) => keeps_its_own_port(entry, defines),
        }
    }
}
