//! Any text as a driver's file, and an edit of it (a byte says which, then a value up to a NUL): what it says or every fault in it, with a line number that
//! the text has; an edit does what was meant and nothing else, or refuses and changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::path::Path;
use steadfast_settings::{DriverFile, Section};

/// All that a file says.
fn meaning(file: &DriverFile) -> BTreeMap<(Section, String), Option<String>> {
    let mut all = BTreeMap::new();
    for section in file.sections() {
        for entry in file.entries(section) {
            all.insert((section.clone(), entry.name.clone()), entry.value.clone());
        }
    }
    all
}

fuzz_target!(|input: &[u8]| {
    let Some((what, rest)) = input.split_first() else { return };
    let Some((value, text)) = std::str::from_utf8(rest).ok().and_then(|rest| rest.split_once('\0')) else {
        return;
    };
    let path = Path::new("file.toml");
    let lines = text.matches('\n').count() as u32 + 1;
    let mut file = match DriverFile::parse(path, "file", text) {
        Ok(file) => file,
        Err(faults) => {
            assert!(!faults.0.is_empty());
            for fault in &faults.0 {
                assert!((1..=lines).contains(&fault.line), "line {} of {lines}", fault.line);
            }
            return;
        }
    };
    let before = meaning(&file);
    // One of the entries that are there, or a new one.
    let known: Vec<(Section, String)> = before.keys().cloned().collect();
    let new = (Section::port("vol0"), "io_throttle".to_owned());
    let key = known.get(usize::from(*what >> 2)).cloned().unwrap_or(new);
    let (section, name) = &key;
    let mut wanted = before.clone();
    let done = match *what & 3 {
        0 => {
            wanted.remove(&key);
            file.unset(section, name)
        }
        1 => {
            wanted.insert(key.clone(), None);
            file.undefine(section, name)
        }
        _ => {
            wanted.insert(key.clone(), Some(value.to_owned()));
            file.set(section, name, value, None)
        }
    };
    if done.is_err() {
        assert_eq!(file.text(), text, "refused, and changed");
        return;
    }
    let again = DriverFile::parse(path, "file", file.text()).expect("an edited file can be read");
    assert_eq!(meaning(&again), wanted, "{}", file.text());
    assert_eq!(meaning(&file), wanted, "what it says by itself is what is read of it");
});
