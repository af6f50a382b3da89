//! The way back needs no room, and no file that could be missing.

use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use steadfast_tests::disks::Tmpfs;
use steadfast_tests::nbd::Client;
use steadfast_tests::{Daemon, Result, Setup, TempDir, test_module, until};

/// A device whose second page a driver of the tests fails.
fn daemon(dir: &TempDir) -> Result<Daemon> {
    Setup::device(format!("vol0={}:8M", test_module("sound")?.display())).start(dir)
}

/// Updates to a driver on probation that fails half of its reads, after `then`; the receipt when it is over.
fn fails_on_probation(daemon: &Daemon, then: impl FnOnce() -> Result) -> Result<Value> {
    let ask = json!({"probation": {"duration_ms": 60_000}});
    let up = daemon.api()?.update("vol0", &test_module("submit_error")?, ask)?;
    assert_eq!(up["probation"]["outcome"], "running", "{up:#}");
    then()?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    until("it goes back", || {
        for page in [0, 1] {
            let _ = client.read(page * 4096, 4096)?;
        }
        let receipt = daemon.api()?.get(&format!("/v1/receipts/{}", up["id"]))?.1;
        Ok((receipt["probation"]["outcome"] != "running").then_some(receipt))
    })
}

/// Nothing more can be written there.
fn fill(folder: &Path) -> Result {
    let mut file = std::fs::File::create(folder.join("filler"))?;
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    Ok(())
}

#[test]
fn a_driver_on_probation_goes_back_although_the_store_has_gone() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir)?;
    let before = daemon.device("vol0")?["driver"].clone();
    let up = fails_on_probation(&daemon, || {
        std::fs::remove_dir_all(dir.join("store/run"))?;
        for entry in std::fs::read_dir(dir.join("store"))?.filter_map(std::io::Result::ok) {
            if entry.path().extension().is_some_and(|ending| ending == "so") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    })?;
    assert_eq!(up["probation"]["outcome"], "reverted", "{up:#}");
    assert_eq!(daemon.device("vol0")?["driver"], before);
    daemon.check_serves("vol0")
}

#[test]
fn going_back_by_hand_needs_no_file_of_the_store_either() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir)?;
    let before = daemon.device("vol0")?["driver"].clone();
    daemon.update("vol0", &test_module("other_pdu")?)?;
    // It is held soon after.
    std::thread::sleep(std::time::Duration::from_secs(2));
    std::fs::remove_dir_all(dir.join("store/run"))?;
    let gone = dir.join(&format!("store/{}.so", before["hash"].as_str().unwrap_or_default()));
    std::fs::remove_file(gone)?;
    let (_, back) = daemon.api()?.post("/v1/devices/vol0/revert", &json!({}))?;
    assert_eq!(back["outcome"], "done", "{back:#}");
    assert_eq!(daemon.device("vol0")?["driver"], before);
    daemon.check_serves("vol0")
}

#[test]
#[ignore = "needs root: `cargo xtask test` runs it as the step loop-devices"]
fn with_a_full_store_everything_goes_back_and_what_was_degraded_ends() -> Result {
    let dir = TempDir::new()?;
    let _room = Tmpfs::at(dir.join("store"), "256M")?;
    std::fs::set_permissions(dir.join("store"), std::fs::Permissions::from_mode(0o700))?;
    let mut daemon = daemon(&dir)?;
    let before = daemon.device("vol0")?["driver"].clone();
    let up = fails_on_probation(&daemon, || fill(&dir.join("store")))?;
    assert_eq!(up["probation"]["outcome"], "reverted", "{up:#}");
    assert_eq!(daemon.device("vol0")?["driver"], before);
    daemon.check_serves("vol0")?;
    // And by hand.
    std::fs::remove_file(dir.join("store/filler"))?;
    daemon.update("vol0", &test_module("other_pdu")?)?;
    fill(&dir.join("store"))?;
    let (_, back) = daemon.api()?.post("/v1/devices/vol0/revert", &json!({}))?;
    assert_eq!(back["outcome"], "done", "{back:#}");
    daemon.check_serves("vol0")?;
    std::fs::remove_file(dir.join("store/filler"))?;
    until("nothing is degraded any more", || {
        let health = daemon.api()?.get("/v1/health")?.1;
        Ok((health["degraded"] == "").then_some(()))
    })
}
