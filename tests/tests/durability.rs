//! What was acknowledged after a flush, or written with FUA, is there after `kill -9`.

use serde_json::json;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use steadfast_tests::nbd::Client;
use steadfast_tests::{Daemon, Result, Setup, Swapper, TempDir, module};

const SIZE: u64 = 64 << 20;
const BLOCK: u64 = 4096;

/// Starts a daemon on the image; also when another one was killed just now.
fn daemon(dir: &TempDir, release: &str) -> Result<Daemon> {
    Setup::device(format!("vol0=file@{release}:{}", dir.join("disk.img").display())).start(dir)
}

/// A block that says its own number.
fn block(number: u64) -> Vec<u8> {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(BLOCK as usize / 8)
}

/// Fails unless blocks `0..count` of the file are as they were written.
fn check_file(path: &Path, count: u64) -> Result {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(0))?;
    let mut found = vec![0; BLOCK as usize];
    for number in 0..count {
        file.read_exact(&mut found)?;
        assert!(found == block(number), "block {number} of {count} is not what was acknowledged");
    }
    Ok(())
}

/// Writes, perhaps has the driver replaced, flushes, and is killed.
fn written_then_flushed(swap_to: Option<&str>) -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", SIZE)?;
    let mut first = daemon(&dir, "1.0.0")?;
    let mut client = Client::connect(first.nbd(), "vol0")?;
    for number in 0..1000 {
        assert_eq!(client.write(number * BLOCK, &block(number), false)?, Ok(vec![]));
    }
    if let Some(release) = swap_to {
        first.update("vol0", &module(release)?)?;
    }
    assert_eq!(client.flush()?, Ok(vec![]));
    first.kill();
    check_file(&disk, 1000)?;
    // And the device comes up again with it.
    let second = daemon(&dir, "1.1.0")?;
    let mut client = Client::connect(second.nbd(), "vol0")?;
    for number in 0..1000 {
        assert_eq!(client.read(number * BLOCK, BLOCK as u32)?, Ok(block(number)));
    }
    Ok(())
}

#[test]
fn flushed_data_survives_a_kill() -> Result {
    written_then_flushed(None)
}

#[test]
fn flushed_data_survives_a_kill_with_a_swap_between_write_and_flush() -> Result {
    written_then_flushed(Some("file-1.1"))
}

#[test]
fn a_flush_covers_what_another_connection_wrote() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", SIZE)?;
    let mut daemon = daemon(&dir, "1.0.0")?;
    let mut writer = Client::connect(daemon.nbd(), "vol0")?;
    let mut flusher = Client::connect(daemon.nbd(), "vol0")?;
    for number in 0..200 {
        assert_eq!(writer.write(number * BLOCK, &block(number), false)?, Ok(vec![]));
    }
    daemon.update("vol0", &module("file-1.1")?)?;
    assert_eq!(flusher.flush()?, Ok(vec![]));
    daemon.kill();
    check_file(&disk, 200)
}

#[test]
fn fua_writes_survive_a_kill_in_the_midst_of_swaps() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", SIZE)?;
    for round in 1..=3 {
        let mut daemon = daemon(&dir, "1.0.0")?;
        let mut client = Client::connect(daemon.nbd(), "vol0")?;
        let up = (module("file-1.1")?, json!({}));
        let back = (module("file-1.0")?, json!({ "mode": "drain" }));
        let swapper = Swapper::start(&daemon, "vol0", vec![up, back])?;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let writer = std::thread::spawn({
            let acknowledged = acknowledged.clone();
            move || {
                for number in 0..SIZE / BLOCK {
                    // The daemon is killed in the middle of one of these.
                    match client.write(number * BLOCK, &block(number), true) {
                        Ok(Ok(_)) => acknowledged.store(number + 1, Ordering::Release),
                        Ok(Err(error)) => panic!("write {number} failed with NBD error {error}"),
                        Err(_) => break,
                    }
                }
            }
        });
        while acknowledged.load(Ordering::Acquire) < 100 * round || swapper.count() < 10 {
            assert!(!swapper.ended() && !writer.is_finished(), "the daemon fails:\n{}", daemon.log());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        daemon.kill();
        writer.join().expect("no write failed before the kill");
        let count = acknowledged.load(Ordering::Acquire);
        println!("killed after {count} writes and {} swaps", swapper.count());
        check_file(&disk, count)?;
    }
    Ok(())
}
