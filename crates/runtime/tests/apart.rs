//! Drivers that take their time between two others, or do not return at all: that is their own port's trouble.

mod support;

use std::path::Path;
use std::time::Duration;
use steadfast_loader::StagedModule;
use steadfast_runtime::{ErrorKind, PortInfo, PortState, TroubleCode, UpdateOptions};
use steadfast_shell::receipt::{Mode, Outcome, Receipt, Unload};
use support::{Bench, Load};

/// One queue, with a port for the trouble and one beside it.
struct Together {
    bench: Bench,
    load: Load,
    beside: Load,
}

impl Together {
    fn new(defines: &[&str]) -> Together {
        let bench = Bench::new(1);
        bench.attach_trouble("vol0", &bench.trouble(defines), 1);
        bench.attach("beside", "ram", &[("size", "1M")], Some(1));
        let (load, beside) = (bench.load("vol0", 1, 8), bench.load("beside", 1, 8));
        load.pass(20);
        Together { bench, load, beside }
    }

    fn shut(&self) {
        std::fs::write(self.bench.gate("vol0"), "").expect("gate");
    }

    fn open(&self) {
        std::fs::remove_file(self.bench.gate("vol0")).expect("removed");
    }

    fn update(&self, module: &StagedModule, deadline: Duration) -> Receipt {
        let opts =
            UpdateOptions { deadline: Some(deadline), mode: Some(Mode::Adopt), ..UpdateOptions::default() };
        self.bench.engine.update("vol0", module, &opts)
    }

    fn port(&self) -> PortInfo {
        self.bench.engine.port("vol0").expect("port")
    }

    /// Everything that is asked about other ports is answered, and they serve, while the gate is shut.
    fn others_notice_nothing(&self) {
        self.beside.pass(200);
        let (ports, devices) = (self.bench.engine.ports(), self.bench.engine.devices());
        assert_eq!((ports.len(), devices.len()), (2, 2));
        assert_eq!(self.bench.engine.port("beside").expect("port").state, PortState::Running);
        let other = self.bench.engine.update("beside", &self.bench.stage("ram"), &UpdateOptions::default());
        assert_eq!(other.outcome, Outcome::Done, "{other:#?}");
        assert!(Path::new(&self.bench.gate("vol0")).exists(), "all of that while it was shut");
    }

    fn until(&self, what: &str, is: impl Fn(&PortInfo) -> bool) {
        for _ in 0..60_000 {
            if is(&self.port()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("never {what}: {:#?}", self.port());
    }

    fn end(self) {
        self.load.pass(50);
        assert_eq!((self.load.stop(), self.beside.stop()), (Vec::new(), Vec::new()));
        self.bench.engine.stop(Duration::from_secs(10));
    }
}

/// A second of its own every driver has, whatever the deadline.
const SHORT: Duration = Duration::from_millis(1);

#[test]
fn a_new_driver_that_does_not_return_is_left_to_itself_and_the_old_one_goes_on() {
    for hang in ["HANG", "HANG_QUEUE_START"] {
        let all = Together::new(&[]);
        all.shut();
        let receipt = all.update(&all.bench.trouble(&[hang]), SHORT);
        assert_eq!((receipt.outcome, receipt.unload), (Outcome::RolledBack, Unload::Pinned), "{receipt:#?}");
        assert!(receipt.reason.contains("connect did not return before the deadline"), "{}", receipt.reason);
        all.load.pass(50);
        all.others_notice_nothing();
        let port = all.port();
        assert_eq!((port.state, port.swaps, port.generation), (PortState::Running, 0, 1));
        assert_eq!(port.abandoned.len(), 1);
        let pinned = &port.abandoned[0];
        assert_eq!((pinned.entry.as_str(), pinned.inside), ("connect", true));
        assert_eq!(pinned.release.driver, "trouble");
        // The port is as good as any meanwhile.
        let good = all.update(&all.bench.trouble(&["EXTRA=4096"]), Duration::from_secs(30));
        assert_eq!((good.outcome, good.unload), (Outcome::Done, Unload::Unloaded), "{good:#?}");
        all.load.pass(50);
        assert!(all.bench.gate("vol0").exists());
        // When it returns late it harms nobody, and its module goes.
        all.open();
        all.until("gone", |port| port.abandoned.is_empty());
        all.end();
    }
}

#[test]
fn a_driver_that_does_not_return_beside_the_pause_is_left_to_itself_and_whoever_asked_is_answered() {
    for entry in ["probe", "prepare", "release"] {
        let all = Together::new(if entry == "release" { &["HANG_RELEASE"] } else { &[] });
        all.shut();
        let module = match entry {
            "probe" => all.bench.trouble(&[&format!("HANG_PROBE=\"{}\"", all.bench.gate("vol0").display())]),
            "prepare" => all.bench.trouble(&["HANG_PREPARE"]),
            _ => all.bench.trouble(&["EXTRA=4096"]),
        };
        let receipt = std::thread::scope(|scope| {
            let update = scope.spawn(|| all.update(&module, SHORT));
            all.others_notice_nothing();
            all.load.pass(20);
            update.join().expect("no panic")
        });
        if entry == "release" {
            assert_eq!((receipt.outcome, receipt.unload), (Outcome::Done, Unload::Pinned), "{receipt:#?}");
        } else {
            assert_eq!(receipt.outcome, Outcome::Refused, "{receipt:#?}");
            let why = format!("{entry} did not return within 2 s");
            assert!(receipt.reason.contains(&why), "{}", receipt.reason);
        }
        let pinned = all.port().abandoned;
        assert_eq!(pinned.len(), 1, "{pinned:?}");
        assert_eq!((pinned[0].entry.as_str(), pinned[0].inside), (entry, true));
        let again = all.update(&all.bench.trouble(&["READ_NS=4000000"]), Duration::from_secs(30));
        assert_eq!(again.outcome, Outcome::Done, "{again:#?}");
        assert!(all.bench.gate("vol0").exists());
        all.open();
        all.until("gone", |port| port.abandoned.is_empty());
        all.end();
    }
}

#[test]
fn an_engine_that_stops_does_not_wait_for_a_driver_that_does_not_return_from_prepare() {
    let all = Together::new(&[]);
    all.shut();
    let hangs = all.bench.trouble(&["HANG_PREPARE"]);
    let Together { bench, load, beside } = all;
    assert_eq!((load.stop(), beside.stop()), (Vec::new(), Vec::new()));
    let opts = UpdateOptions::default();
    std::thread::scope(|scope| {
        let update = scope.spawn(|| bench.engine.update("vol0", &hangs, &opts));
        std::thread::sleep(Duration::from_millis(300));
        // Less than `drain_timeout`, which it may take otherwise.
        assert!(bench.engine.stop(Duration::from_secs(30)));
        assert_eq!(update.join().expect("no panic").outcome, Outcome::Refused);
    });
    std::fs::remove_file(bench.gate("vol0")).expect("removed");
}

#[test]
fn an_engine_that_stops_does_not_wait_for_a_driver_that_does_not_let_go() {
    let all = Together::new(&["HANG_DISCONNECT"]);
    all.shut();
    let receipt = all.update(&all.bench.trouble(&["EXTRA=4096"]), SHORT);
    assert_eq!(receipt.outcome, Outcome::Stranded, "{receipt:#?}");
    assert_eq!(all.port().state, PortState::Unresponsive);
    all.until("asked for anything", |port| port.in_flight + port.held > 0);
    // Clients that hold requests keep a stop waiting for all of its time, which is longer than a test may take.
    assert!(all.bench.engine.stop(Duration::from_secs(3600)));
    all.open();
    let failed = all.load.stop();
    assert!(!failed.is_empty(), "what was held has ended, with an error");
}

/// What it writes when it comes back late must not be where the old driver has its requests.
#[test]
fn a_new_driver_that_is_late_to_take_requests_over_does_not_touch_them() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&["READ_NS=5000000000"]), 1);
    let load = bench.readers("vol0", 1, 4);
    let port = || bench.engine.port("vol0").expect("port");
    let until = |what: &str, is: &dyn Fn(&PortInfo) -> bool| {
        let mut tries = 0..60_000;
        while !is(&port()) {
            assert!(tries.next().is_some(), "never {what}: {:#?}", port());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    until("full", &|port| port.in_flight == 4);
    std::fs::write(bench.gate("vol0"), "").expect("gate");
    let late = bench.trouble(&["HANG_ADOPT", "PDU=\"two/1\"", "ADOPTS=\"trouble/1\""]);
    let opts = UpdateOptions { deadline: Some(SHORT), mode: Some(Mode::Adopt), ..UpdateOptions::default() };
    let receipt = bench.engine.update("vol0", &late, &opts);
    assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:#?}");
    assert!(receipt.reason.contains("did not return before the deadline"), "{}", receipt.reason);
    assert_eq!(port().in_flight, 4, "the same requests are in flight");
    std::fs::remove_file(bench.gate("vol0")).expect("removed");
    until("gone", &|port| port.abandoned.is_empty());
    // One that comes in time takes them over for good.
    let next = bench.trouble(&["PDU=\"two/1\"", "ADOPTS=\"trouble/1\""]);
    let opts = UpdateOptions { mode: Some(Mode::Adopt), ..UpdateOptions::default() };
    let receipt = bench.engine.update("vol0", &next, &opts);
    assert_eq!((receipt.outcome, receipt.adopted), (Outcome::Done, 4), "{receipt:#?}");
    assert_eq!(load.stop(), Vec::<String>::new(), "the requests that were in flight");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_new_driver_that_does_not_return_from_queue_run_goes_back() {
    for queues in [1, 2] {
        let bench = Bench::new(queues);
        bench.attach_trouble("vol0", &bench.trouble(&["HANDS_BACK"]), queues);
        bench.attach("beside", "ram", &[("size", "1M")], Some(1));
        let all = Together { load: bench.load("vol0", queues, 8), beside: bench.load("beside", 1, 8), bench };
        all.load.pass(20);
        all.shut();
        let hangs = all.bench.trouble(&["HANDS_BACK", "HANG_QUEUE_RUN"]);
        let receipt = std::thread::scope(|scope| {
            let update = scope.spawn(|| all.update(&hangs, SHORT));
            all.others_notice_nothing();
            update.join().expect("no panic")
        });
        assert_eq!((receipt.outcome, receipt.unload), (Outcome::RolledBack, Unload::Pinned), "{receipt:#?}");
        assert!(
            receipt.reason.contains("queue_run did not return before the deadline"),
            "{}",
            receipt.reason
        );
        all.load.pass(50);
        let port = all.port();
        assert_eq!((port.state, port.swaps, port.generation), (PortState::Running, 0, 3));
        assert_eq!((port.abandoned[0].entry.as_str(), port.abandoned[0].inside), ("queue_run", true));
        let good = all.update(&all.bench.trouble(&["EXTRA=4096"]), Duration::from_secs(30));
        assert_eq!(good.outcome, Outcome::Done, "{good:#?}");
        all.load.pass(50);
        assert!(all.bench.gate("vol0").exists());
        all.open();
        all.until("gone", |port| port.abandoned.is_empty());
        all.end();
    }
}

#[test]
fn a_driver_that_takes_its_time_to_hand_back_holds_its_own_port_and_no_other() {
    let all = Together::new(&["HANDS_BACK", "HANG_HAND_BACK"]);
    let good = all.bench.trouble(&["EXTRA=4096"]);
    // It comes too late, and goes on.
    all.shut();
    let receipt = std::thread::scope(|scope| {
        let update = scope.spawn(|| all.update(&good, Duration::from_secs(1)));
        all.until("held", |port| port.state != PortState::Running);
        all.others_notice_nothing();
        std::thread::sleep(Duration::from_millis(1100));
        all.open();
        update.join().expect("no panic")
    });
    assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:#?}");
    assert!(receipt.reason.contains("hand_back returned after the deadline"), "{}", receipt.reason);
    all.load.pass(50);
    // It does not come: nobody but an operator can say that it is to be put away.
    all.shut();
    let receipt = all.update(&good, SHORT);
    assert_eq!(receipt.outcome, Outcome::Stranded, "{receipt:#?}");
    assert!(receipt.reason.contains("hand_back"), "{}", receipt.reason);
    all.others_notice_nothing();
    assert_eq!(all.port().state, PortState::Unresponsive);
    assert_eq!(all.update(&good, SHORT).outcome, Outcome::Busy);
    let opts = UpdateOptions {
        deadline: Some(Duration::from_secs(30)),
        mode: Some(Mode::Adopt),
        abandon: true,
        ..UpdateOptions::default()
    };
    let receipt = all.bench.engine.update("vol0", &good, &opts);
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:#?}");
    all.load.pass(50);
    assert_eq!(all.port().abandoned[0].entry, "hand_back");
    all.open();
    all.until("gone", |port| port.abandoned.is_empty());
    all.end();
}

#[test]
fn a_driver_that_does_not_return_from_hand_back_is_put_away_at_the_deadline() {
    for mode in [Mode::Adopt, Mode::Split] {
        let all = Together::new(&["HANDS_BACK", "HANG_HAND_BACK"]);
        all.shut();
        let opts = UpdateOptions {
            deadline: Some(SHORT),
            mode: Some(mode),
            abandon: true,
            ..UpdateOptions::default()
        };
        let good = all.bench.trouble(&["HANDS_BACK", "EXTRA=4096"]);
        let receipt = all.bench.engine.update("vol0", &good, &opts);
        assert_eq!((receipt.outcome, receipt.unload), (Outcome::Done, Unload::Pinned), "{receipt:#?}");
        all.load.pass(50);
        assert_eq!(all.port().abandoned[0].entry, "hand_back");
        all.open();
        all.until("gone", |port| port.abandoned.is_empty());
        // With *adopt* what is in flight is handed on; with *split* it was to be finished by who went.
        let failed = all.load.stop();
        let clean = failed.iter().all(|f| mode == Mode::Split && f.contains("result -5"));
        assert!(clean, "{mode:?}: {failed:?}");
        assert_eq!(all.beside.stop(), Vec::<String>::new());
        all.bench.engine.stop(Duration::from_secs(10));
    }
}

#[test]
fn an_old_driver_that_does_not_let_go_holds_its_own_port_and_no_other() {
    let all = Together::new(&["HANG_DISCONNECT"]);
    all.shut();
    let (mut receipt, good) = (None, all.bench.trouble(&["EXTRA=4096"]));
    std::thread::scope(|scope| {
        let update = scope.spawn(|| all.update(&good, SHORT));
        all.until("held", |port| port.state != PortState::Running);
        all.others_notice_nothing();
        receipt = update.join().ok();
    });
    let receipt = receipt.expect("no panic");
    assert_eq!(receipt.outcome, Outcome::Stranded, "{receipt:#?}");
    assert!(receipt.reason.contains("does not return"), "{}", receipt.reason);
    assert_eq!(all.port().state, PortState::Unresponsive);
    all.others_notice_nothing();
    assert_eq!(all.update(&good, SHORT).outcome, Outcome::Busy);
    assert_eq!(all.bench.engine.detach("vol0", false).expect_err("inside").kind(), ErrorKind::Busy);
    // It came too late, and goes on.
    all.open();
    all.until("running", |port| port.state == PortState::Running);
    assert_eq!(all.port().swaps, 0);
    assert_eq!(all.update(&all.bench.trouble(&[]), Duration::from_secs(30)).outcome, Outcome::Done);
    all.end();
}

#[test]
fn an_old_driver_that_comes_back_slowly_holds_its_own_port_and_no_other() {
    let all = Together::new(&["HANG_RECONNECT"]);
    all.shut();
    let fails = all.bench.trouble(&["FAIL_CONNECT"]);
    std::thread::scope(|scope| {
        let update = scope.spawn(|| all.update(&fails, SHORT));
        all.until("held", |port| port.state != PortState::Running);
        all.others_notice_nothing();
        all.open();
        let receipt = update.join().expect("no panic");
        assert!(matches!(receipt.outcome, Outcome::RolledBack | Outcome::Stranded), "{receipt:#?}");
    });
    all.until("running", |port| port.state == PortState::Running);
    all.end();
}

#[test]
fn a_look_at_the_state_that_takes_its_time_is_its_own_ports_trouble() {
    let all = Together::new(&["SAVES_STATE", "HANG_SAVE"]);
    all.shut();
    std::thread::scope(|scope| {
        let look = scope.spawn(|| all.bench.engine.save_state("vol0"));
        all.until("held", |port| port.state != PortState::Running);
        all.others_notice_nothing();
        let stuck = look.join().expect("no panic").expect_err("it does not return");
        assert_eq!(stuck.kind(), ErrorKind::Unresponsive, "{stuck}");
    });
    assert_eq!(all.port().state, PortState::Unresponsive);
    assert_eq!(all.update(&all.bench.trouble(&[]), SHORT).outcome, Outcome::Busy);
    all.open();
    all.until("running", |port| port.state == PortState::Running);
    all.end();
}

#[test]
fn a_first_driver_that_does_not_return_is_not_attached_and_keeps_nobody_up() {
    let bench = Bench::new(1);
    bench.attach("beside", "ram", &[("size", "1M")], Some(1));
    let beside = bench.load("beside", 1, 8);
    std::fs::write(bench.gate("vol0"), "").expect("gate");
    let module = std::sync::Arc::new(bench.trouble(&["HANG"]).load().expect("loaded"));
    let gate = bench.gate("vol0").display().to_string();
    let params = std::collections::BTreeMap::from([("gate".to_owned(), gate)]);
    let spec =
        steadfast_runtime::PortSpec { name: "vol0".into(), module, params, queues: Some(1), adapter: None };
    std::thread::scope(|scope| {
        let attach = scope.spawn(|| bench.engine.attach(spec));
        beside.pass(1000);
        let e = attach.join().expect("no panic").expect_err("it does not return");
        assert!(e.kind() == ErrorKind::Driver && e.to_string().contains("did not return"), "{e}");
    });
    assert!(bench.engine.port("vol0").is_none());
    bench.attach_trouble("vol0", &bench.trouble(&[]), 1);
    std::fs::remove_file(bench.gate("vol0")).expect("removed");
    assert_eq!(beside.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_driver_that_does_not_return_is_named_with_its_entry_point_by_every_port_that_waits_for_it() {
    let stuck = |port: &PortInfo| {
        let stuck = port.troubles.iter().find(|t| t.code == TroubleCode::Stuck);
        stuck.map(|t| (t.target.clone(), t.detail.clone()))
    };
    let all = Together::new(&["HANG_SUBMIT"]);
    assert_eq!(stuck(&all.port()), None);
    all.shut();
    all.until("stuck", |port| port.state == PortState::Unresponsive);
    let (entry, detail) = stuck(&all.port()).expect("named");
    assert_eq!(entry, "submit");
    assert!(detail.starts_with("trouble 1.0.0 does not return from `submit` on queue 0"), "{detail}");
    let beside = all.bench.engine.port("beside").expect("port");
    let (_, detail) = stuck(&beside).expect("named there too");
    assert!(detail.starts_with("trouble 1.0.0 of port vol0 does not return from `submit`"), "{detail}");
    all.open();
    all.until("running", |port| port.state == PortState::Running && stuck(port).is_none());
    all.end();

    let all = Together::new(&["HANG_DISCONNECT"]);
    all.shut();
    assert_eq!(all.update(&all.bench.trouble(&[]), SHORT).outcome, Outcome::Stranded);
    let (entry, detail) = stuck(&all.port()).expect("named");
    assert_eq!(entry, "disconnect");
    assert!(detail.contains("trouble 1.0.0 does not return from `disconnect`"), "{detail}");
    assert_eq!(stuck(&all.bench.engine.port("beside").expect("port")), None, "nobody else waits");
    all.open();
    all.until("running", |port| port.state == PortState::Running && stuck(port).is_none());
    all.end();
}

/// A queue that does not answer is waited for once, and not once for each of its ports.
#[test]
fn many_ports_of_a_queue_that_is_stuck_are_listed_without_waiting_for_each() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&["HANG_SUBMIT"]), 1);
    for n in 0..40 {
        bench.attach(&format!("beside{n}"), "null", &[("size", "1M")], Some(1));
    }
    std::fs::write(bench.gate("vol0"), "").expect("gate");
    let load = bench.load("vol0", 1, 1);
    while bench.engine.port("vol0").expect("port").state != PortState::Unresponsive {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Each of these would be half a second for each port: more than three minutes in all.
    let begin = std::time::Instant::now();
    for _ in 0..10 {
        let ports = bench.engine.ports();
        assert_eq!(ports.len(), 41);
        assert!(ports.iter().all(|port| port.state == PortState::Unresponsive));
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    std::fs::remove_file(bench.gate("vol0")).expect("removed");
    load.pass(8);
    assert!(bench.engine.ports().iter().all(|port| port.state == PortState::Running));
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}
