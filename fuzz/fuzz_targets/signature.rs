//! Any bytes as a signature's file, and behind a NUL as a trusted key's: an answer in one line, and a module
//! counts as signed only with the one signature that the key's owner made.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use steadfast_loader::judge_signature;
use steadfast_shell::check::{Signature, Signed};

/// What `seeds/signature/good.minisig` signs, and the key that it is signed by.
const MODULE: &[u8] = b"a module";
const KEY: &str = "untrusted comment: minisign public key A43940A7ECDB75B\n\
                   RWRbt81+CpRDCvdg2usEauP5K1PoZ7jZfEWnfYqp9EURIaNJdnMya6H5\n";

fuzz_target!(|input: &[u8]| {
    let (signature, key) = match input.iter().position(|byte| *byte == 0) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, KEY.as_bytes()),
    };
    let state = judge_signature(signature, key, MODULE);
    if let (Signature::Good { key, comment, .. }, true) = (&state, key == KEY.as_bytes()) {
        assert_eq!((key.as_str(), comment.as_str()), ("A43940A7ECDB75B", "release 1"));
    }
    let good = matches!(state, Signature::Good { .. });
    let signed = Signed { state, required: true };
    assert_eq!(signed.allows(), good);
    let says = signed.detail(Path::new("module.so"));
    assert!(!says.contains(char::is_control) && says.len() < 1024, "{says:?}");
    // With other contents, no signature of these is good.
    assert!(!matches!(judge_signature(signature, KEY.as_bytes(), b"another"), Signature::Good { .. }));
});
