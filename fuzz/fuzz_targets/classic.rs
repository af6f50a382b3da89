//! Any text as a file in the classic form: what it says, or every fault in it, each in one line with a line
//! number that the text has; and what was read comes out of an export and an import as it went in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::path::Path;
use steadfast_settings::{DriverFile, Section, classic};
use steadfast_shell::params::{ParamKind, ParamSpec, ShellDefaults, table};

fuzz_target!(|text: &str| {
    let own = [ParamSpec::new("zone", ParamKind::Str), ParamSpec::new("deep-scan", ParamKind::Bool)];
    let table = table(&own, ShellDefaults::default());
    let lines = text.matches('\n').count() as u32 + 1;
    let read = |text: &str| classic::parse(Path::new("file.conf"), text, "file", &table);
    let said = match read(text) {
        Ok(said) => said,
        Err(faults) => {
            assert!(!faults.0.is_empty());
            for fault in &faults.0 {
                let message = fault.to_string();
                assert!((1..=lines).contains(&fault.line), "line {} of {lines}", fault.line);
                assert!(!message.contains('\n') && message.len() < 4096, "{message:?}");
            }
            return;
        }
    };
    let ports: BTreeMap<u32, String> = said.instances.keys().map(|n| (*n, format!("vol{n}"))).collect();
    let empty = || DriverFile::parse(Path::new("file.toml"), "file", "").expect("nothing is good");
    let mut file = empty();
    // A value that no file can hold (a NUL, or too long) is refused, and then nothing of it is there.
    if classic::import(&said, &mut file, &ports, &table).is_err() {
        assert_eq!(file.text(), "");
        return;
    }
    assert!(DriverFile::parse(file.path(), "file", file.text()).is_ok(), "{}", file.text());
    let mut again = empty();
    let (exported, _) = classic::export(&file, &ports, &table);
    let said = read(&exported).unwrap_or_else(|faults| panic!("{faults}\n{exported}"));
    classic::import(&said, &mut again, &ports, &table).expect("it was good before");
    let sections = std::iter::once(Section::Global).chain(ports.values().map(Section::port));
    for section in sections {
        let all = |file: &DriverFile| -> BTreeMap<String, Option<String>> {
            file.entries(&section).iter().map(|e| (e.name.clone(), e.value.clone())).collect()
        };
        assert_eq!(all(&again), all(&file), "{exported}");
    }
});
