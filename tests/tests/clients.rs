//! Clients that nobody here wrote, against a live daemon whose driver is being replaced.

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use steadfast_tests::nbd::Client;
use steadfast_tests::{Daemon, Result, Setup, Swapper, TempDir, fio, module, ok};

const SIZE: u64 = 64 << 20;

fn daemon(dir: &TempDir) -> Result<Daemon> {
    dir.disk("disk.img", SIZE)?;
    Setup::device(format!("vol0=file:{}", dir.join("disk.img").display()))
        .and_device("ram0=ram:8M")
        .start(dir)
}

/// Replaces vol0's driver for as long as the answer lives.
fn swapping(daemon: &Daemon) -> Result<Swapper> {
    let up = (module("file-1.1")?, json!({}));
    let back = (module("file-1.0")?, json!({ "mode": "drain" }));
    Swapper::start(daemon, "vol0", vec![up, back])
}

/// Does `work` at least `rounds` times, and until there were 50 swaps beside it.
fn beside_swaps(daemon: &Daemon, rounds: u32, mut work: impl FnMut(u32) -> Result) -> Result {
    let swapper = swapping(daemon)?;
    let mut round = 0;
    while round < rounds || (swapper.count() < 50 && !swapper.ended()) {
        work(round)?;
        round += 1;
    }
    let (swaps, refused) = swapper.finish_with_refusals()?;
    println!("{round} rounds; {}; {} refused while a client relied on more", swaps.summary(), refused.len());
    Ok(())
}

/// A file of `size` bytes that are different everywhere.
fn pattern(path: &Path, size: usize, seed: u64) -> Result {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    Ok(std::fs::write(path, bytes)?)
}

fn nbdinfo(uri: &str) -> Result<Value> {
    Ok(serde_json::from_str(&ok(Command::new("nbdinfo").arg("--json").arg(uri))?)?)
}

#[test]
fn nbdinfo_sees_the_exports_as_they_are() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    beside_swaps(&daemon, 10, |_| {
        let info = nbdinfo(&daemon.uri("vol0"))?;
        assert_eq!(info["structured"], true, "structured replies: {info:#}");
        let export = &info["exports"][0];
        assert_eq!(export["export-name"], "vol0");
        assert_eq!(export["export-size"], SIZE);
        assert_eq!(export["is_read_only"], false);
        for flag in ["can_flush", "can_fua", "can_df", "can_multi_conn"] {
            assert_eq!(export[flag], true, "{flag}: {export:#}");
        }
        let preferred = export["block_size_preferred"].as_u64().unwrap_or(0);
        assert!(preferred.is_power_of_two() && preferred >= 512, "preferred block size {preferred}");
        Ok(())
    })?;
    let list = ok(Command::new("nbdinfo").arg("--list").arg("--json").arg(daemon.uri("")))?;
    let list: Value = serde_json::from_str(&list)?;
    let mut names: Vec<_> =
        list["exports"].as_array().into_iter().flatten().filter_map(|e| e["export-name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ram0", "vol0"]);
    let size = ok(Command::new("nbdinfo").arg("--size").arg(daemon.uri("ram0")))?;
    assert_eq!(size.trim(), (8u64 << 20).to_string());
    Ok(())
}

#[test]
fn nbdcopy_both_ways_keeps_every_byte() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    let (there, back) = (dir.join("there.img"), dir.join("back.img"));
    beside_swaps(&daemon, 2, |round| {
        pattern(&there, SIZE as usize, u64::from(round) * 77 + 3)?;
        ok(Command::new("nbdcopy").arg("--flush").arg(&there).arg(daemon.uri("vol0")))?;
        ok(Command::new("nbdcopy").arg(daemon.uri("vol0")).arg(&back))?;
        ok(Command::new("cmp").arg(&there).arg(&back))?;
        // What the clients were told is on the device is in the file under it.
        ok(Command::new("cmp").arg(&there).arg(dir.join("disk.img")))?;
        Ok(())
    })
}

#[test]
fn qemu_img_finds_no_difference() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    let image = dir.join("image.img");
    pattern(&image, SIZE as usize, 42)?;
    beside_swaps(&daemon, 2, |_| {
        let uri = daemon.uri("vol0");
        let raw = ["-f", "raw", "-O", "raw"];
        ok(Command::new("qemu-img").args(["convert", "-n"]).args(raw).arg(&image).arg(&uri))?;
        ok(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "raw"]).arg(&image).arg(&uri))?;
        Ok(())
    })
}

#[test]
fn qemu_img_bench_reads_and_writes() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    beside_swaps(&daemon, 1, |_| {
        let uri = daemon.uri("vol0");
        let bench = ["bench", "-f", "raw", "-c", "20000", "-d", "32", "-s", "4096"];
        ok(Command::new("qemu-img").args(bench).arg(&uri))?;
        ok(Command::new("qemu-img").args(bench).args(["-w", "--flush-interval=64"]).arg(&uri))?;
        Ok(())
    })
}

#[test]
fn qemu_io_patterns_read_back() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    beside_swaps(&daemon, 5, |round| {
        let byte = round % 250 + 1;
        let commands = [
            format!("write -P {byte} 0 1M"),
            format!("write -f -P {} 1M 64k", byte + 1),
            "flush".to_owned(),
            format!("read -P {byte} 0 1M"),
            format!("read -P {} 1M 64k", byte + 1),
            "write -z 256k 128k".to_owned(),
            "read -P 0 256k 128k".to_owned(),
            format!("read -P {byte} 384k 512k"),
            "discard 2M 1M".to_owned(),
            // Off every boundary of blocks and pages.
            format!("write -P {} 5000001 70001", byte + 2),
            format!("read -P {} 5000001 70001", byte + 2),
        ];
        let mut command = Command::new("qemu-io");
        command.args(["-f", "raw"]);
        for line in &commands {
            command.args(["-c", line]);
        }
        let output = ok(command.arg(daemon.uri("vol0")))?;
        // qemu-io ends with 0 although a pattern was wrong.
        assert!(!output.contains("failed") && !output.contains("error"), "{output}");
        Ok(())
    })
}

#[test]
fn holes_are_shown_as_holes() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    daemon.update("vol0", &module("file-1.1")?)?;
    ok(Command::new("qemu-io")
        .args(["-f", "raw", "-c", "write -P 9 1M 1M", "-c", "flush"])
        .arg(daemon.uri("vol0")))?;
    let map = ok(Command::new("nbdinfo").args(["--map", "--json"]).arg(daemon.uri("vol0")))?;
    let map: Value = serde_json::from_str(&map)?;
    let extents = map.as_array().map(Vec::as_slice).unwrap_or_default();
    let covered: u64 = extents.iter().filter_map(|e| e["length"].as_u64()).sum();
    assert_eq!(covered, SIZE, "the map covers the device: {map:#}");
    let data = extents.iter().find(|e| {
        e["offset"].as_u64().unwrap_or(0) <= 1 << 20 && {
            let end = e["offset"].as_u64().unwrap_or(0) + e["length"].as_u64().unwrap_or(0);
            end > 1 << 20
        }
    });
    assert_eq!(data.map(|e| &e["type"]), Some(&json!(0)), "what was written is data: {map:#}");
    Ok(())
}

#[test]
fn tcp_serves_the_same_exports() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", SIZE)?;
    let daemon = Setup::device(format!("vol0=file:{}", dir.join("disk.img").display()))
        .arg("--nbd")
        .arg("tcp:127.0.0.1:0")
        .start(&dir)?;
    let uris = daemon.device("vol0")?["uris"].clone();
    let uri =
        uris.as_array().into_iter().flatten().filter_map(Value::as_str).find(|u| u.starts_with("nbd://"));
    let uri = uri.expect("the device lists its TCP address").to_owned();
    beside_swaps(&daemon, 1, |_| {
        assert_eq!(ok(Command::new("nbdinfo").arg("--size").arg(&uri))?.trim(), SIZE.to_string());
        let load = ["--bs=4k", "--iodepth=32", "--verify=crc32c", "--verify_fatal=1", "--size=16m"];
        fio(&uri, &[&load[..], &["--rw=randwrite"]].concat())?;
        Ok(())
    })
}

#[test]
fn a_read_only_device_refuses_what_writes() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", 1 << 20)?;
    let daemon = Setup::device(format!("vol0=file:{},read_only=true", disk.display())).start(&dir)?;
    assert_eq!(nbdinfo(&daemon.uri("vol0"))?["exports"][0]["is_read_only"], true);
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    // NBD_EPERM
    assert_eq!(client.write(0, &[1; 4096], false)?, Err(1));
    assert_eq!(client.read(0, 4096)?, Ok(vec![0; 4096]));
    assert!(std::fs::read(&disk)?.iter().all(|b| *b == 0), "the file is as it was");
    Ok(())
}

#[test]
fn trimmed_space_is_given_back() -> Result {
    use std::os::unix::fs::MetadataExt;
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", SIZE)?;
    let daemon = Setup::device(format!("vol0=file@1.1.0:{}", disk.display())).start(&dir)?;
    let io = |commands: &[&str]| {
        let words = commands.iter().flat_map(|c| ["-c", c]);
        ok(Command::new("qemu-io").args(["-f", "raw", "-d", "unmap"]).args(words).arg(daemon.uri("vol0")))
    };
    io(&["write -P 3 0 16M", "flush"])?;
    let full = std::fs::metadata(&disk)?.blocks();
    io(&["discard 0 8M", "flush"])?;
    let less = std::fs::metadata(&disk)?.blocks();
    assert!(full >= 16 << 11, "16 MiB take {full} blocks of 512 bytes");
    assert!(less <= full - (8 << 11), "after trimming half of it: {less} of {full} blocks");
    let output = io(&["read -P 0 0 8M", "read -P 3 8M 8M"])?;
    assert!(!output.contains("failed"), "{output}");
    Ok(())
}
