//! SIGTERM: what is in flight is finished, and nothing that was acknowledged is lost.

use serde_json::json;
use std::os::unix::fs::FileExt;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::nbd::Client;
use steadfast_tests::{Result, Setup, Swapper, TempDir, module};

const BLOCK: u64 = 4096;

#[test]
fn sigterm_under_load_loses_nothing_that_was_acknowledged() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", 64 << 20)?;
    let mut daemon = Setup::device(format!("vol0=file:{}", disk.display())).start(&dir)?;
    let swapper = Swapper::start(&daemon, "vol0", vec![(module("file-1.1")?, json!({}))])?;
    // One connection that only makes things busy, and one that remembers what it was told.
    let busy = Load::start(daemon.nbd(), "vol0", Shape { size: 4096, depth: 32, write: false })?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    let writer = std::thread::spawn(move || {
        let mut acknowledged = 0;
        for number in 0..(64 << 20) / BLOCK {
            let data = [number as u8 ^ (number >> 8) as u8 | 1; BLOCK as usize];
            match client.write(number * BLOCK, &data, false) {
                Ok(Ok(_)) => acknowledged = number + 1,
                // NBD_ESHUTDOWN is a server's way to say that it stops.
                Ok(Err(error)) => {
                    assert_eq!(error, 108, "an error other than the shutdown");
                    break;
                }
                Err(_) => break,
            }
        }
        acknowledged
    });
    while swapper.count() < 5 {
        assert!(!swapper.ended(), "{}", daemon.log());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let status = daemon.stop()?;
    assert_eq!(status.code(), Some(0), "a clean stop:\n{}", daemon.log());
    let acknowledged = writer.join().expect("only the shutdown ends the writer");
    // The connection goes away under the load; that is no failure of a request.
    let _ = busy.finish();
    assert!(acknowledged > 0);
    let file = std::fs::File::open(&disk)?;
    for number in 0..acknowledged {
        let mut found = [0; BLOCK as usize];
        file.read_exact_at(&mut found, number * BLOCK)?;
        assert!(found == [number as u8 ^ (number >> 8) as u8 | 1; BLOCK as usize], "block {number} is lost");
    }
    println!("{acknowledged} writes acknowledged before the stop, all there");
    Ok(())
}

#[test]
fn sigterm_when_idle_ends_at_once_and_frees_the_names() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=ram:1M").start(&dir)?;
    let idle = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(daemon.stop()?.code(), Some(0));
    drop(idle);
    assert!(!daemon.control().exists(), "the control socket is gone");
    // The same names serve the next daemon.
    let mut next = Setup::device("vol0=ram:1M").start(&dir)?;
    next.check_serves("vol0")
}
