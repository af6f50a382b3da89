//! Whose modules are loaded: minisign signatures beside modules, and a folder of trusted keys.
//!
//! A signature is verified over the very bytes that go into the store, read once; what is mapped later
//! are bytes of the same BLAKE3 hash. So there is no moment at which what was verified can be exchanged
//! for something else. The keys are read anew for every module: a key that is taken out of the folder is
//! not trusted any more from that moment on.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use minisign_verify::{Error, PublicKey, Signature as Minisign};
use steadfast_shell::check::{Signature, Signed};

use crate::error::Problem;
use crate::file;
use crate::guard::check_guarded;

/// Whose modules are taken.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Folder of trusted keys, `*.pub` as `minisign -G` writes them. Without one no signature is
    /// looked at.
    pub keys: Option<PathBuf>,
    /// Take signed modules only.
    pub require: bool,
}

/// What is behind the name of a module in the name of its signature.
const SUFFIX: &str = ".minisig";
/// Longest signature or key that is read, bytes. Real ones have some hundred.
const MOST: u64 = 16 * 1024;

/// The signature's file beside a module.
pub(crate) fn signature_file(module: &Path) -> PathBuf {
    let mut name = module.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

impl Trust {
    /// Looks at the signature of the module `source`, whose contents are `bytes`. Returns the
    /// signature's own bytes too when it is good, to be kept with the module.
    pub(crate) fn judge(&self, source: &Path, bytes: &[u8]) -> (Signed, Option<Vec<u8>>) {
        let required = self.require;
        let Some(folder) = &self.keys else {
            return (Signed { state: Signature::NotLooked, required }, None);
        };
        let file = signature_file(source);
        let found = read_signature(file).and_then(|(file, contents)| {
            verify(folder, || Keys::read(folder), file, &contents, bytes).map(|state| (state, contents))
        });
        match found {
            Ok((state, contents)) => (Signed { state, required }, Some(contents)),
            Err(state) => (Signed { state, required }, None),
        }
    }
}

fn read_signature(file: PathBuf) -> Result<(PathBuf, Vec<u8>), Signature> {
    match small(&file) {
        Ok(contents) => Ok((file, contents)),
        Err(Problem::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(Signature::Missing { file })
        }
        Err(problem) => Err(Signature::Bad { file, key: None, why: plain(&problem) }),
    }
}

/// What the contents of a signature's file say of a module, where the contents of one key's file are all that
/// is trusted. No file is read; the names of the two in the answer are made up.
pub fn judge_signature(signature: &[u8], key: &[u8], module: &[u8]) -> Signature {
    let keys = || Ok(Keys::of([(PathBuf::from("trusted.pub"), Ok(key.to_owned()))]));
    let file = signature_file(Path::new("module.so"));
    verify(Path::new("keys"), keys, file, signature, module).unwrap_or_else(|found| found)
}

fn verify(
    folder: &Path,
    keys: impl FnOnce() -> Result<Keys, String>,
    file: PathBuf,
    contents: &[u8],
    bytes: &[u8],
) -> Result<Signature, Signature> {
    let text = String::from_utf8_lossy(contents);
    let key = key_of(&text);
    let bad = |why: String| Signature::Bad { file: file.clone(), key: key.clone(), why };
    let signature = Minisign::decode(&text).map_err(|error| {
        bad(match error {
            Error::UnsupportedAlgorithm => {
                "signed with an algorithm that is not known (expected minisign's Ed25519 of a BLAKE2b hash)"
                    .to_owned()
            }
            _ => "not a whole minisign signature (four lines: comment, signature, trusted comment, its \
                  signature)"
                .to_owned(),
        })
    })?;
    let key = key.clone().unwrap_or_default();
    let no_keys = |why| Signature::NoKeys { folder: folder.to_owned(), why };
    let keys = keys().map_err(no_keys)?;
    let mut refusal = None;
    for trusted in keys.keys.iter().filter(|trusted| trusted.id == key) {
        match trusted.key.verify(bytes, &signature, false) {
            Ok(()) => {
                let (key_file, comment) = (trusted.file.clone(), one_line(signature.trusted_comment()));
                return Ok(Signature::Good { file, key, key_file, comment });
            }
            Err(Error::UnexpectedAlgorithm) => {
                let why = "signed without hashing first (minisign -l), which is not accepted; sign it again";
                refusal = Some(bad(why.to_owned()));
            }
            Err(_) => {
                let by = trusted.file.display();
                let why = format!(
                    "it is not the signature of this module: module, signature or comment was changed \
                     (checked with {by})"
                );
                refusal = Some(bad(why));
            }
        }
    }
    Err(refusal.unwrap_or_else(|| Signature::UnknownKey {
        file: file.clone(),
        key,
        trusted: keys.describe(),
    }))
}

struct Trusted {
    id: String,
    file: PathBuf,
    key: PublicKey,
}

struct Keys {
    keys: Vec<Trusted>,
    unusable: Vec<String>,
}

impl Keys {
    fn read(folder: &Path) -> Result<Keys, String> {
        check_guarded(folder)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.extension().is_some_and(|extension| extension == "pub") {
                files.push(path);
            }
        }
        files.sort();
        Ok(Keys::of(files.into_iter().map(|file| {
            let contents = read_key(&file);
            (file, contents)
        })))
    }

    /// The keys among these files and their contents.
    fn of(files: impl IntoIterator<Item = (PathBuf, Result<Vec<u8>, String>)>) -> Keys {
        let mut keys = Keys { keys: Vec::new(), unusable: Vec::new() };
        for (file, contents) in files {
            match contents.and_then(|contents| parse_key(&contents)) {
                Ok((id, key)) => keys.keys.push(Trusted { id, file, key }),
                Err(why) => keys.unusable.push(format!("{}: {why}", file.display())),
            }
        }
        keys
    }

    fn describe(&self) -> String {
        let known: Vec<String> =
            self.keys.iter().map(|trusted| format!("{} of {}", trusted.id, trusted.file.display())).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        if self.unusable.is_empty() {
            return format!("trusted: {known}");
        }
        format!("trusted: {known}; not usable: {}", self.unusable.join(", "))
    }
}

fn read_key(file: &Path) -> Result<Vec<u8>, String> {
    check_guarded(file)?;
    small(file).map_err(|problem| plain(&problem))
}

fn parse_key(contents: &[u8]) -> Result<(String, PublicKey), String> {
    let text = String::from_utf8_lossy(contents);
    let key = PublicKey::decode(&text).map_err(|_| "not a minisign public key".to_owned())?;
    let id = key_of(&text).ok_or("not a minisign public key")?;
    Ok((id, key))
}

fn small(path: &Path) -> Result<Vec<u8>, Problem> {
    let (file, _) = file::open(path)?;
    let mut contents = Vec::new();
    file.take(MOST + 1).read_to_end(&mut contents).map_err(Problem::Unreadable)?;
    if contents.len() as u64 > MOST {
        return Err(Problem::Unreadable(io::Error::other(format!("longer than {MOST} bytes"))));
    }
    Ok(contents)
}

/// The same words for a signature or a key as for a module, without calling it one.
fn plain(problem: &Problem) -> String {
    problem.to_string().replace("not a driver module: ", "")
}

/// Signers choose the comment; it is shown in tables.
fn one_line(comment: &str) -> String {
    comment.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// The key's number in the second line of a key or a signature, as `minisign` prints it: behind two
/// bytes of algorithm, eight bytes, the last one first.
fn key_of(text: &str) -> Option<String> {
    let line = text.lines().nth(1)?.as_bytes().get(..16)?;
    let mut bytes = [0_u8; 12];
    for (four, three) in line.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut bits = 0_u32;
        for letter in four {
            bits = bits << 6 | sextet(*letter)?;
        }
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    let number = bytes[2..10].iter().rev().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    Some(format!("{number:X}"))
}

/// A letter of base64 as six bits.
fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::{judge_signature, key_of};
    use steadfast_shell::check::Signature;

    /// Made by `minisign`, of `a module`.
    const GOOD: &[u8] = include_bytes!("../../../fuzz/seeds/signature/good.minisig");
    const LEGACY: &[u8] = include_bytes!("../../../fuzz/seeds/signature/legacy.minisig");
    const OTHER: &[u8] = include_bytes!("../../../fuzz/seeds/signature/other.minisig");
    const KEY: &[u8] = b"untrusted comment: minisign public key A43940A7ECDB75B\n\
                         RWRbt81+CpRDCvdg2usEauP5K1PoZ7jZfEWnfYqp9EURIaNJdnMya6H5\n";

    #[test]
    fn only_the_signature_of_these_bytes_by_this_key_is_good() {
        let judge = |signature, key, module| judge_signature(signature, key, module);
        let good = judge(GOOD, KEY, b"a module");
        assert!(matches!(&good, Signature::Good { comment, .. } if comment == "release 1"), "{good:?}");
        assert!(matches!(judge(GOOD, KEY, b"another"), Signature::Bad { .. }));
        assert!(matches!(judge(LEGACY, KEY, b"a module"), Signature::Bad { .. }));
        assert!(matches!(judge(OTHER, KEY, b"a module"), Signature::UnknownKey { .. }));
        assert!(matches!(judge(GOOD, b"no key", b"a module"), Signature::UnknownKey { .. }));
        for at in 0..GOOD.len() - 1 {
            assert!(matches!(judge(&GOOD[..at], KEY, b"a module"), Signature::Bad { .. }), "cut off at {at}");
        }
    }

    #[test]
    fn a_keys_number_is_as_minisign_prints_it() {
        let key = "untrusted comment: minisign public key E7620F1842B4E81F\n\
                   RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
        assert_eq!(key_of(key).as_deref(), Some("E7620F1842B4E81F"));
        // One key in sixteen begins with a zero, which is not printed.
        let zero = "comment\nRWTdajr8uqXlC3mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
        assert_eq!(key_of(zero).as_deref(), Some("BE5A5BAFC3A6ADD"));
        for text in ["", "one line", "comment\nRWQf6LRC", "comment\n****************"] {
            assert_eq!(key_of(text), None, "{text:?}");
        }
    }
}
