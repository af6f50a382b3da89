//! The wall clock goes back while a port is activated.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::process::Command;
use steadfast_tests::{Result, Setup, TempDir};

/// The library that gives a process another wall clock.
fn library() -> Result<String> {
    let output = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
    let output = output.context("faketime (Debian: faketime) is needed")?;
    let library = String::from_utf8(output.stdout)?.trim().to_owned();
    ensure!(!library.is_empty(), "faketime names no library: {}", String::from_utf8_lossy(&output.stderr));
    Ok(library)
}

#[test]
fn success_is_told_from_failure_although_the_clock_goes_back() -> Result {
    let dir = TempDir::new()?;
    let offset = dir.join("offset");
    let set = |to: &str| std::fs::write(&offset, to);
    set("+0d")?;
    let disk = dir.disk("vol0.img", 1 << 20)?;
    let mut daemon = Setup::device(format!("vol0=file@1.1.0:{}", disk.display()))
        .env("LD_PRELOAD", library()?)
        .env("FAKETIME_TIMESTAMP_FILE", offset.display().to_string())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start(&dir)?;
    let mut api = daemon.api()?;
    let mut activate = |name: &str, value: &str| -> Result<Value> {
        let body = serde_json::json!({ "set": { (name): value } });
        let (status, said) = api.post("/v1/ports/vol0/params", &body)?;
        ensure!(status == 200, "{said:#}");
        let (_, said) = api.post("/v1/ports/vol0/activate", &serde_json::json!({}))?;
        Ok(said["receipt"].clone())
    };
    let stamps = |receipt: &Value| {
        let of = |when: &str, what: &str| receipt["properties"][when][what].as_u64().unwrap_or(0);
        let before = (of("stamp_before", "generation"), of("stamp_before", "epoch_unix_ms"));
        (before, (of("stamp_after", "generation"), of("stamp_after", "epoch_unix_ms")))
    };

    set("-30d")?;
    let receipt = activate("link_speed", "16")?;
    let (before, after) = stamps(&receipt);
    ensure!(after.1 < before.1, "the clock did not go back: {receipt:#}");
    assert_eq!((receipt["outcome"].as_str(), after.0), (Some("done"), before.0 + 1), "{receipt:#}");

    // A later clock does not make a success of a failure.
    set("+30d")?;
    let receipt = activate("path", "/nowhere/vol0.img")?;
    let (before, after) = stamps(&receipt);
    assert_eq!((receipt["outcome"].as_str(), after.0), (Some("rolled_back"), before.0), "{receipt:#}");
    daemon.check_serves("vol0")
}
