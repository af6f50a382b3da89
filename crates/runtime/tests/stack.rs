//! Devices over devices: what is written above is read below and the other way round, whichever of the
//! two drivers is replaced under load.

#[path = "support/ask.rs"]
mod single;
mod support;

use single::{ask, request};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use steadfast_abi::{Extent, block_flag, block_op, extent};
use steadfast_loader::StagedModule;
use steadfast_runtime::{EngineConfig, ErrorKind, PortSpec, PortState, UpdateOptions};
use steadfast_shell::receipt::{Mode, Outcome};
use support::Bench;

fn file(bench: &Bench, megabytes: u64) -> String {
    let path = bench.dir.path().join("disk.img");
    let file = std::fs::File::create(&path).expect("created");
    file.set_len(megabytes << 20).expect("sized");
    path.display().to_string()
}

/// The driver in C whose requests take a while, built with `defines`.
fn slow(bench: &Bench, defines: &[&str]) -> StagedModule {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = bench.dir.path().join(format!("slow{}.so", defines.join("-")));
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

fn attach(bench: &Bench, name: &str, module: &StagedModule, queues: Option<usize>) {
    let module = Arc::new(module.load().expect("loaded"));
    let spec = PortSpec { name: name.into(), module, params: BTreeMap::new(), queues, adapter: None };
    bench.engine.attach(spec).expect("attached");
}

/// Why a port over `below` cannot be attached.
fn refused(bench: &Bench, name: &str, below: &str, queues: Option<usize>) -> String {
    let module = Arc::new(bench.stage("over").load().expect("loaded"));
    let params = BTreeMap::from([("device".to_owned(), below.to_owned())]);
    let spec = PortSpec { name: name.into(), module, params, queues, adapter: None };
    bench.engine.attach(spec).expect_err("refused").to_string()
}

fn update(bench: &Bench, port: &str, module: &StagedModule, mode: Mode) {
    let opts = UpdateOptions { mode: Some(mode), allow_older: true, ..UpdateOptions::default() };
    let receipt = bench.engine.update(port, module, &opts);
    assert_eq!((receipt.outcome, receipt.mode), (Outcome::Done, Some(mode)), "{port}: {receipt:?}");
}

#[test]
fn both_drivers_are_replaced_under_load_in_every_mode_on_every_queue() {
    for queues in [1, 3] {
        let bench = Bench::new(queues);
        let path = file(&bench, 16);
        bench.attach("disk", "file_1_0", &[("path", &path)], Some(queues));
        bench.attach("top", "over", &[("device", "disk")], Some(queues));
        let (old, new, over) = (bench.stage("file_1_0"), bench.stage("file_1_1"), bench.stage("over"));
        let load = bench.load("top", queues * 2, 16);
        for _ in 0..15 {
            update(&bench, "disk", &new, Mode::Adopt);
            load.pass(40);
            update(&bench, "top", &over, Mode::Adopt);
            load.pass(40);
            update(&bench, "disk", &old, Mode::Drain);
            load.pass(40);
            update(&bench, "top", &over, Mode::Drain);
            load.pass(40);
            update(&bench, "top", &over, Mode::Split);
            load.pass(40);
        }
        assert_eq!(load.stop(), Vec::<String>::new());
        let (disk, top) = (bench.engine.port("disk").expect("port"), bench.engine.port("top").expect("port"));
        assert_eq!((disk.swaps, top.swaps, top.errors, disk.errors), (30, 45, 0, 0));
        assert_eq!((top.in_flight, disk.in_flight, disk.clients), (0, 0, 1));
        assert!(disk.requests >= top.requests, "each request above is one below");
        bench.engine.stop(Duration::from_secs(10));
        assert!(bench.engine.ports().is_empty(), "the upper one goes first");
    }
}

#[test]
fn two_devices_share_one_that_has_fewer_slots_than_they_want() {
    let bench = Bench::with(EngineConfig { queues: 2, slots_per_port: 128, ..EngineConfig::default() });
    let slow_one = slow(&bench, &[]);
    attach(&bench, "slow", &slow_one, Some(2));
    bench.attach("a", "over", &[("device", "slow")], None);
    bench.attach("b", "over", &[("device", "a"), ("read_only", "true")], None);
    bench.attach("c", "over", &[("device", "slow"), ("read_only", "true")], None);
    let load = bench.load("a", 2, 64);
    let reads = [bench.readers("b", 2, 64), bench.readers("c", 2, 64)];
    let over = bench.stage("over");
    for round in 0..10 {
        load.pass(100);
        update(&bench, "slow", &slow_one, if round % 2 == 0 { Mode::Adopt } else { Mode::Drain });
        reads.iter().for_each(|r| r.pass(100));
        update(&bench, ["a", "b", "c"][round % 3], &over, Mode::Drain);
    }
    for reads in reads {
        assert_eq!(reads.stop(), Vec::<String>::new());
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(bench.engine.port("slow").expect("port").clients, 2);
    bench.engine.stop(Duration::from_secs(10));
    assert!(bench.engine.ports().is_empty());
}

#[test]
fn operations_larger_than_the_device_below_takes_are_split() {
    let bench = Bench::new(1);
    attach(&bench, "slow", &slow(&bench, &["MOST=1024"]), None);
    bench.attach("top", "over", &[("device", "slow")], None);
    let load = bench.load("top", 2, 16);
    load.pass(200);
    assert_eq!(load.stop(), Vec::<String>::new());
    let (top, below) = (bench.engine.port("top").expect("port"), bench.engine.port("slow").expect("port"));
    assert_eq!(below.requests, top.requests * 4, "4096 bytes are four times 1024");
    // Not a multiple of a piece, across the end of one.
    assert_eq!(ask(&bench.engine, "top", request(block_op::WRITE, 0, 512, 2560), 7).0, 0);
    let (result, data) = ask(&bench.engine, "top", request(block_op::READ, 0, 0, 4096), 0);
    assert_eq!(result, 0);
    let sevens: Vec<usize> = (0..4096).filter(|i| data[*i] == 7).collect();
    assert_eq!((sevens.len(), sevens[0], sevens[2559]), (2560, 512, 3071));
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn every_kind_of_request_goes_through() {
    let bench = Bench::new(1);
    let path = file(&bench, 4);
    bench.attach("disk", "file_1_1", &[("path", &path)], None);
    bench.attach("top", "over", &[("device", "disk")], None);
    let send =
        |op, flags, offset, length, fill| ask(&bench.engine, "top", request(op, flags, offset, length), fill);
    assert_eq!(send(block_op::WRITE, block_flag::FUA, 0, 65536, 9).0, 0);
    assert_eq!(send(block_op::FLUSH, 0, 0, 0, 0).0, 0);
    assert_eq!(ask(&bench.engine, "disk", request(block_op::READ, 0, 0, 512), 0).1, vec![9; 512]);
    assert_eq!(send(block_op::WRITE_ZEROES, block_flag::FUA, 4096, 8192, 0).0, 0);
    let (result, data) = send(block_op::READ, 0, 0, 16384, 1);
    assert!(result == 0 && data[..4096].iter().all(|b| *b == 9) && data[4096..12288].iter().all(|b| *b == 0));
    assert_eq!(send(block_op::WRITE_ZEROES, block_flag::NO_HOLE, 0, 4096, 0).0, 0);
    assert_eq!(send(block_op::TRIM, 0, 16384, 1 << 20, 0).0, 0);
    let (count, data) = send(block_op::STATUS, 0, 0, 1 << 20, 0xff);
    assert!(count >= 1, "{count}");
    let word = |at: usize| u64::from_ne_bytes(data[at..at + 8].try_into().expect("8 bytes"));
    let extents: Vec<Extent> =
        (0..count as usize).map(|i| Extent { length: word(i * 16), flags: word(i * 16 + 8) }).collect();
    assert_eq!(extents.iter().map(|e| e.length).sum::<u64>(), 1 << 20, "{extents:?}");
    assert!(extents.iter().any(|e| e.flags == extent::HOLE | extent::ZERO), "what was trimmed: {extents:?}");
    let below = bench.engine.metrics("disk").expect("port").operations;
    for kind in ["read", "write", "flush", "trim", "write-zeroes", "status"] {
        assert!(below.contains_key(kind), "{kind} in {below:?}");
    }
    let outside = send(block_op::WRITE, 0, 4 << 20, 4096, 0).0;
    assert_eq!(outside, -libc::ENOSPC, "behind the end");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_device_without_fua_is_flushed_behind_such_a_write() {
    let bench = Bench::new(1);
    attach(&bench, "slow", &slow(&bench, &["CACHE", "MOST=2048"]), None);
    bench.attach("top", "over", &[("device", "slow")], None);
    for i in 0..3 {
        assert_eq!(
            ask(&bench.engine, "top", request(block_op::WRITE, block_flag::FUA, i * 4096, 4096), 3).0,
            0
        );
    }
    let below = bench.engine.metrics("slow").expect("port").operations;
    assert_eq!((below["flush"].requests, below["write"].requests), (3, 6), "{below:?}");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn circles_strangers_and_other_queues_are_refused_by_name() {
    let bench = Bench::new(4);
    bench.attach("ram", "ram", &[("size", "1M")], Some(1));
    let text = refused(&bench, "top", "disk", None);
    assert!(text.contains("no device disk (devices: ram)"), "{text}");
    let text = refused(&bench, "top", "top", None);
    assert!(text.contains("would lie over itself"), "{text}");
    let text = refused(&bench, "top", "ram", Some(2));
    assert!(text.contains("device ram is on the queues") && text.contains("top on"), "{text}");
    bench.attach("top", "over", &[("device", "ram")], None);
    let top = bench.engine.port("top").expect("port");
    assert_eq!(top.queues, bench.engine.port("ram").expect("port").queues, "queues that suit are chosen");
    assert_eq!(top.over, ["ram"]);
    assert_eq!(bench.engine.port("ram").expect("port").clients, 1, "what was refused has no claim any more");
    let text = bench.engine.detach("ram", false).expect_err("in use").to_string();
    assert!(text.contains("devices that lie over it: top"), "{text}");
    // `ram` would lie over `top`, which lies over `ram`.
    let over = [("device".to_owned(), Some("top".to_owned())), ("size".to_owned(), None)];
    let opts = UpdateOptions { allow_other: true, params: BTreeMap::from(over), ..UpdateOptions::default() };
    let circle = bench.engine.update("ram", &bench.stage("over"), &opts);
    assert_eq!(circle.outcome, Outcome::Refused, "{circle:?}");
    assert!(circle.reason.contains("device top: ram would lie over itself"), "{}", circle.reason);
    bench.engine.detach("top", false).expect("idle");
    // The queue may learn a moment later that nothing lies over it any more.
    let begin = std::time::Instant::now();
    while let Err(busy) = bench.engine.detach("ram", false) {
        assert!(begin.elapsed() < Duration::from_secs(30), "nothing lies over it any more: {busy}");
        std::thread::yield_now();
    }
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_feature_that_the_device_above_was_shown_stays() {
    let bench = Bench::new(1);
    let path = file(&bench, 4);
    bench.attach("disk", "file_1_1", &[("path", &path)], None);
    bench.attach("top", "over", &[("device", "disk")], None);
    let older = UpdateOptions { allow_older: true, ..UpdateOptions::default() };
    let refused = bench.engine.update("disk", &bench.stage("file_1_0"), &older);
    assert_eq!(refused.outcome, Outcome::Refused);
    assert!(refused.reason.contains("trim"), "{}", refused.reason);
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_device_taken_away_by_force_fails_what_is_above_and_can_come_back() {
    let bench = Bench::new(2);
    let module = slow(&bench, &[]);
    attach(&bench, "slow", &module, Some(2));
    bench.attach("top", "over", &[("device", "slow")], Some(2));
    let load = bench.load("top", 2, 32);
    load.pass(100);
    let busy = bench.engine.detach("slow", false).expect_err("in use");
    assert_eq!(busy.kind(), ErrorKind::Busy);
    bench.engine.detach("slow", true).expect("forced");
    assert_eq!(ask(&bench.engine, "top", request(block_op::READ, 0, 0, 4096), 0).0, -libc::ENODEV);
    let failed = load.stop();
    assert!(!failed.is_empty() && failed.iter().all(|f| f.contains("result -19")), "{:?}", failed.first());
    let top = bench.engine.port("top").expect("port");
    assert_eq!((top.state, top.in_flight), (PortState::Running, 0));
    let gone = bench.engine.update("top", &bench.stage("over"), &UpdateOptions::default());
    assert_eq!(gone.outcome, Outcome::Refused, "there is nothing to open: {gone:?}");
    attach(&bench, "slow", &module, Some(2));
    update(&bench, "top", &bench.stage("over"), Mode::Adopt);
    let load = bench.load("top", 2, 32);
    load.pass(100);
    assert_eq!(load.stop(), Vec::<String>::new(), "it has the device anew");
    bench.engine.stop(Duration::from_secs(10));
    assert!(bench.engine.ports().is_empty());
}
