//! Devices over devices, and live parameters, on the real daemon.

use serde_json::json;
use steadfast_tests::{Result, Setup, Swapper, TempDir, fio, module, test_module};

#[test]
fn fio_verifies_a_device_over_another_while_both_drivers_are_replaced() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", 64 << 20)?;
    let over = test_module("over_another")?;
    // The one above first: the daemon puts them in order.
    let top = format!("top={}:disk", over.display());
    let disk = format!("disk=file@1.0.0:{}", dir.join("disk.img").display());
    let mut daemon = Setup::device(top).and_device(disk).arg("--queues").arg("2").start(&dir)?;
    assert_eq!(daemon.device("top")?["over"], json!(["disk"]));
    let below = vec![
        (module("file-1.1")?, json!({ "mode": "adopt" })),
        (module("file-1.0")?, json!({ "mode": "drain", "allow_older": true })),
    ];
    let above = ["adopt", "drain", "split"].map(|mode| (over.clone(), json!({ "mode": mode })));
    let swappers = [Swapper::start(&daemon, "disk", below)?, Swapper::start(&daemon, "top", above.to_vec())?];
    let mixes = [["--rw=randrw", "--verify_backlog=128"], ["--rw=randwrite", "--fsync=64"]];
    for mix in mixes {
        let common = ["--bs=4k", "--iodepth=16", "--verify=crc32c", "--verify_fatal=1", "--size=32m"];
        fio(&daemon.uri("top"), &[&common[..], &mix].concat())?;
    }
    for (swapper, name) in swappers.into_iter().zip(["disk", "top"]) {
        let swaps = swapper.finish()?;
        println!("{name}: {}", swaps.summary());
        assert!(swaps.count() > 10, "{name}: {}", swaps.summary());
        let device = daemon.device(name)?;
        assert_eq!((&device["errors"], &device["state"]), (&json!(0), &json!("running")), "{device:#}");
    }
    assert!(daemon.stop()?.success(), "{}", daemon.log());
    Ok(())
}

#[test]
fn live_parameters_are_set_and_shown_by_the_command() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=null:1M").start(&dir)?;
    let cli = |args: &[&str]| -> Result<(i32, String, String)> {
        let output = daemon.cli(args)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
    };
    let (code, shown, _) = cli(&["device", "show", "vol0"])?;
    assert_eq!(code, 0);
    assert!(shown.contains("size=1048576 (set, default 1073741824, bytes)"), "{shown}");
    assert!(shown.contains("zeroes=true (default, live)"), "{shown}");
    let (code, text, _) = cli(&["param", "set", "--temporary", "vol0", "zeroes=false"])?;
    assert!(code == 0 && text.contains("zeroes: true -> false"), "{code}: {text}");
    let (_, shown, _) = cli(&["device", "show", "vol0"])?;
    assert!(shown.contains("zeroes=false (set, default true, live)"), "{shown}");
    let (code, _, error) = cli(&["param", "set", "--temporary", "vol0", "size=2M"])?;
    assert!(code == 1 && error.contains("not live: size=2M takes effect when"), "{code}: {error}");
    let (code, _, error) = cli(&["param", "set", "--temporary", "vol0", "zeros=no"])?;
    assert!(code == 1 && error.contains("did you mean zeroes?"), "{code}: {error}");
    let (code, text, _) = cli(&["param", "set", "--temporary", "vol0", "--unset", "zeroes", "-o", "json"])?;
    let report: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!((code, &report["changed"][0]["after"]), (0, &json!("true")), "{text}");
    Ok(())
}
