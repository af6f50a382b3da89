//! The driver does what every driver must do: `steadfast driver test`.

use std::process::Command;

#[test]
fn the_driver_passes_the_conformance_suite() {
    let exe = std::env::current_exe().expect("the test's own path");
    let folder = exe.parent().expect("cargo builds into a folder");
    let module = folder.join("libmy_driver.so");
    let steadfast = std::env::var_os("STEADFAST").unwrap_or_else(|| "steadfast".into());
    let suite = Command::new(&steadfast).args(["driver", "test"]).arg(&module).args(["--param", "size=16M"]).status();
    let status = suite.unwrap_or_else(|e| {
        panic!("cannot run {steadfast:?}: {e}; put steadfast into PATH, or its path into STEADFAST")
    });
    assert!(status.success(), "{}: {status}", module.display());
}
