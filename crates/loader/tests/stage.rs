//! Staging: which files are taken into the store, and what is said of those that are not.

mod support;

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use steadfast_loader::{LoadError, LoadErrorKind as Kind, MAX_MODULE_BYTES, read_manifest};
use support::{Place, Source, compile};

fn refusal(place: &Place, path: &Path) -> LoadError {
    let error = place.store.stage(path).expect_err("it was taken");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(error.to_string().contains(name), "{error} does not name {name}");
    assert_eq!(place.files().0, ["lock", "run"], "something was stored");
    error
}

fn refused(place: &Place, path: &Path, kind: Kind, words: &str) {
    let error = refusal(place, path);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error:?} does not say {words:?}");
}

fn written(place: &Place, name: &str, bytes: &[u8]) -> PathBuf {
    let path = place.path(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_module_is_stored_under_the_hash_of_its_contents() {
    let place = Place::new();
    let path = place.module("good.so", &Source::new().entry("about", "for tests"));
    let staged = place.store.stage(&path).unwrap();
    assert_eq!(staged.manifest.name, "test");
    assert_eq!(staged.manifest.about, "for tests");
    assert_eq!(staged.hash, blake3::hash(&fs::read(&path).unwrap()).to_hex().as_str());
    assert_eq!(staged.path, place.store.dir().join(format!("{}.so", staged.hash)));
    assert_eq!(fs::read(&staged.path).unwrap(), fs::read(&path).unwrap());
    assert_eq!(staged.release().version, "1.0.0");
    assert_eq!(place.files().1, ["lock"], "a temporary file was left");
}

#[test]
fn the_same_contents_are_stored_once() {
    let place = Place::new();
    let path = place.module("a.so", &Source::new());
    let first = place.store.stage(&path).unwrap();
    let before = fs::metadata(&first.path).unwrap().modified().unwrap();
    fs::copy(&path, place.path("b.so")).unwrap();
    let second = place.store.stage(place.path("b.so")).unwrap();
    assert_eq!(first.path, second.path);
    assert_eq!(fs::metadata(&first.path).unwrap().modified().unwrap(), before, "it was written again");
}

#[test]
fn a_link_to_a_module_is_as_good_as_the_module() {
    let place = Place::new();
    let path = place.module("good.so", &Source::new());
    symlink(&path, place.path("link.so")).unwrap();
    place.store.stage(place.path("link.so")).unwrap();
}

#[test]
fn the_store_does_not_depend_on_the_file_it_was_staged_from() {
    let place = Place::new();
    let path = place.module("good.so", &Source::new());
    let staged = place.store.stage(&path).unwrap();
    fs::write(&path, b"overwritten").unwrap();
    assert_eq!(staged.load().unwrap().manifest().name, "test");
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let place = Place::new();
    refused(&place, &place.path("missing.so"), Kind::NotFound, "cannot be read");
    let dir = place.path("folder.so");
    fs::create_dir(&dir).unwrap();
    refused(&place, &dir, Kind::NotAModule, "a directory");
    let fifo = place.path("fifo.so");
    let name = CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: the name is NUL-terminated and lives through the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    refused(&place, &fifo, Kind::NotAModule, "a named pipe");
    let socket = place.path("socket.so");
    let _listener = UnixListener::bind(&socket).unwrap();
    refused(&place, &socket, Kind::NotAModule, "a socket");
    refused(&place, Path::new("/dev/zero"), Kind::NotAModule, "a device");
    symlink("loop.so", place.path("loop.so")).unwrap();
    refused(&place, &place.path("loop.so"), Kind::Unreadable, "cannot be read");
}

#[test]
fn an_unreadable_file_is_refused() {
    let place = Place::new();
    let path = place.module("secret.so", &Source::new());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let error = std::thread::scope(|scope| {
        let stage = || {
            // Root may read everything; this thread is nobody to the file system, if it was root.
            // SAFETY: changes what this thread, which ends here, may do with files.
            unsafe { libc::setfsuid(65534) };
            place.store.stage(&path).unwrap_err()
        };
        scope.spawn(stage).join().unwrap()
    });
    assert_eq!(error.kind(), Kind::Unreadable, "{error}");
    assert!(error.to_string().contains("secret.so: cannot be read: Permission denied"), "{error}");
}

#[test]
fn sizes_out_of_bounds_are_refused() {
    let place = Place::new();
    refused(&place, &written(&place, "empty.so", b""), Kind::NotAModule, "empty");
    let huge = place.path("huge.so");
    File::create(&huge).unwrap().set_len(MAX_MODULE_BYTES + 1).unwrap();
    refused(&place, &huge, Kind::NotAModule, "bytes long (allowed 1..=268435456)");
    File::create(&huge).unwrap().set_len(1 << 43).unwrap();
    refused(&place, &huge, Kind::NotAModule, "8796093022208 bytes long");
}

#[test]
fn what_is_not_elf_is_refused() {
    let place = Place::new();
    for bytes in [b"\x7fEL".as_slice(), b"hello", b"!<arch>\n", &[0; 4096]] {
        refused(&place, &written(&place, "disk.img", bytes), Kind::NotAModule, "no ELF header");
    }
}

#[test]
fn every_truncation_is_refused() {
    let place = Place::new();
    let whole = fs::read(place.module("whole.so", &Source::new())).unwrap();
    assert!(read_manifest(&whole).is_ok());
    for length in 0..whole.len() {
        let problem = read_manifest(&whole[..length]).expect_err("it was taken");
        let kind = if length < 4 { Kind::NotAModule } else { Kind::Damaged };
        assert_eq!(problem.kind(), kind, "cut off at {length}: {problem}");
    }
    refused(&place, &written(&place, "cut.so", &whole[..whole.len() / 2]), Kind::Damaged, "cut off: ");
}

#[test]
fn no_changed_byte_of_the_headers_makes_the_reader_fail() {
    let place = Place::new();
    let whole = fs::read(place.module("whole.so", &Source::new())).unwrap();
    let number = |at: usize, size: usize| {
        whole[at..at + size].iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte))
    };
    let (programs, sections) = (number(32, 8), number(40, 8));
    let headers =
        (0..64).chain(programs..programs + 56 * number(56, 2)).chain(sections..sections + 64 * number(60, 2));
    for at in headers {
        for value in [0, 1, 0x7f, 0x80, 0xff, whole[at] ^ 1, whole[at].wrapping_add(8)] {
            let mut changed = whole.clone();
            changed[at] = value;
            // Any answer will do; a panic, a hang or gigabytes will not.
            let _ = read_manifest(&changed);
        }
    }
}

#[test]
fn other_machines_are_named() {
    let place = Place::new();
    let whole = fs::read(place.module("whole.so", &Source::new())).unwrap();
    let changed = |name: &str, at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        written(&place, name, &changed)
    };
    let (other, other_name) =
        if cfg!(target_arch = "aarch64") { (62u16, "x86-64") } else { (183u16, "aarch64") };
    refused(&place, &changed("other.so", 18, &other.to_le_bytes()), Kind::WrongMachine, other_name);
    refused(&place, &changed("odd.so", 18, &[0x34, 0x12]), Kind::WrongMachine, "ELF machine 4660");
    refused(&place, &changed("narrow.so", 4, &[1]), Kind::WrongMachine, "32-bit");
    refused(&place, &changed("big.so", 5, &[2]), Kind::WrongMachine, "big-endian");
    refused(&place, &changed("class.so", 4, &[9]), Kind::Damaged, "ELF class 9");
}

#[test]
fn other_kinds_of_elf_are_refused() {
    let place = Place::new();
    let source = place.path("main.c");
    fs::write(&source, "int main(void) { return 0; }").unwrap();
    let built = |name: &str, flags: &[&str]| {
        compile(&source, &place.path(name), flags);
        place.path(name)
    };
    refused(&place, &built("a.o", &["-c"]), Kind::NotAModule, "an object file");
    refused(&place, &built("a.exe", &["-no-pie"]), Kind::NotAModule, "an executable");
    refused(&place, &built("a.pie", &["-pie", "-fPIE"]), Kind::NotAModule, "an executable");
    refused(
        &place,
        &built("a.so", &["-shared", "-fPIC"]),
        Kind::NotAModule,
        "no section .steadfast.manifest",
    );
}

#[test]
fn a_module_without_its_symbol_is_refused() {
    let place = Place::new();
    let module = |name: &str, source: Source| place.module(name, &source);
    let mut hidden = Source::new();
    hidden.symbol = "static const struct driver steadfast_driver";
    let path = module("hidden.so", hidden);
    refused(&place, &path, Kind::NotAModule, "exports no data symbol steadfast_driver");
    let mut misspelt = Source::new();
    misspelt.symbol = "const struct driver steadfast_drivers";
    refused(&place, &module("misspelt.so", misspelt), Kind::NotAModule, "exports no data symbol");
    let mut imported =
        Source::new().code("extern int steadfast_driver; int use(void) { return steadfast_driver; }");
    imported.symbol = "const struct driver other";
    refused(&place, &module("imported.so", imported), Kind::NotAModule, "it imports one");
    let mut function = Source::new().code("int steadfast_driver(void) { return 0; }");
    function.symbol = "const struct driver other";
    refused(&place, &module("function.so", function), Kind::NotAModule, "is not data");
}

#[test]
fn a_module_that_would_make_the_stack_executable_is_refused() {
    let place = Place::new();
    let path = place.module("stack.so", &Source::new().flag("-Wl,-z,execstack"));
    refused(&place, &path, Kind::Unmappable, "it wants an executable stack (link it with -z noexecstack)");
}

#[test]
fn a_wrong_manifest_is_refused_by_entry() {
    let place = Place::new();
    let path = place.module("typo.so", &Source::new().entry("versoin", "2"));
    refused(&place, &path, Kind::BadManifest, "unknown key versoin (did you mean version?)");
    let path = place.module("class.so", &Source::new().entry("class", "tape"));
    refused(&place, &path, Kind::BadManifest, "class=tape (allowed: block)");
    let long = "x".repeat(70_000);
    let path = place.module("long.so", &Source::new().entry("about", &long));
    refused(&place, &path, Kind::BadManifest, "(allowed 1..=65536)");
}

#[test]
fn another_abi_is_seen_in_the_manifest_already() {
    let place = Place::new();
    let path = place.module("future.so", &Source::new().entry("abi", "2.7"));
    let staged = place.store.stage(&path).unwrap();
    assert_eq!(staged.manifest.abi, (2, 7), "the check that lists all reasons needs the manifest");
}
