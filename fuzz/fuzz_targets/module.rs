//! Any bytes as a module's file: read without running, a manifest or a problem.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steadfast_loader::read_manifest;

fuzz_target!(|file: &[u8]| {
    if let Err(problem) = read_manifest(file) {
        assert!(!problem.to_string().is_empty());
    }
});
