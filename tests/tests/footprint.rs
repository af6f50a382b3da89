//! A thousand swaps leave memory, files and mappings where they were.

use serde_json::json;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::process::{Footprint, footprint};
use steadfast_tests::{Result, Setup, TempDir, module};

const SWAPS: usize = 1000;

/// Swaps after which all that fills up is full: the 256 newest receipts are kept in memory and SQLite keeps
/// 2 MiB of pages; both grow for some hundred swaps and then no more.
const WARM: usize = 600;

/// Swaps over which the least footprint is taken.
const WINDOW: usize = 100;

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
    let (mut before, mut after) = (None, None);
    for n in 0..WARM + SWAPS {
        let (module, options) = &steps[n % 2];
        let receipt = api.update("vol0", module, options.clone())?;
        assert_eq!(receipt["outcome"], "done", "swap {n}: {receipt:#}");
        assert_eq!(receipt["unload"], "unloaded", "the old module left memory: {receipt:#}");
        let least = match n {
            _ if (WARM - WINDOW..WARM).contains(&n) => &mut before,
            _ if n >= WARM + SWAPS - WINDOW => &mut after,
            _ => continue,
        };
        let now = footprint(daemon.pid())?;
        *least = Some(least.map_or(now, |least: Footprint| least.least(now)));
    }
    let requests = load.finish()?.len();
    let (before, after) = before.zip(after).expect("both were measured");
    println!("{SWAPS} swaps under {requests} writes\nbefore {before:?}\nafter  {after:?}");
    let more = after.growth(before);
    assert_eq!(more.files, 0, "open files: {more:?}");
    // One mapping lost per swap would be a thousand. More threads of the control plane than before may be at work, each
    // with some memory of its own; ten kilobytes lost per swap would be more than that.
    assert!(more.threads <= 8 && more.mappings <= 8, "{more:?}");
    assert!(more.anonymous <= 8 << 20, "{more:?}");
    Ok(())
}
