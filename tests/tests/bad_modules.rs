//! Files that are no modules, broken modules and modules that lie: each is refused with a message that
//! names the file and what is wrong with it, and the device goes on being served.

use serde_json::json;
use std::path::{Path, PathBuf};
use steadfast_tests::{Daemon, Result, Setup, TempDir, test_module};

/// A good module's bytes.
fn good() -> Result<Vec<u8>> {
    Ok(std::fs::read(test_module("sound")?)?)
}

/// The good module with one text in it replaced, everywhere, by another of the same length.
fn with(from: &str, to: &str) -> Result<Vec<u8>> {
    assert_eq!(from.len(), to.len(), "'{from}' and '{to}'");
    let mut bytes = good()?;
    let mut found = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "the module has no '{from}'");
    Ok(bytes)
}

/// One bad module: what it is called, its bytes, and a word that the refusal must have in it.
fn cases() -> Result<Vec<(&'static str, Vec<u8>, &'static str)>> {
    let whole = good()?;
    let byte = |at: usize, value: u8| -> Result<Vec<u8>> {
        let mut bytes = good()?;
        bytes[at] = value;
        Ok(bytes)
    };
    let mut swapped = good()?;
    // The last PT_LOAD's file size goes past the end of the file: cut in the middle of its data.
    swapped.truncate(whole.len() / 3);
    Ok(vec![
        ("empty", vec![], "empty"),
        ("text", b"#!/bin/sh\necho not a module\n".repeat(100), "ELF"),
        ("zeroes", vec![0; 8192], "ELF"),
        ("four-bytes", whole[..4].to_vec(), "cut off"),
        ("header-alone", whole[..64].to_vec(), "cut off"),
        ("half", whole[..whole.len() / 2].to_vec(), "cut off"),
        ("third", swapped, "cut off"),
        ("last-byte-gone", whole[..whole.len() - 1].to_vec(), "cut off"),
        ("32-bit", byte(4, 1)?, "64"),
        ("big-endian", byte(5, 2)?, "endian"),
        ("other-machine", byte(18, 0xf3)?, "machine"),
        ("executable", byte(16, 2)?, "shared object"),
        ("no-section", with(".steadfast.manifest", ".steadfast.manifesx")?, "manifest"),
        ("no-symbol", with("steadfast_driver\0", "steadfast_drivex\0")?, "steadfast_driver"),
        ("manifest-of-the-future", with("manifest=1\0", "manifest=9\0")?, "manifest"),
        ("no-name", with("\0name=test\0", "\0x-me=test\0")?, "name"),
        ("bad-version", with("version=1.0.0\0", "version=1.0.x\0")?, "version"),
        ("unknown-key", with("\0about=", "\0abour=")?, "abour"),
        ("unknown-class", with("class=block\0", "class=brick\0")?, "brick"),
        ("other-abi", with("abi=1.2\0", "abi=2.2\0")?, "ABI"),
        ("lies-about-its-pdu", with("pdu=test/1:8\0", "pdu=test/1:4\0")?, "pdu"),
        ("range-upside-down", with("4096..=1G\0", "4096..=1K\0")?, "range"),
    ])
}

fn daemon(dir: &TempDir) -> Result<Daemon> {
    Setup::device(format!("vol0={}:8M", test_module("sound")?.display())).start(dir)
}

/// The message names the file, or the driver where its manifest could be read, and the fault, and is
/// no dump of internals.
fn assert_clear(text: &str, path: &Path, word: &str) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    assert!(text.contains(&*name) || text.contains("test 1.0.0"), "the message does not name {name}: {text}");
    assert!(text.to_lowercase().contains(&word.to_lowercase()), "{name}: no '{word}' in: {text}");
    for jargon in ["panicked", "unwrap", "Os {", "RUST_BACKTRACE"] {
        assert!(!text.contains(jargon), "{name}: '{jargon}' in: {text}");
    }
}

#[test]
fn a_bad_module_is_refused_by_the_check_and_by_the_update() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir)?;
    for (name, bytes, word) in cases()? {
        let path = dir.join(&format!("{name}.so"));
        std::fs::write(&path, bytes)?;
        let path_text = path.to_string_lossy().into_owned();
        // By itself, without the daemon. What only loading shows, only the update finds.
        let check = daemon.cli(&["driver", "check", &path_text])?;
        let text =
            String::from_utf8_lossy(&check.stderr).into_owned() + &String::from_utf8_lossy(&check.stdout);
        if name != "lies-about-its-pdu" {
            // A whole module that does not fit is a check that fails; anything less is no module.
            let code = if name == "other-abi" { 6 } else { 1 };
            assert_eq!(check.status.code(), Some(code), "driver check {name}: {text}");
            assert_clear(&text, &path, word);
        }
        // As a replacement of a driver that serves.
        let update = daemon.cli(&["update", "vol0", &path_text])?;
        let text =
            String::from_utf8_lossy(&update.stderr).into_owned() + &String::from_utf8_lossy(&update.stdout);
        assert_eq!(update.status.code(), Some(1), "update to {name}: {text}");
        assert_clear(&text, &path, word);
        daemon.check_serves("vol0")?;
    }
    assert_eq!(daemon.device("vol0")?["swaps"], 0);
    // The good one still gets in.
    daemon.update("vol0", &test_module("sound")?)?;
    Ok(())
}

#[test]
fn files_that_cannot_be_read_are_refused() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir)?;
    let folder = dir.join("folder.so");
    std::fs::create_dir(&folder)?;
    let fifo = dir.join("fifo.so");
    steadfast_tests::ok(std::process::Command::new("mkfifo").arg(&fifo))?;
    let dangling = dir.join("dangling.so");
    std::os::unix::fs::symlink(dir.join("nowhere"), &dangling)?;
    let missing: PathBuf = dir.join("missing.so");
    for (path, word) in
        [(&folder, "director"), (&fifo, "regular"), (&dangling, "no such"), (&missing, "no such")]
    {
        let update = daemon.cli(&["update", "vol0", &path.to_string_lossy()])?;
        let text =
            String::from_utf8_lossy(&update.stderr).into_owned() + &String::from_utf8_lossy(&update.stdout);
        assert_eq!(update.status.code(), Some(1), "{text}");
        assert_clear(&text, path, word);
        daemon.check_serves("vol0")?;
    }
    Ok(())
}

#[test]
fn a_module_overwritten_after_the_update_does_no_harm() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir)?;
    let path = dir.join("mine.so");
    std::fs::write(&path, good()?)?;
    daemon.update("vol0", &path)?;
    // A careless copy over a module that runs: the daemon runs its own copy, kept by content.
    std::fs::write(&path, vec![0xcc; 100_000])?;
    daemon.check_serves("vol0")?;
    std::fs::remove_file(&path)?;
    daemon.check_serves("vol0")
}

#[test]
fn an_unknown_device_or_driver_is_named() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    let module = test_module("sound")?;
    let cases: [(&[&str], &str); 3] = [
        (&["update", "vol1", &module.to_string_lossy()], "vol1"),
        (&["update", "vol0", "nonsense@1.0.0"], "nonsense"),
        (&["device", "show", "vol7"], "vol7"),
    ];
    for (args, word) in cases {
        let output = daemon.cli(args)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.contains(word), "{args:?}: {text}");
    }
    let (status, body) = daemon.api()?.post("/v1/devices/vol0/update", &json!({ "modul": "x" }))?;
    assert_eq!(status, 400, "a misspelt field is refused: {body}");
    Ok(())
}
