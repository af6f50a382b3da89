//! Signatures of modules, made by `minisign` itself: what is taken, and what is said of the rest.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use steadfast_loader::{LoadErrorKind, ModuleStore, StagedModule, Trust};
use steadfast_shell::check::Signature;
use support::{Place, Source};

/// A module, a folder of trusted keys, and a store that wants to know about both.
struct Signer {
    place: Place,
    keys: PathBuf,
    module: PathBuf,
}

impl Signer {
    fn new() -> Signer {
        let place = Place::new();
        let keys = place.path("keys");
        fs::create_dir(&keys).unwrap();
        let module = place.module("good.so", &Source::new());
        Signer { place, keys, module }
    }

    /// Makes a key pair; a trusted one goes into the folder.
    fn key(&self, name: &str, trusted: bool) -> PathBuf {
        let (public, secret) = (self.place.path(&format!("{name}.pub")), self.place.path(name));
        minisign(&["-G", "-f", "-W"], &[("-p", &public), ("-s", &secret)]);
        if trusted {
            fs::copy(&public, self.keys.join(format!("{name}.pub"))).unwrap();
        }
        secret
    }

    fn sign(&self, secret: &Path, options: &[&str]) {
        minisign(&[&["-S"], options].concat(), &[("-m", &self.module), ("-s", secret)]);
    }

    fn signature(&self) -> PathBuf {
        self.place.path("good.so.minisig")
    }

    fn store(&self, require: bool) -> ModuleStore {
        self.place.store.clone().trusting(Trust { keys: Some(self.keys.clone()), require })
    }

    /// Stages it where a signature is required, and returns why it is not taken.
    fn refusal(&self) -> String {
        let staged = self.store(true).stage(&self.module).unwrap();
        assert!(!staged.signature.allows(), "{:?}", staged.signature);
        assert!(!self.place.store.dir().join(format!("{}.so", staged.hash)).exists(), "it was stored");
        let error = staged.load().expect_err("it was mapped");
        assert_eq!(error.kind(), LoadErrorKind::Untrusted);
        let detail = staged.signature.detail(&self.module);
        assert!(error.to_string().contains(&detail), "{error}");
        assert!(detail.contains("good.so"), "{detail} does not name the file");
        detail
    }
}

fn minisign(options: &[&str], files: &[(&str, &Path)]) {
    let mut command = Command::new("minisign");
    command.args(options).stdin(Stdio::null());
    for (option, file) in files {
        command.arg(option).arg(file);
    }
    let output = command.output().expect("minisign runs (Debian: apt-get install minisign)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn number(public: &Path) -> String {
    let text = fs::read_to_string(public).unwrap();
    text.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned()
}

fn change(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    edit(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_minisign_signed_with_a_trusted_key_is_taken() {
    let signer = Signer::new();
    let secret = signer.key("vendor", true);
    signer.key("other", true);
    signer.sign(&secret, &["-t", "release 1.0.0"]);
    let staged = signer.store(true).stage(&signer.module).unwrap();
    let Signature::Good { key, key_file, comment, .. } = &staged.signature.state else {
        panic!("{:?}", staged.signature)
    };
    assert_eq!(*key, number(&signer.keys.join("vendor.pub")));
    assert_eq!((key_file, comment.as_str()), (&signer.keys.join("vendor.pub"), "release 1.0.0"));
    staged.load().unwrap();
}

#[test]
fn an_unsigned_module_is_refused_where_policy_asks_and_taken_elsewhere() {
    let signer = Signer::new();
    signer.key("vendor", true);
    assert!(signer.refusal().contains("is not signed: there is no"));
    signer.store(false).stage(&signer.module).unwrap().load().unwrap();
}

#[test]
fn a_changed_module_is_refused_also_where_no_signature_is_required() {
    let signer = Signer::new();
    let secret = signer.key("vendor", true);
    signer.sign(&secret, &[]);
    change(&signer.module, |bytes| bytes.push(0));
    let detail = signer.refusal();
    assert!(detail.contains("not the signature of this module"), "{detail}");
    assert!(detail.contains(&number(&signer.keys.join("vendor.pub"))), "{detail}");
    let staged = signer.store(false).stage(&signer.module).unwrap();
    assert!(staged.load().is_err());
}

#[test]
fn a_changed_comment_is_refused() {
    let signer = Signer::new();
    let secret = signer.key("vendor", true);
    signer.sign(&secret, &["-t", "release 1"]);
    change(&signer.signature(), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap().replace("release 1", "release 2");
        *bytes = text.into_bytes();
    });
    assert!(signer.refusal().contains("comment was changed"));
}

#[test]
fn an_unknown_key_is_named_and_so_are_the_known_ones() {
    let signer = Signer::new();
    signer.key("vendor", true);
    let stranger = signer.key("stranger", false);
    signer.sign(&stranger, &[]);
    fs::write(signer.keys.join("broken.pub"), "no key").unwrap();
    let detail = signer.refusal();
    for part in [
        &*number(&signer.place.path("stranger.pub")),
        "which is not trusted",
        &*number(&signer.keys.join("vendor.pub")),
        "broken.pub: not a minisign public key",
    ] {
        assert!(detail.contains(part), "{detail} does not say {part}");
    }
}

#[test]
fn every_truncation_of_a_signature_is_refused() {
    let signer = Signer::new();
    let secret = signer.key("vendor", true);
    signer.sign(&secret, &[]);
    let whole = fs::read(signer.signature()).unwrap();
    let end = whole.trim_ascii_end().len();
    for length in 0..end {
        fs::write(signer.signature(), &whole[..length]).unwrap();
        let staged = signer.store(false).examine(&signer.module).unwrap();
        assert!(!staged.signature.allows(), "{length} bytes of it: {:?}", staged.signature);
    }
    fs::write(signer.signature(), &whole[..end / 2]).unwrap();
    assert!(signer.refusal().contains("not a whole minisign signature"));
}

#[test]
fn another_algorithm_is_refused() {
    let signer = Signer::new();
    let secret = signer.key("vendor", true);
    signer.sign(&secret, &["-l"]);
    assert!(signer.refusal().contains("minisign -l"));
    signer.sign(&secret, &[]);
    // The second line begins with the algorithm: `ED` becomes `XX`.
    change(&signer.signature(), |bytes| {
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        bytes[line..line + 3].copy_from_slice(b"WFg");
    });
    assert!(signer.refusal().contains("algorithm that is not known"));
}

#[test]
fn a_key_that_is_taken_away_is_not_trusted_any_more() {
    let signer = Signer::new();
    let secret = signer.key("vendor", true);
    signer.sign(&secret, &[]);
    let store = signer.store(true);
    assert!(store.stage(&signer.module).unwrap().signature.allows());
    fs::remove_file(signer.keys.join("vendor.pub")).unwrap();
    assert!(!store.stage(&signer.module).unwrap().signature.allows());
}

/// A module that need not be read again is verified again.
#[test]
fn a_key_that_is_taken_away_is_not_trusted_for_a_known_module_either() {
    let signer = Signer::new();
    let secret = signer.key("vendor", true);
    signer.sign(&secret, &[]);
    let store = signer.store(true);
    for _ in 0..3 {
        assert!(store.stage(&signer.module).unwrap().signature.allows());
        std::thread::sleep(std::time::Duration::from_millis(1200));
    }
    fs::remove_file(signer.keys.join("vendor.pub")).unwrap();
    let staged = store.stage(&signer.module).unwrap();
    assert!(!staged.signature.allows() && staged.load().is_err());
}

#[test]
fn a_module_goes_back_by_its_hash_with_the_signature_it_came_with() {
    let signer = Signer::new();
    let secret = signer.key("vendor", true);
    signer.sign(&secret, &[]);
    let store = signer.store(true);
    let hash = store.stage(&signer.module).unwrap().hash;
    fs::remove_file(&signer.module).unwrap();
    fs::remove_file(signer.signature()).unwrap();
    let again: StagedModule = store.get(&hash).unwrap();
    again.load().unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    fs::remove_file(signer.keys.join("vendor.pub")).unwrap();
    assert!(store.get(&hash).unwrap().load().is_err(), "verified anew");
}

#[test]
fn keys_that_anybody_could_have_put_there_are_not_trusted() {
    let signer = Signer::new();
    let secret = signer.key("vendor", true);
    signer.sign(&secret, &[]);
    fs::set_permissions(&signer.keys, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(signer.refusal().contains("every user of this machine can write to it"));
    fs::set_permissions(&signer.keys, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(signer.keys.join("vendor.pub"), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(signer.refusal().contains("every user of this machine can write to it"));
    fs::remove_dir_all(&signer.keys).unwrap();
    assert!(signer.refusal().contains("No such file"));
}

#[test]
fn examining_writes_nothing() {
    let signer = Signer::new();
    let secret = signer.key("vendor", true);
    signer.sign(&secret, &[]);
    let examined = signer.store(true).examine(&signer.module).unwrap();
    assert!(examined.signature.allows());
    assert_eq!(signer.place.files().0, ["lock", "run"]);
}
