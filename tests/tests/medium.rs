//! Flush and FUA reach the medium, not just the kernel's memory.
//!
//! A block device has a cache of its own in the kernel. A loop device makes visible what has left that
//! cache: only then it is in the file under the loop device. So what was acknowledged after a flush
//! must be in that file at once; a driver that answers a flush without doing it is found out.

use std::os::unix::fs::FileExt;
use std::path::Path;
use steadfast_tests::disks::Loop;
use steadfast_tests::nbd::Client;
use steadfast_tests::{Result, Setup, TempDir, module};

const BLOCK: u64 = 4096;
const COUNT: u64 = 256;

fn block(number: u64, salt: u8) -> Vec<u8> {
    let mut bytes = vec![salt; BLOCK as usize];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// How many of the blocks are in the file under the loop device.
fn on_medium(file: &Path, salt: u8) -> Result<u64> {
    let file = std::fs::File::open(file)?;
    let mut found = vec![0; BLOCK as usize];
    let mut count = 0;
    for number in 0..COUNT {
        file.read_exact_at(&mut found, number * BLOCK)?;
        count += u64::from(found == block(number, salt));
    }
    Ok(count)
}

fn on_a_loop_device(swap: bool) -> Result {
    let dir = TempDir::new()?;
    let file = dir.disk("medium.img", 8 << 20)?;
    let device = Loop::over(&file)?;
    let daemon = Setup::device(format!("vol0=file@1.0.0:{}", device.path().display())).start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    for number in 0..COUNT {
        assert_eq!(client.write(number * BLOCK, &block(number, 1), false)?, Ok(vec![]));
    }
    assert!(on_medium(&file, 1)? < COUNT, "without a flush all is on the medium: this test proves nothing");
    if swap {
        daemon.update("vol0", &module("file-1.1")?)?;
    }
    assert_eq!(client.flush()?, Ok(vec![]));
    assert_eq!(on_medium(&file, 1)?, COUNT, "flushed, and not on the medium");
    for number in 0..COUNT {
        assert_eq!(client.write(number * BLOCK, &block(number, 2), true)?, Ok(vec![]));
    }
    assert_eq!(on_medium(&file, 2)?, COUNT, "written with FUA, and not on the medium");
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn flush_and_fua_reach_the_medium() -> Result {
    on_a_loop_device(false)
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn flush_and_fua_reach_the_medium_with_a_swap_between() -> Result {
    on_a_loop_device(true)
}
