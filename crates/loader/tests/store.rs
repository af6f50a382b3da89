//! The store: several users at once, and what they leave behind.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use steadfast_loader::{LoadErrorKind as Kind, ModuleStore};
use steadfast_shell::receipt::Unload;
use support::{Place, Source, names};

/// Says to [`other_process`] that it is the other process: store and module, with a newline between.
const OTHER: &str = "STEADFAST_TEST_STORE_AND_MODULE";

/// Not a test of its own: what the tests below start as another process. It loads a module, says so,
/// and waits to be killed.
#[test]
fn other_process() {
    let Ok(text) = std::env::var(OTHER) else { return };
    let (dir, module) = text.split_once('\n').unwrap();
    let store = ModuleStore::open(dir).unwrap();
    let loaded = store.stage(module).unwrap().load().unwrap();
    println!("\nloaded {}", loaded.path().display());
    // Ends by itself when the process that started it is gone.
    let _ = std::io::stdin().lines().next();
}

/// Starts the other process; returns it and the path that it has mapped.
fn start_other(dir: &Path, module: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "other_process", "--nocapture"])
        .env(OTHER, format!("{}\n{}", dir.display(), module.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mapped = lines.filter_map(|line| line.strip_prefix("loaded ").map(str::to_owned)).next();
    (child, mapped.expect("the other process loaded the module"))
}

fn runs(dir: &Path) -> usize {
    names(&dir.join("run")).len()
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (store, module) = (dir.path().join("store"), dir.path().join("m.so"));
    Source::new().compile(&module);
    let (mut first, first_mapped) = start_other(&store, &module);
    let (mut second, second_mapped) = start_other(&store, &module);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(Path::new(&first_mapped).exists(), "nothing was left: this test tests nothing");
    let own = ModuleStore::open(&store).unwrap();
    assert!(!Path::new(&first_mapped).exists(), "a dead process's copy is still there");
    assert!(Path::new(&second_mapped).exists(), "a living process's copy was removed");
    assert_eq!(runs(&store), 2);
    second.kill().unwrap();
    second.wait().unwrap();
    drop(own);
    let _own = ModuleStore::open(&store).unwrap();
    assert_eq!(runs(&store), 1);
}

#[test]
fn a_store_may_be_open_twice_in_one_process() {
    let place = Place::new();
    let module = place.module("m.so", &Source::new());
    let loaded = place.store.stage(&module).unwrap().load().unwrap();
    let other = ModuleStore::open(place.store.dir()).unwrap();
    assert!(loaded.path().exists());
    assert_ne!(other.run_dir(), place.store.run_dir());
}

#[test]
fn a_half_made_folder_is_a_leftover() {
    let place = Place::new();
    for (name, lock) in [("1-0", false), ("4242-7", true)] {
        let dir = place.store.dir().join("run").join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("0-half.so"), b"half").unwrap();
        if lock {
            fs::write(dir.join("lock"), b"").unwrap();
        }
    }
    let _again = ModuleStore::open(place.store.dir()).unwrap();
    assert_eq!(runs(place.store.dir()), 2);
}

#[test]
fn the_folder_of_a_run_goes_with_its_last_user() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("m.so");
    Source::new().compile(&module);
    let path = dir.path().join("store");
    let store = ModuleStore::open(&path).unwrap();
    let staged = store.stage(&module).unwrap();
    let loaded = staged.load().unwrap();
    drop((store, staged));
    assert_eq!(runs(&path), 1, "a loaded module needs it");
    assert_eq!(loaded.unload(), Unload::Unloaded);
    assert_eq!(runs(&path), 0);
    assert!(names(&path).iter().any(|name| name.ends_with(".so")), "the module stays in the store");
}

#[test]
fn giving_the_folder_up_is_refused_while_it_is_used() {
    let place = Place::new();
    let Place { dir, store } = place;
    let staged = {
        let module = dir.path().join("m.so");
        Source::new().compile(&module);
        store.stage(&module).unwrap()
    };
    let path = store.dir().to_owned();
    let error = store.clone().release_dir().unwrap_err();
    assert!(error.to_string().contains("still in use"), "{error}");
    drop(staged);
    store.release_dir().unwrap();
    assert_eq!(runs(&path), 0);
}

#[test]
fn many_may_stage_the_same_module_at_once_and_nobody_sees_half_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, module) = (dir.path().join("store"), dir.path().join("m.so"));
    // Large enough that writing it takes a while.
    Source::new().code("const char ballast[8 << 20] = { 1 };").compile(&module);
    let reader = ModuleStore::open(&path).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) || seen == 0 {
                for name in names(&path).iter().filter(|name| name.ends_with(".so")) {
                    let contents = fs::read(path.join(name)).unwrap();
                    assert_eq!(format!("{}.so", blake3::hash(&contents)), *name, "half a file");
                    seen += 1;
                }
            }
        });
        let stagers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let store = ModuleStore::open(&path).unwrap();
                    store.stage(&module).unwrap().path
                })
            })
            .collect();
        let paths: Vec<_> = stagers.into_iter().map(|stager| stager.join().unwrap()).collect();
        assert!(paths.iter().all(|p| *p == paths[0]));
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
    });
    assert_eq!(names(&path).len(), 3, "lock, run and the module: {:?}", names(&path));
    assert_eq!(names(reader.run_dir()), ["lock"]);
}

#[test]
fn what_lies_under_a_modules_name_is_never_written_over() {
    let place = Place::new();
    let module = place.module("m.so", &Source::new());
    let stored = place.store.stage(&module).unwrap().path;
    fs::remove_file(&stored).unwrap();
    fs::write(&stored, b"something else").unwrap();
    let error = place.store.stage(&module).unwrap_err();
    assert_eq!(error.kind(), Kind::Store);
    assert!(error.to_string().contains("remove it and stage the module again"), "{error}");
    assert_eq!(fs::read(&stored).unwrap(), b"something else");
    assert_eq!(place.files().1, ["lock"]);
}

#[test]
fn stored_modules_are_listed_found_and_removed_by_hash() {
    let place = Place::new();
    let stage = |version: &str| {
        let path = place.module("m.so", &Source::new().entry("version", version));
        place.store.stage(path).unwrap().hash
    };
    let (newer, older) = (stage("1.10.0"), stage("1.9.0"));
    fs::write(place.store.dir().join("notes.txt"), b"not a module").unwrap();
    fs::write(place.store.dir().join(format!("{}.so", "0".repeat(64))), b"nor this").unwrap();
    let list = place.store.list().unwrap();
    let found: Vec<_> = list.iter().map(|m| (m.manifest.version.to_string(), m.hash.clone())).collect();
    assert_eq!(found, [("1.9.0".to_owned(), older.clone()), ("1.10.0".to_owned(), newer.clone())]);
    let again = place.store.get(&older).unwrap();
    assert_eq!(again.load().unwrap().hash(), older);
    place.store.remove(&newer).unwrap();
    assert_eq!(place.store.get(&newer).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(place.store.remove(&newer).unwrap_err().kind(), Kind::NotFound);
    for odd in ["", "../lock", "ABC", &"g".repeat(64)] {
        assert_eq!(place.store.get(odd).unwrap_err().kind(), Kind::NotFound, "{odd}");
        assert_eq!(place.store.remove(odd).unwrap_err().kind(), Kind::NotFound, "{odd}");
    }
}

#[test]
fn a_store_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [file.clone(), file.join("store")] {
        let error = ModuleStore::open(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::Store);
        assert_eq!(error.to_string().matches(path.to_str().unwrap()).count(), 1, "{error}");
    }
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let error = ModuleStore::open(&shared).unwrap_err();
    assert!(error.to_string().contains("every user of this machine can write to it"), "{error}");
    assert!(names(&shared).is_empty());
}

#[test]
fn what_nobody_needs_goes_and_what_anybody_needs_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = ModuleStore::open(dir.path().join("store")).unwrap();
    let owner = |name: &str| {
        let folder = dir.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    };
    let hashes: Vec<String> = (0..4)
        .map(|n| {
            let module = dir.path().join(format!("{n}.so"));
            Source::new().entry("version", &format!("1.{n}.0")).compile(&module);
            store.stage(&module).unwrap().hash.clone()
        })
        .collect();
    let there = |hash: &String| store.dir().join(format!("{hash}.so")).exists();
    let set = |hashes: &[&String]| hashes.iter().map(|hash| (*hash).clone()).collect();
    // Staged here and now, and so about to be loaded.
    let staged = store.get(&hashes[3]).unwrap();
    let (first, second) = (owner("first"), owner("second"));
    store.keep_only(&second, &hashes.iter().cloned().collect()).unwrap();
    assert_eq!(store.keep_only(&first, &set(&[&hashes[0]])).unwrap().removed, Vec::<String>::new());
    store.keep_only(&second, &set(&[&hashes[1]])).unwrap();
    assert!(there(&hashes[0]) && there(&hashes[1]) && !there(&hashes[2]) && there(&hashes[3]));
    drop(staged);
    // One whose folder is not there may come back, and needs what it needed.
    fs::remove_dir(&second).unwrap();
    store.keep_only(&first, &set(&[&hashes[0]])).unwrap();
    assert!(there(&hashes[0]) && there(&hashes[1]) && !there(&hashes[3]));
    // One that has been missing for long needs nothing.
    let lists = fs::read_dir(store.dir().join("needs")).unwrap().map(|entry| entry.unwrap().path());
    for list in lists {
        let text = fs::read_to_string(&list).unwrap();
        let long_ago = text
            .lines()
            .map(|line| if line.starts_with("missing since ") { "missing since 1" } else { line });
        fs::write(&list, long_ago.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
    let collected = store.keep_only(&first, &set(&[&hashes[0]])).unwrap();
    assert_eq!((collected.removed, collected.forgotten), (vec![hashes[1].clone()], vec![second]));
    assert!(there(&hashes[0]) && !there(&hashes[1]));
}

#[test]
fn nothing_is_collected_while_a_list_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = ModuleStore::open(dir.path().join("store")).unwrap();
    let module = dir.path().join("m.so");
    Source::new().compile(&module);
    let hash = store.stage(&module).unwrap().hash.clone();
    // A folder: not even root can read it as a file.
    fs::create_dir_all(store.dir().join("needs/0123456789abcdef")).unwrap();
    let error = store.keep_only(dir.path(), &Default::default()).unwrap_err().to_string();
    assert!(error.contains("needs/0123456789abcdef"), "{error}");
    assert!(store.dir().join(format!("{hash}.so")).exists());
}

#[test]
fn a_module_is_loaded_where_the_store_has_no_room_and_has_lost_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = ModuleStore::open(dir.path().join("store")).unwrap();
    let module = dir.path().join("m.so");
    Source::new().compile(&module);
    let held = store.stage(&module).unwrap().hold().unwrap();
    fs::remove_file(&held.path).unwrap();
    fs::remove_dir_all(store.run_dir()).unwrap();
    assert!(store.get(&held.hash).is_err(), "the store has lost it");
    let first = held.load().unwrap();
    let second = held.load().unwrap();
    assert!(first.path().starts_with("/proc") && first.path() != second.path(), "each has its own");
    assert_eq!(first.staged().map(|staged| staged.hash.clone()), Some(held.hash.clone()));
    assert_eq!(first.unload(), Unload::Unloaded);
    assert_eq!(second.unload(), Unload::Unloaded);
}

/// A module that is known is not read again, and whatever becomes of its file or of the one in the store is seen.
#[test]
fn a_known_module_is_what_its_files_are_now() {
    let place = Place::new();
    let module = place.module("m.so", &Source::new());
    // Files count as known once nobody has written to them for a second.
    let settle = || std::thread::sleep(std::time::Duration::from_millis(1200));
    place.store.stage(&module).unwrap();
    settle();
    let first = place.store.stage(&module).unwrap();
    let again = place.store.stage(&module).unwrap();
    assert_eq!((&first.hash, &first.path), (&again.hash, &again.path));
    assert_eq!(again.source, module);
    again.load().unwrap();

    // As long, with times set back: it is another one all the same.
    let times = fs::metadata(&module).unwrap().modified().unwrap();
    let mut bytes = fs::read(&module).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&module, &bytes).unwrap();
    fs::File::options().write(true).open(&module).unwrap().set_modified(times).unwrap();
    let other = place.store.stage(&module).map(|staged| staged.hash);
    assert_ne!(other.ok(), Some(first.hash.clone()), "what was read before was taken for what is there");

    // The file in the store is looked at each time.
    let stored = fs::read(&first.path).unwrap();
    fs::set_permissions(&first.path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(&first.path, &stored[..stored.len() - 1]).unwrap();
    assert_eq!(first.load().unwrap_err().kind(), Kind::Store);
    fs::remove_file(&first.path).unwrap();
    assert_eq!(first.load().unwrap_err().kind(), Kind::Store);
    assert!(place.store.get(&first.hash).is_err());
}
