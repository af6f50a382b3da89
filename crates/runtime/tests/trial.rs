//! Trials: a candidate answers a copy of the reads beside the driver that serves. Whatever it does, the
//! device and its clients do not notice.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use steadfast_loader::StagedModule;
use steadfast_runtime::{Engine, ErrorKind, PortSpec, PortState, TrialOptions, UpdateOptions};
use steadfast_shell::receipt::{Mode, Outcome, Receipt, ShadowReport, Unload};
use steadfast_shell::shadow::Bounds;
use support::Bench;

/// Builds a candidate that does wrong what `defines` say.
fn build(bench: &Bench, defines: &[&str]) -> StagedModule {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = bench.dir.path().join(format!("candidate{}.so", defines.join("-")));
    let built = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-shared", "-fPIC", "-O2", "-D_GNU_SOURCE", "-fvisibility=hidden"])
        .args(defines.iter().map(|d| format!("-D{d}")))
        .arg("-I")
        .arg(here.join("../abi/include"))
        .arg(here.join("tests/candidate.c"))
        .arg("-o")
        .arg(&output)
        .status();
    assert!(built.expect("the C compiler").success());
    bench.store.stage(&output).expect("staged")
}

fn gate(bench: &Bench) -> PathBuf {
    bench.dir.path().join("gate")
}

/// A device in a file of 4 MiB.
fn attach(bench: &Bench, module: &StagedModule, queues: usize) -> PathBuf {
    let path = bench.dir.path().join("disk.img");
    std::fs::File::create(&path).and_then(|f| f.set_len(4 << 20)).expect("a file");
    let params = [("path", path.display().to_string()), ("gate", gate(bench).display().to_string())];
    let params: BTreeMap<String, String> = params.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let module = Arc::new(module.load().expect("loaded"));
    let spec = PortSpec { name: "vol0".into(), module, params, queues: Some(queues), adapter: None };
    bench.engine.attach(spec).expect("attached");
    path
}

fn trial(milliseconds: u64) -> TrialOptions {
    TrialOptions { duration: Duration::from_millis(milliseconds), ..TrialOptions::default() }
}

fn tried(shadow: TrialOptions) -> UpdateOptions {
    UpdateOptions { shadow: Some(shadow), ..UpdateOptions::default() }
}

/// Under a load that verifies what it reads: an update with a trial. Nobody notices anything.
fn under_load(bench: &Bench, module: &StagedModule, shadow: TrialOptions) -> (Receipt, ShadowReport) {
    let load = bench.load("vol0", 4, 16);
    load.pass(2_000);
    let receipt = bench.engine.update("vol0", module, &tried(shadow));
    load.pass(500);
    assert_eq!(load.stop(), Vec::<String>::new(), "{receipt:?}");
    let info = bench.engine.port("vol0").expect("port");
    assert_eq!((info.state, info.errors, info.driver_faults), (PortState::Running, 0, 0));
    assert_eq!(info.shadow, None, "the trial is over");
    let report = receipt.shadow.clone().expect("a report");
    (receipt, report)
}

/// A candidate that is found out: what the report says against it.
fn found_out(queues: usize, defines: &[&str], shadow: TrialOptions) -> ShadowReport {
    let bench = Bench::new(queues);
    attach(&bench, &build(&bench, &[]), queues);
    let (receipt, report) = under_load(&bench, &build(&bench, defines), shadow);
    assert_eq!(receipt.outcome, Outcome::Refused, "{receipt:?}");
    assert_eq!((receipt.generation_after, receipt.pause_ns), (1, 0), "nothing was touched");
    assert!(!report.equal && !report.against.is_empty(), "{report:?}");
    for why in &report.against {
        assert!(receipt.reason.contains(why), "{receipt:?}");
    }
    assert_eq!(receipt.unload, Unload::Unloaded, "{receipt:?}");
    bench.engine.stop(Duration::from_secs(10));
    report
}

#[test]
fn a_sound_candidate_passes_under_a_load_that_reads_and_writes() {
    for queues in [1, 3] {
        let bench = Bench::new(queues);
        attach(&bench, &build(&bench, &[]), queues);
        let (receipt, report) = under_load(&bench, &build(&bench, &["SOUND"]), trial(700));
        assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
        assert!(report.equal && report.differ == 0 && report.failed == 0, "{report:?}");
        assert!(report.compared > 0, "{report:?}");
        assert!(report.compared > report.overlapped, "most can be judged: {report:?}");
        assert!(report.live_p99_ns >= report.live_p50_ns && report.candidate_p50_ns > 0, "{report:?}");
        assert_eq!((report.unload, receipt.unload), (Unload::Unloaded, Unload::Unloaded));
        bench.engine.stop(Duration::from_secs(10));
    }
}

#[test]
fn a_candidate_for_memory_is_tried_on_a_private_copy() {
    let bench = Bench::new(1);
    bench.attach("vol0", "ram", &[("size", "4M")], None);
    let (receipt, report) = under_load(&bench, &bench.stage("ram"), trial(500));
    assert_eq!((receipt.outcome, receipt.mode), (Outcome::Done, Some(Mode::Adopt)), "{receipt:?}");
    assert!(report.compared > 0 && report.differ == 0, "{report:?}");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_release_of_file_is_tried_on_the_handles_of_the_one_before() {
    let bench = Bench::new(2);
    let path = bench.dir.path().join("disk.img");
    std::fs::File::create(&path).and_then(|f| f.set_len(4 << 20)).expect("a file");
    // Locked by the driver that serves: a second opening would be refused.
    bench.attach("vol0", "file_1_0", &[("path", &path.display().to_string())], Some(2));
    let (receipt, report) = under_load(&bench, &bench.stage("file_1_1"), trial(500));
    assert_eq!((receipt.outcome, receipt.mode), (Outcome::Done, Some(Mode::Adopt)), "{receipt:?}");
    assert!(report.compared > 0 && report.differ == 0, "{report:?}");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_driver_over_another_device_is_tried_too() {
    let bench = Bench::new(1);
    bench.attach("disk", "ram", &[("size", "4M")], None);
    bench.attach("vol0", "over", &[("device", "disk")], None);
    let (receipt, report) = under_load(&bench, &bench.stage("over"), trial(500));
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    assert!(report.compared > 0 && report.differ == 0, "{report:?}");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn wrong_data_in_one_block_of_a_thousand_is_found() {
    for queues in [1, 2] {
        let report = found_out(queues, &["WRONG"], trial(3_000));
        assert!(report.differ > 0 && report.compared > report.differ, "{report:?}");
        let first = report.first_difference.expect("the first difference");
        assert_eq!((first.offset / 4096 % 1000, first.offset % 4096), (7, 100), "{first:?}");
        assert_eq!((first.read_offset, first.read_length), (first.offset - 100, 4096));
        assert!(first.live_sum.len() == 16 && first.live_sum != first.candidate_sum, "{first:?}");
    }
}

#[test]
fn no_write_of_a_candidate_reaches_the_device() {
    // The load verifies what it reads, and would find zeroes.
    let report = found_out(1, &["WRITES"], trial(400));
    assert!(report.changes_refused > 0 && report.differ == 0, "{report:?}");
}

#[test]
fn what_a_candidate_stores_in_a_region_stays_its_own() {
    let bench = Bench::new(1);
    attach(&bench, &build(&bench, &[]), 1);
    let (receipt, report) = under_load(&bench, &build(&bench, &["STORES"]), trial(400));
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    assert!(report.equal && report.compared > 0, "{report:?}");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn flushes_of_a_candidate_do_nothing() {
    let bench = Bench::new(1);
    attach(&bench, &build(&bench, &[]), 1);
    let (receipt, report) = under_load(&bench, &build(&bench, &["FLUSHES"]), trial(400));
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    assert!(report.flushes_swallowed >= report.compared && report.compared > 0, "{report:?}");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_candidate_that_fails_or_never_answers_is_found_and_keeps_nobody_waiting() {
    let report = found_out(1, &["FAIL_READS"], trial(2_000));
    assert!(report.failed > 0 && report.first_failure.contains("of device 0"), "{report:?}");
    let report = found_out(2, &["MUTE"], trial(300));
    assert!(report.unanswered > 0 && report.compared == 0, "{report:?}");
    assert!(report.skipped > 0, "reads went on when its slots were used up: {report:?}");
    let report = found_out(1, &["TWICE"], trial(300));
    assert!(report.faults > 0, "{report:?}");
}

#[test]
fn a_candidate_that_does_not_connect_is_refused_and_one_that_takes_long_delays_nobody() {
    let report = found_out(1, &["FAIL_CONNECT"], trial(300));
    assert!(report.against[0].contains("connect"), "{report:?}");
    let report = found_out(1, &["OTHER_OPEN"], trial(300));
    assert!(report.against[0].contains("a trial opens nothing"), "{report:?}");

    let bench = Bench::new(1);
    attach(&bench, &build(&bench, &[]), 1);
    let slow = build(&bench, &["HANG"]);
    let load = bench.load("vol0", 1, 8);
    std::fs::write(gate(&bench), "").expect("a gate");
    let only = TrialOptions { only: true, ..trial(200) };
    let receipt = std::thread::scope(|scope| {
        let update = scope.spawn(|| bench.engine.update("vol0", &slow, &tried(only)));
        wait_for(|| bench.engine.port("vol0").expect("port").shadow.is_some());
        load.pass(2_000);
        std::fs::remove_file(gate(&bench)).expect("gone");
        update.join().expect("receipt")
    });
    assert!(receipt.shadow.is_some_and(|report| report.equal), "{}", receipt.reason);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn slowness_counts_when_it_is_asked_about() {
    // Bounds that hold, or do not, on any machine, however busy.
    let within = |factor| Bounds { max_latency: Some(factor), ..Bounds::default() };
    let report = found_out(1, &["LATE=2000000"], TrialOptions { bounds: within(1e-9), ..trial(500) });
    assert!(report.against[0].starts_with("slower"), "{report:?}");
    assert!(report.candidate_p50_ns > 2_000_000 && report.differ == 0, "{report:?}");
    let bench = Bench::new(1);
    attach(&bench, &build(&bench, &[]), 1);
    let shadow = TrialOptions { bounds: within(1e9), ..trial(200) };
    let (receipt, _) = under_load(&bench, &build(&bench, &["LATE=2000000"]), shadow);
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_trial_alone_reports_and_changes_nothing() {
    let bench = Bench::new(1);
    attach(&bench, &build(&bench, &[]), 1);
    let same = build(&bench, &[]);
    let (receipt, report) =
        under_load(&bench, &same, TrialOptions { only: true, sample: 0.25, ..trial(400) });
    assert!(report.equal && report.compared > 0, "{report:?}");
    assert!(report.passed > report.compared, "a quarter is copied: {report:?}");
    assert_eq!((receipt.outcome, receipt.generation_after), (Outcome::Tried, 1), "{receipt:?}");
    assert!(receipt.reason.contains("only a trial"), "{receipt:?}");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_trial_that_could_compare_nothing_or_cannot_be_made_is_refused_with_its_reason() {
    let refused = |defines: &[&str], shadow: TrialOptions| {
        let bench = Bench::new(1);
        attach(&bench, &build(&bench, defines), 1);
        let receipt = bench.engine.update("vol0", &build(&bench, defines), &tried(shadow));
        assert_eq!(receipt.outcome, Outcome::Refused, "{receipt:?}");
        bench.engine.stop(Duration::from_secs(10));
        receipt.reason
    };
    let why = refused(&[], trial(50));
    assert!(why.contains("0 reads could be compared"), "{why}");
    let why = refused(&["STATE"], trial(50));
    assert!(why.contains("save_state"), "{why}");
    let why = refused(&[], TrialOptions { sample: 1.5, ..trial(50) });
    assert!(why.contains("sampling rate 1.5"), "{why}");
    let why = refused(&[], trial(0));
    assert!(why.contains("allowed: above 0"), "{why}");
}

#[test]
fn a_candidate_gets_a_copy_of_the_state() {
    let bench = Bench::new(2);
    attach(&bench, &build(&bench, &["STATE", "SAVES"]), 2);
    let (receipt, report) = under_load(&bench, &build(&bench, &["STATE", "SAVES", "NEEDS"]), trial(300));
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    assert!(report.equal && report.compared > 0, "{report:?}");
    bench.engine.stop(Duration::from_secs(10));
}

fn wait_for(is: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it never came to that");
}

#[test]
fn who_wants_the_port_meanwhile_is_told_or_ends_the_trial() {
    let bench = Bench::new(1);
    attach(&bench, &build(&bench, &[]), 1);
    let (same, long) = (build(&bench, &[]), trial(600_000));
    let load = bench.load("vol0", 2, 8);
    let begin = |engine: &Engine| {
        let (engine, same) = (engine.clone(), same.clone());
        std::thread::spawn(move || engine.update("vol0", &same, &tried(long)))
    };
    let under_way = || bench.engine.port("vol0").expect("port").shadow.is_some_and(|s| s.compared > 0);

    let update = begin(&bench.engine);
    wait_for(under_way);
    let shown = bench.engine.port("vol0").expect("port").shadow.expect("a trial");
    assert_eq!((shown.candidate.driver.as_str(), shown.differ), ("candidate", 0), "{shown:?}");
    assert!(shown.left_ms > 0);
    assert_eq!(bench.engine.ports().len(), 1, "the candidate's port is nobody's device");
    assert_eq!(bench.engine.devices().len(), 1);
    let second = bench.engine.update("vol0", &same, &UpdateOptions::default());
    assert_eq!(second.outcome, Outcome::Busy, "{second:?}");
    assert!(second.reason.contains("candidate 1.0.0 is on trial"), "{second:?}");
    assert_eq!(load.stop(), Vec::<String>::new());
    let busy = bench.engine.detach("vol0", false).expect_err("busy");
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");

    bench.engine.detach("vol0", true).expect("detached");
    let receipt = update.join().expect("receipt");
    assert_eq!(receipt.outcome, Outcome::Refused, "{receipt:?}");
    assert!(receipt.reason.contains("the device is taken away"), "{receipt:?}");

    attach(&bench, &same, 1);
    let load = bench.load("vol0", 2, 8);
    let update = begin(&bench.engine);
    wait_for(under_way);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
    let receipt = update.join().expect("receipt");
    assert!(receipt.reason.contains("the daemon stops"), "{receipt:?}");
}

#[test]
fn trials_leave_nothing_behind() {
    let bench = Bench::new(2);
    attach(&bench, &build(&bench, &[]), 2);
    let (same, wrong) = (build(&bench, &[]), build(&bench, &["WRONG", "MUTE"]));
    let load = bench.load("vol0", 2, 8);
    let count = |dir: &str| std::fs::read_dir(dir).expect("proc").count();
    let maps = || std::fs::read_to_string("/proc/self/maps").expect("proc").lines().count();
    let mut before = None;
    for round in 0..6 {
        let only = TrialOptions { only: true, ..trial(30) };
        for module in [&same, &wrong] {
            let receipt = bench.engine.update("vol0", module, &tried(only));
            assert_eq!(receipt.unload, Unload::Unloaded, "{receipt:?}");
        }
        load.pass(200);
        // The first rounds warm allocators and stacks of threads up.
        if round == 2 {
            before = Some((count("/proc/self/fd"), maps()));
        }
    }
    let (files, mapped) = before.expect("counted");
    assert_eq!(count("/proc/self/fd"), files, "open files");
    assert!(maps() <= mapped + 8, "mappings: {} then, {} now", mapped, maps());
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}
