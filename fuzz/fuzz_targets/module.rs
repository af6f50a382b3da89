//! Any bytes as a module's file: read without running, a manifest or a problem; likewise what the dynamic linker would
//! follow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steadfast_loader::{read_manifest, verify_linkage};

fuzz_target!(|file: &[u8]| {
    if let Err(problem) = read_manifest(file) {
        assert!(!problem.to_string().is_empty());
    }
    if let Err(problem) = verify_linkage(file) {
        assert!(!problem.to_string().is_empty());
    }
});
