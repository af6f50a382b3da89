//! What operations may name: their request's own memory, and of others what a driver gathers. Everything
//! else is refused and counted, and no buffer goes back while the kernel may use it.

mod support;

#[path = "support/ask.rs"]
mod ask;

use ask::{ask, request};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use steadfast_abi::block_op::{READ, WRITE};
use steadfast_runtime::{PortInfo, PortSpec};
use support::Bench;

const BLOCK: u64 = 4096;

struct Rig {
    bench: Bench,
    file: std::fs::File,
}

impl Rig {
    fn new() -> Rig {
        let bench = Bench::new(1);
        let path = bench.dir.path().join("disk.img");
        let file =
            std::fs::File::options().create_new(true).read(true).write(true).open(&path).expect("file");
        file.write_all_at(&[7; 64 * 1024], 0).expect("written");
        let module = Arc::new(bench.c_module("names", &[]).load().expect("loaded"));
        let params = BTreeMap::from([("path".to_owned(), path.display().to_string())]);
        let spec = PortSpec { name: "vol0".into(), module, params, queues: Some(1), adapter: None };
        bench.engine.attach(spec).expect("attached: the driver is refused every impossible region");
        Rig { bench, file }
    }

    /// Asks for one block at `block`, which says what the driver does.
    fn ask(&self, op: u16, block: u64, fill: u8) -> (i32, Vec<u8>) {
        ask(&self.bench.engine, "vol0", request(op, 0, block * BLOCK, BLOCK), fill)
    }

    /// A request that the driver keeps.
    fn keep(&self, op: u16, fill: u8) -> JoinHandle<(i32, Vec<u8>)> {
        let engine = self.bench.engine.clone();
        let kept = std::thread::spawn(move || ask(&engine, "vol0", request(op, 0, 0, BLOCK), fill));
        while self.port().in_flight == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        kept
    }

    fn let_go(&self, kept: JoinHandle<(i32, Vec<u8>)>) -> (i32, Vec<u8>) {
        assert_eq!(self.ask(READ, 15, 0).0, 0);
        kept.join().expect("an answer")
    }

    fn port(&self) -> PortInfo {
        self.bench.engine.port("vol0").expect("port")
    }

    /// Asks for what the driver must not do, and is blamed for.
    fn refused(&self, op: u16, block: u64) {
        let before = self.port().driver_faults;
        let (result, _) = self.ask(op, block, 1);
        assert_eq!(result, -libc::EFAULT, "block {block}");
        assert_eq!(self.port().driver_faults, before + 1, "block {block}");
    }

    fn end(self) {
        let port = self.port();
        assert_eq!((port.in_flight, port.held), (0, 0), "{port:?}");
        self.bench.engine.stop(Duration::from_secs(10));
    }
}

#[test]
fn what_is_gathered_is_read_and_written_for_each_of_its_requests() {
    let rig = Rig::new();
    let kept = rig.keep(READ, 1);
    assert_eq!(rig.ask(READ, 1, 1), (0, vec![7; 4096]));
    assert_eq!(rig.let_go(kept), (0, vec![7; 4096]));
    let kept = rig.keep(WRITE, 0x22);
    assert_eq!(rig.ask(WRITE, 1, 0x11).0, 0);
    assert_eq!(rig.let_go(kept).0, 0);
    let mut found = vec![0; 8192];
    rig.file.read_exact_at(&mut found, 0).expect("read");
    assert!(found[..4096].iter().all(|b| *b == 0x11) && found[4096..].iter().all(|b| *b == 0x22));
    assert_eq!(rig.port().driver_faults, 0);
    rig.end();
}

#[test]
fn another_requests_data_is_not_read_into_nor_written_from_against_its_direction() {
    let rig = Rig::new();
    let kept = rig.keep(WRITE, 0x33);
    for block in [1, 2, 8] {
        rig.refused(READ, block);
    }
    assert_eq!(rig.let_go(kept), (0, vec![0x33; 4096]), "what was to be written is as it was");
    let kept = rig.keep(READ, 0x44);
    for block in [1, 2, 8] {
        rig.refused(WRITE, block);
    }
    rig.let_go(kept);
    let mut found = vec![0; 8192];
    rig.file.read_exact_at(&mut found, 0).expect("read");
    assert_eq!(found, vec![7; 8192], "nothing of a buffer's old contents has come to the file");
    rig.end();
}

#[test]
fn no_more_is_named_of_another_request_than_it_asked_for_and_nothing_of_what_is_nobodys() {
    let rig = Rig::new();
    for block in [4, 5, 6, 7, 10] {
        rig.refused(READ, block);
        rig.refused(WRITE, block);
    }
    // Nobody is kept: what was kept before is not the driver's any more.
    rig.refused(READ, 2);
    let kept = rig.keep(READ, 0);
    rig.refused(READ, 3);
    rig.let_go(kept);
    rig.end();
}

#[test]
fn a_buffer_that_an_operation_names_does_not_go_back_before_the_operation_has_ended() {
    let rig = Rig::new();
    for round in 1..=20 {
        let kept = rig.keep(READ, 1);
        assert_eq!(rig.ask(READ, 9, 1), (0, vec![7; 4096]));
        assert_eq!(kept.join().expect("an answer"), (0, vec![7; 4096]), "with what was read into it");
        assert_eq!(rig.port().driver_faults, round, "it was completed too early");
    }
    rig.end();
}
