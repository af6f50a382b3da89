//! A thousand swaps leave memory, files and mappings where they were.

use serde_json::json;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::process::footprint;
use steadfast_tests::{Result, Setup, TempDir, module};

const SWAPS: usize = 1000;

#[test]
fn a_thousand_swaps_leave_no_trace() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", 64 << 20)?;
    let daemon = Setup::device(format!("vol0=file@1.0.0:{}", disk.display())).start(&dir)?;
    let load = Load::start(daemon.nbd(), "vol0", Shape { size: 4096, depth: 8, write: true })?;
    let mut api = daemon.api()?;
    let steps = [
        (module("file-1.1")?, json!({ "mode": "adopt" })),
        (module("file-1.0")?, json!({ "mode": "drain" })),
    ];
    let mut before = None;
    // The list of the last receipts fills up, and threads of the control plane come to life.
    let warm = 500;
    for n in 0..warm + SWAPS {
        if n == warm {
            before = Some(footprint(daemon.pid())?);
        }
        let (module, options) = &steps[n % 2];
        let receipt = api.update("vol0", module, options.clone())?;
        assert_eq!(receipt["outcome"], "done", "swap {n}: {receipt:#}");
        assert_eq!(receipt["unload"], "unloaded", "the old module left memory: {receipt:#}");
    }
    let after = footprint(daemon.pid())?;
    let requests = load.finish()?.len();
    let before = before.expect("measured after the warm-up");
    println!("{SWAPS} swaps under {requests} writes\nbefore {before:?}\nafter  {after:?}");
    assert_eq!(after.files, before.files, "open files");
    let more = after.mappings.saturating_sub(before.mappings);
    assert!(more <= 8, "{more} mappings more");
    let grown = after.anonymous.saturating_sub(before.anonymous);
    // More of those threads than before may be at work, each with some memory of its own. Ten kilobytes
    // lost per update would be more than that.
    assert!(grown <= 8 << 20, "{grown} bytes of memory more");
    Ok(())
}
