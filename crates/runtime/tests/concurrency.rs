//! Several things at once to the same port, or to several ports: each ends as it would alone, or is
//! refused as busy and told with what.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use steadfast_loader::StagedModule;
use steadfast_runtime::{Engine, ErrorKind, PortState, UpdateOptions};
use steadfast_shell::receipt::{Mode, Outcome, Receipt};
use support::Bench;

fn shut(gate: &Path) {
    std::fs::write(gate, "").expect("gate");
}

fn open(gate: &Path) {
    std::fs::remove_file(gate).expect("opened");
}

fn in_mode(mode: Mode) -> UpdateOptions {
    UpdateOptions { mode: Some(mode), ..UpdateOptions::default() }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a transaction has the port.
fn is_taken(engine: &Engine, port: &str) -> bool {
    engine.under_way(port).is_some()
}

/// Starts an update on a thread of its own and waits until it has the port.
fn begin(
    engine: &Engine,
    port: &'static str,
    module: &StagedModule,
    opts: UpdateOptions,
) -> std::thread::JoinHandle<Receipt> {
    let (engine2, module) = (engine.clone(), module.clone());
    let thread = std::thread::spawn(move || engine2.update(port, &module, &opts));
    wait_until("the update has the port", || is_taken(engine, port));
    thread
}

#[test]
fn a_second_update_is_refused_as_busy_and_told_with_what() {
    let bench = Bench::new(2);
    bench.attach_trouble("vol0", &bench.trouble(&[]), 2);
    let load = bench.load("vol0", 2, 8);
    let (slow, good) = (bench.trouble(&["HANG_PREPARE"]), bench.trouble(&[]));
    shut(&bench.gate("vol0"));
    let first = begin(&bench.engine, "vol0", &slow, UpdateOptions::default());
    for _ in 0..10 {
        let second = bench.engine.update("vol0", &good, &UpdateOptions::default());
        assert_eq!(second.outcome, Outcome::Busy, "{second:?}");
        let named = second.reason.contains("vol0") && second.reason.contains("update 1 ");
        assert!(named, "the reason names the port and what is under way: {}", second.reason);
        assert_eq!((second.held, second.pause_ns, second.phases.len()), (0, 0, 0), "{second:?}");
        load.pass(10);
    }
    open(&bench.gate("vol0"));
    assert_eq!(first.join().expect("no panic").outcome, Outcome::Done);
    assert_eq!(bench.engine.update("vol0", &good, &UpdateOptions::default()).outcome, Outcome::Done);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(bench.engine.port("vol0").expect("port").swaps, 2);
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn ports_are_updated_side_by_side_and_none_waits_for_another() {
    let bench = Bench::new(2);
    let good = bench.trouble(&[]);
    let ports = ["vol0", "vol1", "vol2", "vol3"];
    ports.iter().for_each(|p| bench.attach_trouble(p, &good, 2));
    let loads = ports.map(|p| bench.load(p, 2, 4));
    // One that is stuck in its preparation, and one that has to drain for long, hold up nobody.
    shut(&bench.gate("vol0"));
    let stuck = begin(&bench.engine, "vol0", &bench.trouble(&["HANG_PREPARE"]), UpdateOptions::default());
    std::thread::scope(|scope| {
        for port in &ports[1..] {
            let (engine, good) = (&bench.engine, &good);
            scope.spawn(move || {
                for n in 0..20 {
                    let mode = if n % 2 == 0 { Mode::Adopt } else { Mode::Drain };
                    let receipt = engine.update(port, good, &in_mode(mode));
                    assert_eq!(
                        (receipt.outcome, receipt.port.as_str()),
                        (Outcome::Done, *port),
                        "{receipt:?}"
                    );
                }
            });
        }
    });
    assert!(!stuck.is_finished(), "the first one still waits for its gate");
    open(&bench.gate("vol0"));
    assert_eq!(stuck.join().expect("no panic").outcome, Outcome::Done);
    for (port, load) in ports.iter().zip(loads) {
        load.pass(20);
        assert_eq!(load.stop(), Vec::<String>::new(), "{port}");
        let info = bench.engine.port(port).expect("port");
        let swaps = if *port == "vol0" { 1 } else { 20 };
        assert_eq!((info.swaps, info.errors, info.state), (swaps, 0, PortState::Running), "{port}");
    }
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_port_is_not_detached_in_the_midst_of_an_update() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&[]), 1);
    let load = bench.load("vol0", 1, 4);
    load.pass(10);
    shut(&bench.gate("vol0"));
    let update = begin(&bench.engine, "vol0", &bench.trouble(&["HANG_PREPARE"]), UpdateOptions::default());
    let refused = bench.engine.detach("vol0", true).expect_err("an update is under way");
    assert_eq!(refused.kind(), ErrorKind::Busy);
    assert!(refused.to_string().contains("update 1 "), "{refused}");
    load.pass(10);
    open(&bench.gate("vol0"));
    assert_eq!(update.join().expect("no panic").outcome, Outcome::Done);
    bench.engine.detach("vol0", true).expect("nothing is under way any more");
    let failed = load.stop();
    assert!(
        failed.iter().all(|f| f.contains("result -19")),
        "only what came after it is refused: {failed:?}"
    );
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_port_that_is_held_is_not_detached_and_what_it_holds_is_served() {
    let bench = Bench::new(2);
    // Reads that take as long as the test needs.
    bench.attach_trouble("vol0", &bench.trouble(&["READ_NS=1500000000"]), 2);
    let load = bench.load("vol0", 2, 4);
    wait_until("reads are in flight", || bench.engine.port("vol0").expect("port").in_flight > 0);
    let update = begin(&bench.engine, "vol0", &bench.trouble(&[]), in_mode(Mode::Drain));
    wait_until("held", || bench.engine.port("vol0").expect("port").state == PortState::Held);
    for force in [false, true] {
        let refused = bench.engine.detach("vol0", force).expect_err("it is held");
        assert_eq!(refused.kind(), ErrorKind::Busy, "{refused}");
    }
    assert_eq!(update.join().expect("no panic").outcome, Outcome::Done);
    load.pass(10);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn an_update_of_a_port_that_goes_away_is_refused_and_a_new_one_of_its_name_is_whole() {
    let bench = Bench::new(2);
    let (engine, good) = (&bench.engine, bench.trouble(&[]));
    bench.attach_trouble("vol0", &good, 2);
    let end = AtomicBool::new(false);
    let (mut done, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..40 {
                std::thread::sleep(Duration::from_millis(5));
                // Busy while an update has it.
                wait_until("detached", || engine.detach("vol0", false).is_ok());
                bench.attach_trouble("vol0", &good, 2);
            }
            end.store(true, Ordering::Release);
        });
        while !end.load(Ordering::Acquire) {
            let receipt = engine.update("vol0", &good, &UpdateOptions::default());
            match receipt.outcome {
                Outcome::Done => done += 1,
                Outcome::Refused => {
                    assert!(receipt.reason.contains("vol0"), "{receipt:?}");
                    refused += 1;
                }
                Outcome::Busy => {}
                _ => panic!("{receipt:?}"),
            }
        }
    });
    println!("{done} updates done, {refused} refused, while the port was taken away 40 times");
    assert_eq!(engine.update("vol0", &good, &UpdateOptions::default()).outcome, Outcome::Done);
    let load = bench.load("vol0", 2, 8);
    load.pass(50);
    assert_eq!(load.stop(), Vec::<String>::new());
    engine.stop(Duration::from_secs(10));
}

#[test]
fn a_stop_waits_for_an_update_and_loses_nothing() {
    for mode in [Mode::Adopt, Mode::Drain] {
        let bench = Bench::new(2);
        bench.attach_trouble("vol0", &bench.trouble(&["READ_NS=300000000"]), 2);
        let load = bench.load("vol0", 2, 8);
        wait_until("reads are in flight", || bench.engine.port("vol0").expect("port").in_flight > 0);
        let update = begin(&bench.engine, "vol0", &bench.trouble(&["SLOW_PREPARE=200000"]), in_mode(mode));
        bench.engine.stop(Duration::from_secs(20));
        let receipt = update.join().expect("no panic");
        assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
        assert_eq!(load.stop(), Vec::<String>::new(), "what was in flight has finished");
        assert!(bench.engine.port("vol0").is_none(), "the port was detached after the update");
    }
}

#[test]
fn a_stop_does_not_wait_for_ever_and_the_update_that_comes_too_late_ends() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&[]), 1);
    let load = bench.load("vol0", 1, 8);
    load.pass(10);
    shut(&bench.gate("vol0"));
    let opts = UpdateOptions { deadline: Some(Duration::ZERO), ..UpdateOptions::default() };
    let update = begin(&bench.engine, "vol0", &bench.trouble(&["HANG_PREPARE"]), opts);
    bench.engine.stop(Duration::from_millis(300));
    assert_eq!(load.stop(), Vec::<String>::new());
    open(&bench.gate("vol0"));
    let receipt = update.join().expect("no panic");
    // The queue is left behind with its port, so one driver or the other has it to the end.
    assert!(matches!(receipt.outcome, Outcome::Done | Outcome::RolledBack | Outcome::Refused), "{receipt:?}");
}

#[test]
fn a_stop_says_whether_every_queue_has_ended() {
    let bench = Bench::new(1);
    let (release, released) = std::sync::mpsc::channel::<()>();
    bench.engine.post(0, Box::new(move |_| released.recv().unwrap_or_default()));
    assert!(!bench.engine.stop(Duration::from_millis(100)), "it is busy with that");
    drop(release);
    let bench = Bench::new(2);
    assert!(bench.engine.stop(Duration::from_secs(30)));
}

#[test]
fn clients_come_and_go_while_drivers_are_replaced() {
    let bench = Bench::new(2);
    let path = bench.dir.path().join("disk.img");
    std::fs::File::create(&path).expect("created").set_len(8 << 20).expect("sized");
    bench.attach("vol0", "file_1_0", &[("path", &path.display().to_string())], Some(2));
    let (old, new) = (bench.stage("file_1_0"), bench.stage("file_1_1"));
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut visits = 0;
            while !end.load(Ordering::Acquire) {
                let load = bench.load("vol0", 2, 8);
                load.pass(20);
                assert_eq!(load.stop(), Vec::<String>::new());
                visits += 2;
            }
            visits
        });
        let down = UpdateOptions { allow_older: true, ..UpdateOptions::default() };
        let (mut done, mut relied_on) = (0, 0);
        for n in 0..200 {
            let (module, opts) =
                if n % 2 == 0 { (&new, UpdateOptions::default()) } else { (&old, down.clone()) };
            let receipt = bench.engine.update("vol0", module, &opts);
            match receipt.outcome {
                Outcome::Done => done += 1,
                // A client of the newer release relies on what the older one lacks.
                Outcome::Refused | Outcome::RolledBack if n % 2 == 1 => relied_on += 1,
                _ => panic!("{receipt:?}"),
            }
        }
        end.store(true, Ordering::Release);
        println!("{} visits, {done} updates done, {relied_on} not", clients.join().expect("no panic"));
        assert!(done >= 100);
    });
    let info = bench.engine.port("vol0").expect("port");
    assert_eq!((info.errors, info.clients, info.state), (0, 0, PortState::Running));
    bench.engine.stop(Duration::from_secs(10));
}
