//! Modules that are damaged where the dynamic linker reads them: each is refused, or good enough to be
//! mapped; the daemon outlives them all.

use anyhow::Context;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use steadfast_tests::{Result, Setup, TempDir, ok, test_module};

/// Damages that are tried.
const ROUNDS: usize = 400;

/// Parts that the linker reads: name, place in the file, bytes.
fn parts(module: &Path) -> Result<Vec<(String, usize, usize)>> {
    let listed =
        ok(Command::new("readelf").args(["-SW"]).arg(module)).context("readelf (package binutils)")?;
    let named = [
        ".dynamic",
        ".dynsym",
        ".dynstr",
        ".gnu.hash",
        ".rela.dyn",
        ".rela.plt",
        ".gnu.version",
        ".gnu.version_r",
        ".note.gnu.build-id",
        ".init_array",
        ".fini_array",
        ".tdata",
        ".got",
        ".data.rel.ro",
        ".eh_frame_hdr",
    ];
    let mut parts = vec![("file header".to_owned(), 16, 48), ("program headers".to_owned(), 64, 56 * 11)];
    for line in listed.lines() {
        // `[ 1] NAME TYPE ADDRESS OFFSET SIZE ...`
        let Some((_, rest)) = line.split_once("] ") else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let [name, kind, _, offset, size, ..] = fields[..] else { continue };
        if named.contains(&name) && kind != "NOBITS" {
            let number = |text| usize::from_str_radix(text, 16);
            parts.push((name.to_owned(), number(offset)?, number(size)?));
        }
    }
    Ok(parts)
}

/// The next of a row of numbers that only look like chance.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 8) as usize
}

#[test]
fn the_daemon_outlives_every_damaged_module() -> Result {
    let dir = TempDir::new()?;
    let sound = test_module("sound")?;
    let mut daemon = Setup::device(format!("vol0={}:8M", sound.display())).start(&dir)?;
    let whole = std::fs::read(&sound)?;
    let parts = parts(&sound)?;
    assert!(parts.len() >= 11, "{parts:?}");
    let path = dir.join("damaged.so");
    let text = path.display().to_string();
    let (mut state, mut refusals, mut mapped) = (0x5eed_2026, BTreeMap::new(), 0);
    for round in 0..ROUNDS {
        let (name, at, size) = &parts[round % parts.len()];
        let mut bytes = whole.clone();
        let place = at + next(&mut state) % size;
        let length = [1, 1, 2, 4, 8, 16][next(&mut state) % 6].min(at + size - place);
        for byte in &mut bytes[place..place + length] {
            *byte = next(&mut state) as u8;
        }
        std::fs::write(&path, &bytes)?;
        let damage = format!("round {round}: {length} bytes at {place:#x} ({name})");
        let asked = json!({ "device": "vol0", "module": text });
        let (status, report) =
            daemon.api()?.post("/v1/drivers/check", &asked).with_context(|| damage.clone())?;
        let refused = status != 200 || report["ok"] == false;
        if refused {
            let said = report.to_string();
            assert!(said.contains("damaged.so") || report["rows"].is_array(), "{damage}: {said}");
            *refusals.entry(check_of(&report)).or_insert(0) += 1;
        }
        // What the check took is mapped by the daemon itself, and let go; what it refused is refused again.
        let (status, answer) = daemon
            .api()?
            .post("/v1/drivers/load", &json!({ "module": text }))
            .with_context(|| damage.clone())?;
        if status == 200 && answer["outcome"] == "done" {
            assert!(!refused, "{damage}: the check refused it, and it was mapped: {report}");
            mapped += 1;
            let hash = &answer["to"]["hash"];
            daemon.api()?.post("/v1/drivers/unload", &json!({ "driver": hash }))?;
        }
        if refused && round % 8 == 0 {
            let receipt = daemon.api()?.update("vol0", &path, json!({}))?;
            assert_eq!(receipt["outcome"], "refused", "{damage}: {receipt:#}");
        }
    }
    daemon.check_serves("vol0")?;
    let refused: i32 = refusals.values().sum();
    println!("{mapped} mapped, {refused} refused: {refusals:?}");
    assert!(refused > 0 && mapped > 0, "{mapped} mapped, {refusals:?}");
    Ok(())
}

/// Which check refused: a row's name, or the kind of problem.
fn check_of(report: &serde_json::Value) -> String {
    let rows = report["rows"].as_array();
    let row = rows.and_then(|rows| rows.iter().find(|row| row["ok"] == false));
    row.map_or_else(|| report["kind"].to_string(), |row| row["name"].to_string())
}

#[test]
fn what_kills_or_keeps_whoever_maps_it_is_told_by_the_check() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device(format!("vol0={}:8M", test_module("sound")?.display())).start(&dir)?;
    let compiled = |name: &str, code: &str| -> Result<std::path::PathBuf> {
        let (source, module) = (dir.join(&format!("{name}.c")), dir.join(&format!("{name}.so")));
        let memory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/abi/examples/memory.c");
        std::fs::write(&source, format!("#include \"{}\"\n{code}\n", memory.display()))?;
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/abi/include");
        ok(Command::new("cc")
            .args(["-std=c11", "-O1", "-shared", "-fPIC", "-w", "-I"])
            .arg(include)
            .arg("-o")
            .args([&module, &source]))?;
        Ok(module)
    };
    for (name, code, words) in [
        (
            "dies",
            "__attribute__((constructor)) static void go(void) { __builtin_trap(); }",
            "while it was being mapped",
        ),
        (
            "leaves",
            "#include <unistd.h>\n__attribute__((constructor)) static void go(void) { _exit(0); }",
            "ended with code 0",
        ),
        (
            "dies-last",
            "__attribute__((destructor)) static void go(void) { *(volatile int *)8 = 1; }",
            "while it was let go",
        ),
        (
            "prints",
            "#include <stdio.h>\n__attribute__((constructor)) static void go(void) { puts(\"done\"); fflush(stdout); __builtin_trap(); }",
            "(done)",
        ),
    ] {
        let module = compiled(name, code)?;
        let text = module.display().to_string();
        for args in [&["driver", "check", &text][..], &["driver", "check", "vol0", &text]] {
            let output = daemon.cli(args)?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(6), "{name}: {said}");
            assert!(said.contains("load") && said.contains(words), "{name}: {said}");
        }
        let update = daemon.cli(&["update", "vol0", &text, "--allow-other", "--force"])?;
        let said = String::from_utf8_lossy(&update.stderr).into_owned();
        assert_eq!(update.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(words), "{name}: {said}");
    }
    daemon.check_serves("vol0")
}
