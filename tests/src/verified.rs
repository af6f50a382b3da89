use crate::{Daemon, Result, fio};
use anyhow::{Context, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// fio at work on a part of a device until it is told to stop: in turns random reads and writes whose
/// checksums are verified as it goes, and random writes that are all verified at the end.
#[derive(Debug)]
pub struct Verified {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result>>,
}

impl Verified {
    /// Begins, on `megabytes` of the device from `offset` megabytes on, `depth` requests at a time.
    pub fn start(daemon: &Daemon, device: &str, offset: u32, megabytes: u32, depth: u32) -> Verified {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop2, rounds2, uri) = (stop.clone(), rounds.clone(), daemon.uri(device));
        let thread = std::thread::spawn(move || {
            let place = [format!("--offset={offset}m"), format!("--size={megabytes}m")];
            let depth = format!("--iodepth={depth}");
            // A round is long beside the time that fio takes to start.
            let common =
                ["--bs=4k", "--verify=crc32c", "--verify_fatal=1", "--loops=5", &depth, &place[0], &place[1]];
            let mixes: [&[&str]; 2] = [&["--rw=randrw", "--verify_backlog=64"], &["--rw=randwrite"]];
            while !stop2.load(Ordering::Relaxed) {
                let mix = mixes[rounds2.load(Ordering::Relaxed) as usize % mixes.len()];
                fio(&uri, &[&common[..], mix].concat())?;
                rounds2.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Verified { stop, rounds, thread: Some(thread) }
    }

    /// Rounds of fio that have ended, all of them without an error and with every byte as written.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Waits until the device has requests in flight; fails as soon as fio has found an error.
    pub fn busy(&mut self, daemon: &Daemon, device: &str) -> Result {
        let mut api = daemon.api()?;
        let path = format!("/v1/devices/{device}");
        loop {
            self.check()?;
            let (_, device) = api.get(&path)?;
            // Held ones are all that a port without a driver has.
            if ["in_flight", "held"].iter().any(|f| device[*f].as_u64() > Some(0)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits for so many more rounds; fails as soon as fio has found an error.
    pub fn pass(&mut self, rounds: u64) -> Result {
        let until = self.rounds() + rounds;
        while self.rounds() < until {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return self.join();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Fails if fio has found an error already.
    pub fn check(&mut self) -> Result {
        self.pass(0)?;
        match self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            true => self.join(),
            false => Ok(()),
        }
    }

    /// Ends it after the round under way; returns the number of rounds.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.join()?;
        Ok(self.rounds())
    }

    fn join(&mut self) -> Result {
        let thread = self.thread.take().context("fio has ended already")?;
        match thread.join() {
            Ok(result) => result.context("under updates, fio found"),
            Err(_) => bail!("the thread that runs fio panicked"),
        }
    }
}

impl Drop for Verified {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
