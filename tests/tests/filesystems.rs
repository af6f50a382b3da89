//! ext4 and xfs made, mounted, trimmed and checked on a device, through a kernel block device: nbdfuse shows the export
//! as a file, and a loop device lies over that. Discards and write-zeroes are as long as the kernel makes them: whole
//! devices at once.

use anyhow::{Context, bail};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use steadfast_tests::{Daemon, Peer, Result, Setup, Swapper, TempDir, module, ok, until};

const SIZE: u64 = 600 << 20;

/// An export as a kernel block device; taken apart, in order, when this goes.
struct BlockDevice {
    folder: PathBuf,
    device: String,
    _nbdfuse: Peer,
}

impl BlockDevice {
    fn over(daemon: &Daemon, export: &str, dir: &TempDir) -> Result<BlockDevice> {
        let folder = dir.join("fuse");
        fs::create_dir(&folder)?;
        let nbdfuse = Peer::start(Command::new("nbdfuse").arg(&folder).arg(daemon.uri(export)))?;
        let file = folder.join("nbd");
        let begin = Instant::now();
        while !file.exists() {
            if begin.elapsed() > Duration::from_secs(30) {
                bail!("nbdfuse shows no {}", file.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let name = ok(Command::new("losetup").args(["--find", "--show"]).arg(&file))?;
        Ok(BlockDevice { folder, device: name.trim().to_owned(), _nbdfuse: nbdfuse })
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        let _ = ok(Command::new("losetup").arg("--detach").arg(&self.device));
        let _ = ok(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

/// A file system that is mounted; unmounted when this goes.
struct Mounted(PathBuf);

impl Mounted {
    fn new(device: &str, folder: &Path) -> Result<Mounted> {
        fs::create_dir_all(folder)?;
        ok(Command::new("mount").arg(device).arg(folder))?;
        Ok(Mounted(folder.to_owned()))
    }

    fn unmount(self) -> Result {
        ok(Command::new("umount").arg(&self.0))?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = ok(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn content(number: u32) -> Vec<u8> {
    (0..1_000_000 + number).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ number as u8).collect()
}

/// Allocated bytes of the file behind the device.
fn allocated(file: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(file)?.blocks() * 512)
}

/// Makes a file system, uses it, trims it and checks it, while the driver is replaced.
fn lives(make: &[&str], check: &[&str]) -> Result {
    let dir = TempDir::new()?;
    let image = dir.disk("disk.img", SIZE)?;
    let daemon = Setup::device("vol0=file@1.1.0:disk.img").start(&dir)?;
    let block = BlockDevice::over(&daemon, "vol0", &dir)?;
    let swapper = Swapper::start(&daemon, "vol0", vec![(module("file-1.1")?, json!({ "mode": "adopt" }))])?;
    let on_device = |words: &[&str]| {
        let (program, arguments) = words.split_first().context("no program")?;
        ok(Command::new(program).args(arguments).arg(&block.device))
    };
    // All of it is full, so that what is discarded can be seen to be given back.
    ok(Command::new("blkdiscard").arg("--zeroout").arg(&block.device))?;
    on_device(make)?;
    let mounted = Mounted::new(&block.device, &dir.join("mnt"))?;
    for number in 0..60 {
        fs::write(mounted.0.join(number.to_string()), content(number))?;
    }
    ok(Command::new("sync").arg("--file-system").arg(&mounted.0))?;
    let full = allocated(&image)?;
    for number in 0..50 {
        fs::remove_file(mounted.0.join(number.to_string()))?;
    }
    // A file system may free what was removed a while later.
    until("what was removed and trimmed is given back", || {
        ok(Command::new("sync").arg("--file-system").arg(&mounted.0))?;
        ok(Command::new("fstrim").arg(&mounted.0))?;
        Ok((allocated(&image)? + (40 << 20) < full).then_some(()))
    })?;
    mounted.unmount()?;
    on_device(check)?;
    let mounted = Mounted::new(&block.device, &dir.join("mnt"))?;
    for number in 50..60 {
        assert!(
            fs::read(mounted.0.join(number.to_string()))? == content(number),
            "file {number} is not as written"
        );
    }
    mounted.unmount()?;
    // One discard over the whole device.
    on_device(&["blkdiscard", "--force"])?;
    assert!(
        allocated(&image)? < 1 << 20,
        "discarded as a whole, and {} bytes are allocated",
        allocated(&image)?
    );
    let swaps = swapper.finish()?;
    println!("{}", swaps.summary());
    assert!(swaps.count() > 0, "the driver was never replaced");
    assert_eq!(daemon.device("vol0")?["errors"], 0, "requests failed");
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn ext4_lives_on_a_device_whose_driver_is_replaced() -> Result {
    lives(&["mkfs.ext4", "-q"], &["e2fsck", "-fn"])
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn xfs_lives_on_a_device_whose_driver_is_replaced() -> Result {
    lives(&["mkfs.xfs", "-q", "-f"], &["xfs_repair", "-n"])
}
