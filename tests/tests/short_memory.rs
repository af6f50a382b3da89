//! A process that can hardly have more memory: what a driver needs is found before the pause, of what it wants
//! it gets what is there, and the check says which.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use steadfast_tests::{Daemon, Result, Setup, TempDir, ok};

/// The example in C with another need for memory.
fn driver(dir: &TempDir, version: &str, memory: &str) -> Result<PathBuf> {
    let abi = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/abi");
    let text = std::fs::read_to_string(abi.join("examples/memory.c"))?;
    ensure!(text.contains("\"4096:4096\"") && text.contains("\"1.0.0\""));
    let text =
        text.replace("\"4096:4096\"", &format!("\"{memory}\"")).replace("\"1.0.0\"", &format!("{version:?}"));
    let (source, module) = (dir.join(&format!("m{version}.c")), dir.join(&format!("m{version}.so")));
    std::fs::write(&source, text)?;
    let flags = ["-std=c11", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-I"];
    ok(Command::new("cc").args(flags).arg(abi.join("include")).arg("-o").args([&module, &source]))?;
    Ok(module)
}

/// Lets the daemon have so much more of the address space than it has, bytes.
fn leave(daemon: &Daemon, more: u64) -> Result {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", daemon.pid()))?;
    let pages: u64 = statm.split(' ').next().context("pages")?.parse()?;
    let limit = libc::rlimit { rlim_cur: pages * 4096 + more, rlim_max: libc::RLIM_INFINITY };
    let pid = i32::try_from(daemon.pid())?;
    // SAFETY: the limit lives through the call, and nothing is written back.
    let set = unsafe { libc::prlimit(pid, libc::RLIMIT_AS, &raw const limit, std::ptr::null_mut()) };
    ensure!(set == 0, "prlimit: {}", std::io::Error::last_os_error());
    Ok(())
}

fn row(rows: &Value, name: &str) -> Result<(bool, String)> {
    let rows = rows.as_array().context("rows")?;
    let row = rows.iter().find(|row| row["name"] == name).with_context(|| format!("no row {name}"))?;
    Ok((row["ok"] == true, row["detail"].as_str().unwrap_or_default().to_owned()))
}

#[test]
fn where_the_address_space_is_short_a_driver_gets_what_is_there_or_is_refused_by_the_check() -> Result {
    let dir = TempDir::new()?;
    let first = driver(&dir, "1.0.0", "4096:4096")?;
    let wants = driver(&dir, "1.1.0", "4096:1073741824")?;
    let needs = driver(&dir, "1.2.0", "1073741824:1073741824")?;
    // There is room for all of it, as far as the port goes.
    let mut daemon = Setup::device(format!("vol0={}:8M", wants.display())).start(&dir)?;
    daemon.update("vol0", &first)?;
    leave(&daemon, 160 << 20)?;

    let check = |module: &Path| -> Result<Value> {
        let asked = json!({ "device": "vol0", "module": module, "allow_older": true });
        Ok(daemon.api()?.post("/v1/drivers/check", &asked)?.1)
    };
    let report = check(&wants)?;
    let (fits, detail) = row(&report["rows"], "memory.port")?;
    assert!(fits && detail.contains("RLIMIT_AS") && detail.contains("reduced features"), "{detail}");
    let report = check(&needs)?;
    let (fits, detail) = row(&report["rows"], "memory.port")?;
    assert!(!fits && detail.contains("needs 1G") && detail.contains("RLIMIT_AS"), "{detail}");

    let receipt = daemon.api()?.update("vol0", &needs, json!({}))?;
    assert_eq!(receipt["outcome"], "refused", "{receipt:#}");
    let phases: Vec<&Value> =
        receipt["phases"].as_array().context("phases")?.iter().map(|p| &p["phase"]).collect();
    assert_eq!(phases, ["stage", "check"], "{receipt:#}");
    let receipt = daemon.api()?.update("vol0", &wants, json!({}))?;
    assert_eq!(receipt["outcome"], "done", "{receipt:#}");
    assert!(row(&receipt["checks"], "memory.port")?.1.contains("reduced features"), "{receipt:#}");
    daemon.check_serves("vol0")
}
