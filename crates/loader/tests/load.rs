//! Loading and unloading: what a module must be to be called, and that it really leaves.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use steadfast_abi::{BlockOps, Driver, Field, FieldKind};
use steadfast_loader::{LoadErrorKind as Kind, LoadedModule};
use steadfast_shell::receipt::Unload;
use support::{Place, Source};

fn load(place: &Place, source: &Source) -> LoadedModule {
    place.store.stage(place.module("module.so", source)).unwrap().load().unwrap()
}

fn refused(source: &Source, kind: Kind, words: &str) {
    let place = Place::new();
    let staged = place.store.stage(place.module("module.so", source)).unwrap();
    let error = staged.load().expect_err("it was loaded");
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains("module.so") && text.contains(words), "{text:?} does not say {words:?}");
    assert_eq!(place.files().1, ["lock"], "a copy was left");
    assert!(!maps().contains(place.store.run_dir().to_str().unwrap()), "it stayed mapped");
}

fn maps() -> String {
    String::from_utf8_lossy(&fs::read("/proc/self/maps").unwrap()).into_owned()
}

/// Calls the test driver's `submit`, which counts its calls in a static.
fn submit(module: &LoadedModule) -> i32 {
    let submit = module.block().submit.unwrap();
    // SAFETY: the test driver's `submit` does not look at its arguments, and the module is loaded.
    unsafe { submit(std::ptr::null_mut(), std::ptr::null_mut()) }
}

#[test]
fn a_loaded_module_can_be_called() {
    let place = Place::new();
    let module = load(&place, &Source::new());
    assert_eq!(module.manifest().name, "test");
    assert_eq!(module.release().hash, module.hash());
    assert_eq!(module.driver().pdu_size, 64);
    assert!(module.driver().connect.is_some() && module.driver().probe.is_none());
    assert_eq!(module.driver().class_ops.cast(), &raw const *module.block());
    assert_eq!((submit(&module), submit(&module)), (1, 2));
    assert!(module.block().commit.is_none());
}

#[test]
fn each_load_has_statics_of_its_own() {
    let place = Place::new();
    let staged = place.store.stage(place.module("module.so", &Source::new())).unwrap();
    let (first, second) = (staged.load().unwrap(), staged.load().unwrap());
    assert_ne!(first.path(), second.path());
    assert_eq!((submit(&first), submit(&first), submit(&second)), (1, 2, 1));
    assert_eq!(first.unload(), Unload::Unloaded, "the other load keeps it");
    assert_eq!(submit(&second), 2);
}

#[test]
fn an_unloaded_module_leaves_memory_and_its_copy_the_disk() {
    let place = Place::new();
    let module = load(&place, &Source::new());
    let path = module.path().to_owned();
    assert!(maps().contains(path.to_str().unwrap()));
    assert_eq!(module.unload(), Unload::Unloaded);
    assert!(!maps().contains(path.to_str().unwrap()));
    assert!(!path.exists());
}

#[test]
fn dropping_a_module_unloads_it() {
    let place = Place::new();
    let module = load(&place, &Source::new());
    let path = module.path().to_owned();
    drop(module);
    assert!(!maps().contains(path.to_str().unwrap()));
    assert!(!path.exists());
}

#[test]
fn a_module_that_stays_in_memory_is_reported() {
    let place = Place::new();
    let module = load(&place, &Source::new().flag("-Wl,-z,nodelete"));
    let path = module.path().to_owned();
    assert_eq!(module.unload(), Unload::Pinned);
    assert!(maps().contains(path.to_str().unwrap()));
}

#[test]
fn a_module_that_stays_is_seen_under_a_new_name_too() {
    let place = Place::new();
    let module = load(&place, &Source::new().flag("-Wl,-z,nodelete"));
    fs::rename(place.store.dir(), place.path("moved")).unwrap();
    assert_eq!(module.unload(), Unload::Pinned);
}

#[test]
fn a_folder_of_any_name_can_hold_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = steadfast_loader::ModuleStore::open(dir.path().join("a b\n(deleted)\\012ü")).unwrap();
    let path = dir.path().join("m.so");
    Source::new().compile(&path);
    let module = store.stage(&path).unwrap().load().unwrap();
    assert_eq!(module.unload(), Unload::Unloaded);
    Source::new().flag("-Wl,-z,nodelete").compile(&path);
    let module = store.stage(&path).unwrap().load().unwrap();
    assert_eq!(module.unload(), Unload::Pinned);
}

#[test]
fn a_thousand_loads_leave_nothing() {
    let place = Place::new();
    let staged = place.store.stage(place.module("module.so", &Source::new())).unwrap();
    let open_files = || fs::read_dir("/proc/self/fd").unwrap().count();
    // What the first load leaves behind once (buffers of the dynamic loader) is not a leak.
    assert_eq!(staged.load().unwrap().unload(), Unload::Unloaded);
    let before = open_files();
    for _ in 0..1000 {
        assert_eq!(staged.load().unwrap().unload(), Unload::Unloaded);
    }
    assert_eq!(place.files().1, ["lock"]);
    assert!(!maps().contains(place.store.dir().to_str().unwrap()));
    // Other tests of this program open files at the same time; a leak would be a thousand.
    assert!(open_files() < before + 500, "files stayed open");
}

#[test]
fn many_threads_may_load_at_once() {
    let place = Place::new();
    let staged = place.store.stage(place.module("module.so", &Source::new())).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let module = staged.load().unwrap();
                    assert_eq!(submit(&module), 1);
                    assert_eq!(module.unload(), Unload::Unloaded);
                }
            });
        }
    });
    assert_eq!(place.files().1, ["lock"]);
}

#[test]
fn a_shorter_table_is_filled_with_zeroes() {
    let place = Place::new();
    let least = "offsetof(struct block, commit)";
    let module = load(&place, &Source::new().block("size", least).block("commit", "entry"));
    assert!(module.block().submit.is_some());
    assert!(module.block().commit.is_none(), "it was read beyond its size");
}

#[test]
fn a_longer_table_of_a_newer_minor_version_is_taken() {
    let place = Place::new();
    let source = Source::new()
        .entry("abi", "1.9")
        .driver("abi_minor", "9")
        .driver("size", "sizeof(struct driver)")
        .block("size", "sizeof(struct block)");
    assert_eq!(submit(&load(&place, &source)), 1);
}

#[test]
fn another_abi_is_refused_before_any_code_runs() {
    let source = Source::new()
        .entry("abi", "2.0")
        .driver("abi_major", "2")
        .code("__attribute__((constructor)) static void start(void) { __builtin_trap(); }");
    refused(&source, Kind::WrongAbi, "built against driver ABI 2.0, this is 1.");
    refused(&Source::new().driver("abi_major", "3"), Kind::WrongAbi, "ABI 3.0");
}

#[test]
fn a_table_that_contradicts_its_manifest_is_refused() {
    let lies = [
        (Source::new().driver("pdu_size", "65"), "65 bytes of PDU, its manifest says 64"),
        (Source::new().driver("class_", "2"), "class 2, its manifest says 1 (block)"),
        (Source::new().driver("abi_minor", "1"), "ABI 1.1, its manifest says 1.0"),
        (
            Source::new()
                .code("static const char other[] = \"manifest=1\\0name=other\";")
                .driver("manifest", "{ other, sizeof other }"),
            "another manifest",
        ),
        (Source::new().driver("manifest", "{ manifest, 12 }"), "another manifest"),
        (Source::new().driver("manifest", "{ 0, 0 }"), "leads out of the module"),
        (Source::new().driver("manifest", "{ (void *)8, 20 }"), "leads out of the module"),
        (Source::new().driver("manifest", "{ manifest, (size_t)-1 }"), "leads out of the module"),
        (Source::new().driver("manifest", "{ manifest, 60000 }"), "leads out of the module"),
        (Source::new().entry("pdu.adopt", "old/1"), "no entry point adopt"),
    ];
    for (source, words) in lies {
        refused(&source, Kind::Contradiction, words);
    }
}

#[test]
fn a_table_that_is_none_is_refused() {
    let broken = [
        (Source::new().driver("size", "0"), "claims 0 bytes"),
        (Source::new().driver("size", "32"), "claims 32 bytes"),
        (Source::new().driver("size", "0xffffffff"), "claims 4294967295 bytes"),
        (Source::new().driver("size", "sizeof(struct driver) + 8"), "its symbol has"),
        (Source::new().driver("connect", "0"), "no entry point connect"),
        (Source::new().driver("disconnect", "0"), "no entry point disconnect"),
        (Source::new().driver("reconnect", "0"), "no entry point reconnect"),
        (Source::new().driver("event", "(void *)manifest"), "entry point event is not in its code"),
        (Source::new().driver("timer", "(void *)1"), "entry point timer is not in its code"),
        (Source::new().driver("class_ops", "0"), "its block table is not in its memory"),
        (Source::new().driver("class_ops", "(void *)0x1000"), "its block table is not in its memory"),
        (Source::new().driver("class_ops", "(char *)&block + 4"), "its block table is not in its memory"),
        (Source::new().block("size", "8"), "its block table claims 8 bytes"),
        (Source::new().block("submit", "0"), "no entry point submit"),
        (Source::new().block("abort", "(void *)&submits"), "entry point abort is not in its code"),
    ];
    for (source, words) in broken {
        refused(&source, Kind::Contradiction, words);
    }
}

/// Entry points of a table, from the one definition of it.
fn entries(fields: &'static [Field]) -> impl Iterator<Item = (&'static str, bool)> {
    let entries = fields.iter().filter(|field| field.kind != FieldKind::Data);
    entries.map(|field| (field.name, field.kind == FieldKind::Required))
}

#[test]
fn every_entry_point_must_be_in_the_code_and_some_must_be_there() {
    let today = || Source::new().driver("size", "DRIVER_OF_TODAY");
    let mut count = 0;
    for (name, required) in entries(Driver::FIELDS) {
        let elsewhere = format!("entry point {name} is not in its code");
        refused(&today().driver(name, "(void *)manifest"), Kind::Contradiction, &elsewhere);
        refused(&today().driver(name, "(void *)8"), Kind::Contradiction, &elsewhere);
        if required {
            refused(&today().driver(name, "0"), Kind::Contradiction, &format!("no entry point {name}"));
        }
        count += 1;
    }
    for (name, required) in entries(BlockOps::FIELDS) {
        let elsewhere = format!("entry point {name} is not in its code");
        refused(&today().block(name, "(void *)&submits"), Kind::Contradiction, &elsewhere);
        if required {
            refused(&today().block(name, "0"), Kind::Contradiction, &format!("no entry point {name}"));
        }
        count += 1;
    }
    assert!(count >= 21, "{count} entry points");
}

#[test]
fn a_table_ends_between_two_fields() {
    let cut = Source::new().driver("size", "offsetof(struct driver, hand_back) + 4");
    refused(&cut, Kind::Contradiction, "which end within hand_back");
    let cut = Source::new().block("size", "offsetof(struct block, abort) + 1");
    refused(&cut, Kind::Contradiction, "which end within abort");
}

#[test]
fn what_the_dynamic_loader_refuses_is_told_in_its_words() {
    let source = Source::new().code("int not_there(void); int use(void) { return not_there(); }");
    refused(&source, Kind::Unmappable, "module.so: cannot be mapped: undefined symbol: not_there");
}

#[test]
fn a_stored_module_that_was_changed_is_not_loaded() {
    let place = Place::new();
    let staged = place.store.stage(place.module("module.so", &Source::new())).unwrap();
    fs::set_permissions(&staged.path, fs::Permissions::from_mode(0o700)).unwrap();
    let mut bytes = fs::read(&staged.path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&staged.path, bytes).unwrap();
    let error = staged.load().unwrap_err();
    assert_eq!(error.kind(), Kind::Store);
    assert!(error.to_string().contains("its contents have changed"), "{error}");
    fs::remove_file(&staged.path).unwrap();
    let error = staged.load().unwrap_err();
    assert_eq!(error.kind(), Kind::Store);
}
