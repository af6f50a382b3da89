//! A module that is damaged in a few places: what the dynamic linker would follow, a list of libraries or a problem.
//!
//! The input is a list of damages: a place in the file, how many bytes, and what is put there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steadfast_loader::verify_linkage;

/// One with both kinds of hash tables, versions, relocations of every usual kind, thread-local data and constructors.
const WHOLE: &[u8] = include_bytes!("../seeds/module/rich-x86_64.so");
/// Bytes that describe a damage.
const DAMAGE: usize = 11;

fuzz_target!(|damages: &[u8]| {
    let mut file = WHOLE.to_vec();
    for damage in damages.chunks_exact(DAMAGE) {
        let (place, rest) = damage.split_at(2);
        let place = usize::from(u16::from_le_bytes([place[0], place[1]])) % file.len();
        let width = usize::from(rest[0] % 9).min(file.len() - place);
        file[place..place + width].copy_from_slice(&rest[1..=width]);
    }
    match verify_linkage(&file) {
        Ok(libraries) => assert!(!libraries.row().name.is_empty()),
        Err(problem) => assert!(!problem.to_string().is_empty()),
    }
});
