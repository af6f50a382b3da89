//! Files that a port has open: what locks them, and what becomes of them when the port is initialised anew.

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use steadfast_runtime::{ActivateOptions, PortSpec, UpdateOptions};
use steadfast_shell::properties::{Definition, Source};
use steadfast_shell::receipt::{Outcome, Receipt};
use support::Bench;

const RELEASES: [&str; 2] = ["file_1_0", "file_1_1"];

fn disk(bench: &Bench, name: &str, megabytes: u64) -> PathBuf {
    let path = bench.dir.path().join(name);
    File::create(&path).and_then(|file| file.set_len(megabytes << 20)).expect("a file");
    path
}

fn attach(bench: &Bench, release: &str, path: &Path, params: &[(&str, &str)]) {
    let path = path.display().to_string();
    bench.attach("vol0", release, &[&[("path", path.as_str())], params].concat(), None);
}

/// Initialises the port anew with these properties beside those that it has.
fn activate(bench: &Bench, changes: &[(&str, &str)]) -> Receipt {
    activate_with(bench, changes, &ActivateOptions::default())
}

fn activate_with(bench: &Bench, changes: &[(&str, &str)], opts: &ActivateOptions) -> Receipt {
    let mut set = bench.engine.port("vol0").expect("port").properties;
    for (name, value) in changes {
        let source = Source::Command { who: "a test".into() };
        set.insert((*name).to_owned(), Definition { value: (*value).to_owned(), source });
    }
    bench.engine.activate("vol0", move || Ok(set), opts)
}

/// The same by force.
fn force(bench: &Bench, changes: &[(&str, &str)]) -> Receipt {
    activate_with(bench, changes, &ActivateOptions { force: true, ..ActivateOptions::default() })
}

#[track_caller]
fn done(receipt: &Receipt) {
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:#?}");
}

#[track_caller]
fn went_back(receipt: &Receipt, why: &str) {
    assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:#?}");
    assert!(receipt.reason.contains(why), "{}", receipt.reason);
}

fn size(bench: &Bench) -> u64 {
    bench.engine.device("vol0").expect("device").size >> 20
}

/// Whether somebody else could lock the file now, in this way.
fn can_lock(path: &Path, how: libc::c_int) -> bool {
    let file = File::options().read(true).write(true).open(path).expect("opened");
    // SAFETY: plain call on an open descriptor.
    unsafe { libc::flock(file.as_raw_fd(), how | libc::LOCK_NB) == 0 }
}

#[track_caller]
fn free_for(path: &Path, whom: &str) {
    let found = match (can_lock(path, libc::LOCK_EX), can_lock(path, libc::LOCK_SH)) {
        (true, _) => "writers",
        (false, true) => "readers",
        (false, false) => "nobody",
    };
    assert_eq!(found, whom);
}

/// Somebody who tries to lock a file for himself, again and again.
struct Stranger {
    stop: Arc<AtomicBool>,
    tries: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

impl Stranger {
    fn at(path: &Path) -> Stranger {
        let (stop, tries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (path, ended, tried) = (path.to_owned(), stop.clone(), tries.clone());
        let thread = std::thread::spawn(move || {
            let mut got = 0;
            while !ended.load(Ordering::Relaxed) {
                got += u64::from(can_lock(&path, libc::LOCK_EX));
                tried.fetch_add(1, Ordering::Relaxed);
            }
            got
        });
        Stranger { stop, tries, thread }
    }

    /// How often he has got it, of more than so many attempts.
    fn end(self, at_least: u64) -> u64 {
        while self.tries.load(Ordering::Relaxed) < at_least {
            std::thread::yield_now();
        }
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

#[test]
fn a_file_that_is_opened_in_another_way_stays_locked() {
    for release in RELEASES {
        let bench = Bench::new(1);
        let path = disk(&bench, "disk.img", 4);
        attach(&bench, release, &path, &[]);
        let stranger = Stranger::at(&path);
        for _ in 0..20 {
            done(&activate(&bench, &[("direct", "true")]));
            free_for(&path, "nobody");
            done(&activate(&bench, &[("direct", "false")]));
            free_for(&path, "nobody");
            done(&activate(&bench, &[("read_only", "true")]));
            free_for(&path, "readers");
            done(&activate(&bench, &[("direct", "true")]));
            free_for(&path, "readers");
            done(&activate(&bench, &[("direct", "false"), ("read_only", "false")]));
            free_for(&path, "nobody");
        }
        assert_eq!(stranger.end(100), 0, "the lock has lapsed");
        // It opens nothing that would stay.
        assert_eq!(bench.engine.port("vol0").expect("port").handles.len(), 1);
        bench.engine.detach("vol0", false).expect("detached");
        free_for(&path, "writers");
    }
}

#[test]
fn a_change_that_is_taken_back_leaves_the_lock_as_it_was_under_load() {
    for release in RELEASES {
        let bench = Bench::new(1);
        let path = disk(&bench, "disk.img", 4);
        attach(&bench, release, &path, &[("direct", "true")]);
        let load = bench.load("vol0", 1, 8);
        load.pass(50);
        let stranger = Stranger::at(&path);
        // Smaller blocks suit clients that use large ones, and not the other way.
        done(&activate(&bench, &[("direct", "false")]));
        for _ in 0..10 {
            load.pass(50);
            bench.engine.open_device("vol0").expect("a client that is shown blocks of one byte");
            went_back(&activate(&bench, &[("direct", "true")]), "block size");
            free_for(&path, "nobody");
            went_back(
                &activate(&bench, &[("read_only", "true")]),
                "features that clients rely on are missing",
            );
            free_for(&path, "nobody");
            let missing = bench.dir.path().join("missing.img").display().to_string();
            went_back(&activate(&bench, &[("path", &missing)]), "missing.img");
            free_for(&path, "nobody");
        }
        assert_eq!(stranger.end(100), 0, "the lock has lapsed");
        assert_eq!(load.stop(), Vec::<String>::new());
        // A client of a device that only reads relies on no writing, and may come to have it.
        bench.engine.detach("vol0", true).expect("detached");
        attach(&bench, release, &path, &[("read_only", "true")]);
        let client = bench.engine.open_device("vol0").expect("device");
        done(&activate(&bench, &[("read_only", "false")]));
        free_for(&path, "nobody");
        drop(client);
    }
}

#[test]
fn a_file_that_others_read_is_not_taken_for_writing() {
    let bench = Bench::new(1);
    let path = disk(&bench, "disk.img", 4);
    attach(&bench, "file_1_0", &path, &[("read_only", "true")]);
    let target = path.display().to_string();
    bench.attach("reader", "file_1_1", &[("path", &target), ("read_only", "true")], None);
    for _ in 0..3 {
        went_back(&activate(&bench, &[("read_only", "false")]), "port reader of this daemon has it open");
        free_for(&path, "readers");
    }
    bench.engine.detach("reader", false).expect("detached");
    // What another port writes is refused as another process's is.
    done(&activate(&bench, &[("read_only", "false")]));
    let module = Arc::new(bench.stage("file_1_1").load().expect("loaded"));
    let params = BTreeMap::from([("path".to_owned(), target)]);
    let spec = PortSpec { name: "vol1".into(), module, params, queues: None, adapter: None };
    let why = bench.engine.attach(spec).expect_err("it is locked").to_string();
    assert!(why.contains("disk.img: port vol0 of this daemon has it open"), "{why}");
}

#[test]
fn another_name_of_the_file_that_is_open_is_no_other_file() {
    let bench = Bench::new(1);
    let path = disk(&bench, "disk.img", 4);
    attach(&bench, "file_1_1", &path, &[]);
    let load = bench.load("vol0", 1, 8);
    let (link, dotted) = (bench.dir.path().join("link.img"), bench.dir.path().join("./disk.img"));
    std::fs::hard_link(&path, &link).expect("linked");
    let stranger = Stranger::at(&path);
    for name in [&link, &dotted, &path, &link] {
        load.pass(50);
        done(&activate(&bench, &[("path", &name.display().to_string())]));
        free_for(&path, "nobody");
    }
    load.pass(50);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(stranger.end(100), 0, "the lock has lapsed");
}

#[test]
fn a_smaller_file_comes_by_force_where_nobody_uses_the_device() {
    for release in RELEASES {
        let bench = Bench::new(1);
        let (small, large) = (disk(&bench, "small.img", 4), disk(&bench, "large.img", 8));
        let [small, large] = [small, large].map(|path| path.display().to_string());
        attach(&bench, release, Path::new(&small), &[]);
        done(&activate(&bench, &[("path", &large)]));
        assert_eq!(size(&bench), 8);
        went_back(&activate(&bench, &[("path", &small)]), "becomes smaller");
        done(&force(&bench, &[("path", &small)]));
        assert_eq!(size(&bench), 4);
        // Down, or while it is down.
        done(&activate(&bench, &[("path", &large)]));
        done(&activate(&bench, &[("admin_state", "down")]));
        went_back(&activate(&bench, &[("admin_state", "up"), ("path", &small)]), "becomes smaller");
        done(&force(&bench, &[("admin_state", "up"), ("path", &small)]));
        assert_eq!(size(&bench), 4);
        // The file itself may have been cut, where nobody uses the device.
        File::options().write(true).open(&small).and_then(|f| f.set_len(2 << 20)).expect("cut");
        went_back(&activate(&bench, &[("direct", "true")]), "becomes smaller");
        done(&force(&bench, &[("direct", "true")]));
        assert_eq!(size(&bench), 2);
    }
}

#[test]
fn a_smaller_file_comes_with_another_release_of_the_driver() {
    let bench = Bench::new(1);
    let (small, large) = (disk(&bench, "small.img", 4), disk(&bench, "large.img", 8));
    attach(&bench, "file_1_0", &large, &[]);
    for (release, path, megabytes) in
        [("file_1_1", &small, 4), ("file_1_0", &large, 8), ("file_1_0", &small, 4), ("file_1_1", &small, 4)]
    {
        let path = Some(path.display().to_string());
        let params = BTreeMap::from([("path".to_owned(), path)]);
        let opts = UpdateOptions { allow_older: true, params, force: true, ..UpdateOptions::default() };
        done(&bench.engine.update("vol0", &bench.stage(release), &opts));
        assert_eq!(size(&bench), megabytes);
    }
}

#[test]
fn a_file_that_was_cut_under_clients_is_not_opened_anew() {
    for release in RELEASES {
        let bench = Bench::new(1);
        let path = disk(&bench, "disk.img", 4);
        attach(&bench, release, &path, &[("direct", "true")]);
        let client = bench.engine.open_device("vol0").expect("device");
        File::options().write(true).open(&path).and_then(|f| f.set_len(2 << 20)).expect("cut");
        went_back(&activate(&bench, &[("direct", "false")]), "smaller than the 4194304 that clients use");
        went_back(&force(&bench, &[("direct", "false")]), "smaller than the 4194304 that clients use");
        assert_eq!(size(&bench), 4);
        drop(client);
        went_back(&activate(&bench, &[("direct", "false")]), "becomes smaller");
        done(&force(&bench, &[("direct", "false")]));
        assert_eq!(size(&bench), 2);
    }
}

#[test]
fn another_file_does_not_come_under_clients_unless_forced() {
    for release in RELEASES {
        let bench = Bench::new(1);
        let (one, two) = (disk(&bench, "one.img", 4), disk(&bench, "two.img", 4));
        attach(&bench, release, &one, &[]);
        let load = bench.readers("vol0", 1, 8);
        load.pass(50);
        let [from, to] = [&one, &two].map(|path| path.display().to_string());
        let changes = BTreeMap::from([("path".to_owned(), Some(to.clone()))]);
        let exchange = bench.engine.exchange("vol0", &changes).expect("known before");
        assert_eq!((&exchange.from, &exchange.to, exchange.clients), (&from, &to, 1));
        let receipt = activate(&bench, &[("path", &to)]);
        assert_eq!((receipt.outcome, &receipt.reason), (Outcome::Busy, &exchange.why()), "{receipt:#?}");
        assert!(receipt.reason.contains("vol0 is in use by 1 client: "), "{}", receipt.reason);
        let opts = UpdateOptions { allow_older: true, params: changes, ..UpdateOptions::default() };
        let receipt = bench.engine.update("vol0", &bench.stage("file_1_1"), &opts);
        assert_eq!(receipt.outcome, Outcome::Busy, "{receipt:#?}");
        for said in ["contents: ", &from, &to, "vol0 is in use by 1 client"] {
            assert!(receipt.reason.contains(said), "no '{said}' in: {}", receipt.reason);
        }
        assert_eq!(receipt.generation_after, receipt.generation_before);
        // Nothing has changed, others are let in, and the other file is nobody's.
        assert_eq!(bench.engine.port("vol0").expect("port").params["path"], from);
        drop(bench.engine.open_device("vol0").expect("device"));
        free_for(&two, "writers");
        load.pass(50);
        let force = ActivateOptions { force: true, ..ActivateOptions::default() };
        done(&activate_with(&bench, &[("path", &to)], &force));
        load.pass(50);
        free_for(&one, "writers");
        // What goes back is not refused for it.
        let back = ActivateOptions { goes_back: true, ..ActivateOptions::default() };
        done(&activate_with(&bench, &[("path", &from)], &back));
        let opts = UpdateOptions { force: true, ..opts };
        done(&bench.engine.update("vol0", &bench.stage("file_1_1"), &opts));
        assert_eq!(bench.engine.port("vol0").expect("port").params["path"], to);
        assert_eq!(load.stop(), Vec::<String>::new());
        done(&activate(&bench, &[("path", &from)]));
        done(&activate(&bench, &[("path", &to)]));
    }
}

#[test]
fn a_port_that_is_down_has_not_forgotten_what_its_clients_use() {
    let bench = Bench::new(1);
    let (one, two) = (disk(&bench, "one.img", 4), disk(&bench, "two.img", 4));
    attach(&bench, "file_1_1", &one, &[]);
    let client = bench.engine.open_device("vol0").expect("device");
    let force = ActivateOptions { force: true, ..ActivateOptions::default() };
    done(&activate_with(&bench, &[("admin_state", "down")], &force));
    let up = [("admin_state", "up"), ("path", two.to_str().expect("text"))];
    let receipt = activate(&bench, &up);
    assert_eq!(receipt.outcome, Outcome::Busy, "{receipt:#?}");
    free_for(&two, "writers");
    // The same file, or what has been put in its place: that is what a port is taken down for.
    std::fs::rename(&two, &one).expect("renamed");
    done(&activate(&bench, &[("admin_state", "up")]));
    drop(client);
}

#[test]
fn a_file_in_the_place_of_the_one_that_is_open_does_not_come_under_clients() {
    let bench = Bench::new(1);
    let (one, two) = (disk(&bench, "one.img", 4), disk(&bench, "two.img", 4));
    attach(&bench, "file_1_1", &one, &[("direct", "true")]);
    let client = bench.engine.open_device("vol0").expect("device");
    std::fs::rename(&two, &one).expect("renamed");
    let receipt = activate(&bench, &[("direct", "false")]);
    assert_eq!(receipt.outcome, Outcome::Busy, "{receipt:#?}");
    assert!(receipt.reason.contains("one.img is another file by now"), "{}", receipt.reason);
    drop(client);
    done(&activate(&bench, &[("direct", "false")]));
}
