//! What a daemon relies on: numbers go on, nothing answered is lost, and a disk that fails is nobody's
//! problem but the history's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use steadfast_history::{FILE, Filter, History};
use steadfast_shell::receipt::{Kind, Outcome, Receipt};

fn receipt(id: u64, port: &str, outcome: Outcome) -> Receipt {
    let document = serde_json::json!({
        "id": id, "port": port, "started_unix_ms": 1_000 * id,
        "from": {"driver": "file", "version": "1.0.0", "hash": ""}, "to": null,
        "outcome": outcome, "reason": "", "mode": null, "phases": [],
        "held": 0, "drained": 0, "adopted": 0, "pause_ns": 0, "longest_stall_ns": 0,
        "generation_before": 1, "generation_after": 2, "unload": "none"
    });
    serde_json::from_value(document).expect("a receipt")
}

fn ids(list: &[Receipt]) -> Vec<u64> {
    list.iter().map(|receipt| receipt.id).collect()
}

fn fill(history: &History, count: u64) {
    for id in history.last_id() + 1..=history.last_id() + count {
        let outcome = if id % 3 == 0 { Outcome::Refused } else { Outcome::Done };
        history.add(&receipt(id, if id % 2 == 0 { "even" } else { "odd" }, outcome));
    }
}

#[test]
fn receipts_and_their_numbers_outlive_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 100);
    fill(&history, 5);
    drop(history);
    let history = History::open(folder.path(), 100);
    assert_eq!(history.last_id(), 5);
    fill(&history, 2);
    assert_eq!(ids(&history.list(&Filter::default())), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(history.get(2), Some(receipt(2, "even", Outcome::Done)));
    assert_eq!(history.get(8), None);
    assert_eq!(history.try_list(&Filter::default()), Some(history.list(&Filter::default())));
    assert_eq!(history.last_of("even").map(|r| r.id), Some(6));
    let status = history.status();
    assert_eq!((status.stored, status.unsaved, status.error.as_str()), (7, 0, ""));
}

#[test]
fn what_was_added_is_in_the_file_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 100);
    fill(&history, 3);
    // What a killed process leaves is what is in its files now.
    let copy = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    let found = History::open(copy.path(), 100);
    assert_eq!(ids(&found.list(&Filter::default())), [1, 2, 3]);
}

#[test]
fn a_filter_takes_the_newest_of_what_it_means() {
    let folder = tempfile::tempdir().expect("a folder");
    drop({
        let history = History::open(folder.path(), 1000);
        fill(&history, 300);
        history
    });
    let history = History::open(folder.path(), 1000);
    fill(&history, 20);
    let list = |filter: Filter| ids(&history.list(&filter));
    assert_eq!(list(Filter { limit: Some(3), ..Filter::default() }), [318, 319, 320]);
    let odd = Filter { port: Some("odd".into()), limit: Some(2), ..Filter::default() };
    assert_eq!(list(odd), [317, 319]);
    let refused = Filter { outcome: Some(Outcome::Refused), limit: Some(2), ..Filter::default() };
    assert_eq!(list(refused), [315, 318]);
    let since = Filter { since_unix_ms: Some(319_000), ..Filter::default() };
    assert_eq!(list(since), [319, 320]);
    assert_eq!(list(Filter::default()).len(), 320);
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 10);
    fill(&history, 25);
    assert_eq!(history.status().stored, 10);
    drop(history);
    let history = History::open(folder.path(), 4);
    assert_eq!(ids(&history.list(&Filter::default())), [22, 23, 24, 25]);
    assert_eq!(history.last_id(), 25);
}

#[test]
fn the_log_is_moved_into_the_database_when_there_is_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 10_000);
    fill(&history, 1500);
    let log = folder.path().join(format!("{FILE}-wal"));
    let begin = std::time::Instant::now();
    while fs::metadata(&log).expect("a log").len() > 1 << 20 {
        assert!(begin.elapsed().as_secs() < 60, "the log stays long");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    fill(&history, 1);
    assert_eq!((history.status().stored, history.status().unsaved), (1501, 0));
}

#[test]
fn what_is_put_off_is_done_although_somebody_always_asks() {
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink("/dev/full", folder.path().join(FILE)).expect("a link");
    let history = History::open(folder.path(), 100);
    fill(&history, 1);
    fs::remove_file(folder.path().join(FILE)).expect("room again");
    let begin = std::time::Instant::now();
    // Never a second without a command.
    while history.status().stored == 0 {
        assert!(begin.elapsed().as_secs() < 60, "{:?}", history.status());
        fill(&history, 1);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_file_that_is_no_database_costs_nobody_anything() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE);
    fs::write(&path, "precious, and no database, and long enough to be read as the head of one")
        .expect("written");
    let history = History::open(folder.path(), 10);
    assert!(history.last_id() > 1_000_000_000, "no number is given twice");
    fill(&history, 3);
    let status = history.status();
    assert_eq!((status.stored, status.unsaved), (0, 3));
    assert!(status.error.contains("not a database"), "{}", status.error);
    assert_eq!(history.list(&Filter::default()).len(), 3);
    assert_eq!(history.try_list(&Filter::default()), None, "there may be more than is known");
    assert!(history.last_of("odd").is_some());
    drop(history);
    assert!(fs::read_to_string(&path).expect("there").starts_with("precious"));
}

#[test]
fn a_full_disk_is_told_and_made_up_for() {
    // A device that is always full takes the place of the file system: SQLite cannot even begin.
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink("/dev/full", folder.path().join(FILE)).expect("a link");
    let history = History::open(folder.path(), 10);
    fill(&history, 2);
    let status = history.status();
    assert_eq!((status.stored, status.unsaved), (0, 2));
    assert!(!status.error.is_empty());
    fs::remove_file(folder.path().join(FILE)).expect("room again");
    let begin = std::time::Instant::now();
    while history.status().unsaved > 0 {
        assert!(begin.elapsed().as_secs() < 60, "{:?}", history.status());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!((history.status().stored, history.status().error.as_str()), (2, ""));
}

#[test]
fn a_second_daemon_does_not_write_into_the_first_ones_history() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = History::open(folder.path(), 10);
    fill(&first, 1);
    let second = History::open(folder.path(), 10);
    fill(&second, 1);
    assert!(second.status().error.contains("another daemon"), "{}", second.status().error);
    assert_eq!(second.status().unsaved, 1);
    assert_eq!(ids(&first.list(&Filter::default())), [1]);
}

#[test]
fn it_is_nobody_elses_to_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("a/state");
    drop(History::open(&state, 10));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join(FILE))), (0o700, 0o600));
}

#[test]
fn kinds_are_told_apart_on_disk_and_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let kinds = [Kind::Update, Kind::Live, Kind::Activation, Kind::Live];
    let ask = |history: &History, kinds: Vec<Kind>, limit| {
        let filter = Filter { kinds, limit: Some(limit), ..Filter::default() };
        history.list(&filter).iter().map(|r| r.id).collect::<Vec<_>>()
    };
    let check = |history: &History| {
        assert_eq!(ask(history, vec![Kind::Live, Kind::Activation], 10), [2, 3, 4]);
        assert_eq!(ask(history, vec![Kind::Live], 1), [4]);
        assert_eq!(ask(history, vec![Kind::Update], 1), [1], "the newest of its kind, whatever came since");
        assert_eq!(ask(history, Vec::new(), 10), [1, 2, 3, 4]);
    };
    let memory = History::in_memory();
    let disk = History::open(folder.path(), 100);
    for (id, kind) in (1..).zip(kinds) {
        let receipt = Receipt { kind, ..receipt(id, "vol0", Outcome::Done) };
        memory.add(&receipt);
        disk.add(&receipt);
    }
    check(&memory);
    check(&disk);
    drop(disk);
    check(&History::open(folder.path(), 100));
}

#[test]
fn memory_alone_is_bounded() {
    let history = History::in_memory();
    fill(&history, 1000);
    assert_eq!(history.list(&Filter::default()).len(), 256);
    assert_eq!(history.try_list(&Filter::default()).map(|list| list.len()), Some(256));
    assert_eq!(history.status().path, None);
}

#[test]
fn a_receipt_that_is_changed_later_is_changed_on_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 1000);
    fill(&history, 300);
    let changed = |id| Receipt { reason: "changed".into(), ..receipt(id, "odd", Outcome::Done) };
    // One that memory has, one that only the disk has, one that was never there.
    for id in [299, 3, 301] {
        let amended = history.amend(&changed(id));
        history.wait_amended(amended);
    }
    assert_eq!(history.last_of("even").map(|r| r.id), Some(300));
    drop(history);
    let history = History::open(folder.path(), 1000);
    for id in [299, 3, 301] {
        assert_eq!(history.get(id), Some(changed(id)));
    }
    assert_eq!((history.status().stored, history.last_id()), (301, 301));
}

#[test]
fn an_update_that_ends_after_a_later_one_is_written_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 100);
    history.add(&receipt(2, "vol1", Outcome::Done));
    history.add(&receipt(1, "vol0", Outcome::Done));
    drop(history);
    assert_eq!(ids(&History::open(folder.path(), 100).list(&Filter::default())), [1, 2]);
}

#[test]
fn updates_that_end_at_the_same_time_keep_all_their_receipts() {
    const THREADS: u64 = 8;
    const EACH: u64 = 75;
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 10_000);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let history = &history;
            scope.spawn(move || {
                for turn in 0..EACH {
                    // Numbers are given at the beginning, and the later ones end first.
                    let id = turn * THREADS + (THREADS - thread);
                    history.note(&receipt(id, "a", Outcome::Refused));
                    history.add(&receipt(id, "a", Outcome::Done));
                }
            });
        }
    });
    history.close();
    assert_eq!(history.status().unsaved, 0, "{:?}", history.status());
    let history = History::open(folder.path(), 10_000);
    let all: Vec<u64> = (1..=THREADS * EACH).collect();
    assert_eq!(ids(&history.list(&Filter::default())), all);
    assert!(history.take_attempts().is_empty(), "all of them have come to an end");
}

#[test]
fn the_newest_of_a_port_is_the_one_that_began_last_whatever_ended_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 100);
    history.add(&receipt(2, "vol0", Outcome::Busy));
    history.add(&receipt(1, "vol0", Outcome::Done));
    assert_eq!(history.last_of("vol0").map(|r| r.id), Some(2));
    drop(history);
    assert_eq!(History::open(folder.path(), 100).last_of("vol0").map(|r| r.id), Some(2));
}

#[test]
fn what_is_on_disk_makes_room_in_memory_before_what_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 10_000);
    // The first ends last of all.
    for id in 2..=400 {
        history.add(&receipt(id, "a", Outcome::Done));
    }
    history.add(&receipt(1, "b", Outcome::Done));
    history.close();
    assert_eq!((history.status().unsaved, history.status().dropped), (0, 0));
    assert_eq!(History::open(folder.path(), 10_000).get(1), Some(receipt(1, "b", Outcome::Done)));
}

#[test]
fn what_was_noted_and_never_ended_is_found_once_and_its_number_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 100);
    history.note(&receipt(1, "a", Outcome::Refused));
    history.add(&receipt(1, "a", Outcome::Done));
    history.note(&receipt(2, "a", Outcome::Refused));
    assert_eq!(ids(&history.list(&Filter::default())), [1], "what is noted is no receipt yet");
    drop(history);
    let history = History::open(folder.path(), 100);
    assert_eq!((ids(&history.take_attempts()), history.last_id()), (vec![2], 2));
    assert!(history.take_attempts().is_empty(), "once");
    history.add(&receipt(2, "a", Outcome::Interrupted));
    drop(history);
    let history = History::open(folder.path(), 100);
    assert!(history.take_attempts().is_empty(), "it has come to an end");
    assert_eq!(ids(&history.list(&Filter::default())), [1, 2]);
}

#[test]
fn probations_that_run_are_found_however_old_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 5000);
    fill(&history, 1);
    let mut old = history.get(1).expect("the first");
    old.probation = Some(Default::default());
    history.wait_amended(history.amend(&old));
    fill(&history, 1200);
    let running = Filter { on_probation: true, ..Filter::default() };
    assert_eq!(ids(&history.list(&running)), [1]);
}

#[test]
fn a_file_that_is_deleted_under_the_daemon_is_noticed_and_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::open(folder.path(), 100);
    fill(&history, 3);
    for name in [FILE.to_owned(), format!("{FILE}-wal"), format!("{FILE}-shm")] {
        let _ = fs::remove_file(folder.path().join(name));
    }
    // It is looked for every few seconds.
    for _ in 0..30_000 {
        if folder.path().join(FILE).exists() && history.status().error.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fill(&history, 1);
    drop(history);
    let history = History::open(folder.path(), 100);
    assert_eq!(
        ids(&history.list(&Filter::default())),
        [1, 2, 3, 4],
        "what was in memory is written once more"
    );
}
