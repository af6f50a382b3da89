use crate::{Daemon, Result};
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// What was done, and the receipts of what was not.
type Ended = (Swaps, Vec<Value>);

/// Replaces a device's driver again and again, beside whatever the test does meanwhile.
#[derive(Debug)]
pub struct Swapper {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Ended>>>,
}

impl Swapper {
    /// Begins: each step is a module and the options of its update; after the last comes the first.
    pub fn start(daemon: &Daemon, device: &str, steps: Vec<(PathBuf, Value)>) -> Result<Swapper> {
        let mut api = daemon.api()?;
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop2, done2, device) = (stop.clone(), done.clone(), device.to_owned());
        let thread = std::thread::spawn(move || {
            let (mut swaps, mut others) = (Swaps::default(), Vec::new());
            for (module, options) in steps.iter().cycle() {
                if stop2.load(Ordering::Relaxed) {
                    break;
                }
                let receipt = api.update(&device, module, options.clone())?;
                match receipt["outcome"] == "done" {
                    true => {
                        swaps.0.push(Swap::of(&receipt));
                        done2.fetch_add(1, Ordering::Relaxed);
                    }
                    false => others.push(receipt),
                }
                // Let the new driver do something before it goes.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            Ok((swaps, others))
        });
        Ok(Swapper { stop, done, thread: Some(thread) })
    }

    /// Updates done so far.
    pub fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Has it ended by itself, which it does only when the daemon fails it?
    pub fn ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it; fails unless every update was done.
    pub fn finish(self) -> Result<Swaps> {
        let (swaps, refused) = self.finish_with_refusals()?;
        match refused.first() {
            None => Ok(swaps),
            Some(bad) => bail!("{} updates were refused, the first: {bad:#}", refused.len()),
        }
    }

    /// Ends it; fails unless every update was done, or refused because a client that connected
    /// meanwhile relies on a feature that the other release lacks.
    pub fn finish_with_refusals(mut self) -> Result<(Swaps, Vec<Value>)> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the swapper has ended already")?;
        let (swaps, others) = match thread.join() {
            Ok(all) => all?,
            Err(_) => bail!("the swapper panicked"),
        };
        // Before the pause the check finds it; in it, where the client came in between, the announcement.
        let relied_on = |r: &Value| {
            r["reason"].as_str().is_some_and(|s| s.contains("clients rely on") || s.contains("busy"))
        };
        if let Some(bad) = others.iter().find(|r| !relied_on(r)) {
            let total = swaps.count() + others.len();
            bail!("of {total} updates, this one was not done: {bad:#}");
        }
        Ok((swaps, others))
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is kept of the receipt of an update that was done: there may be hundreds of thousands.
#[derive(Clone, Copy, Debug)]
struct Swap {
    pause_ns: u64,
    held: u64,
    drained: u64,
    adopted: u64,
}

impl Swap {
    fn of(receipt: &Value) -> Swap {
        let number = |field: &str| receipt[field].as_u64().unwrap_or(0);
        Swap {
            pause_ns: number("pause_ns"),
            held: number("held"),
            drained: number("drained"),
            adopted: number("adopted"),
        }
    }
}

/// Updates that were all done.
#[derive(Debug, Default)]
pub struct Swaps(Vec<Swap>);

impl Swaps {
    /// Adds what another swapper did.
    pub fn extend(&mut self, more: Swaps) {
        self.0.extend(more.0);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Requests that new drivers took over from old ones.
    pub fn adopted(&self) -> u64 {
        self.0.iter().map(|swap| swap.adopted).sum()
    }

    /// The pauses in nanoseconds, shortest first.
    pub fn pauses(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.0.iter().map(|swap| swap.pause_ns).collect();
        all.sort_unstable();
        all
    }

    /// One line for the test's output.
    pub fn summary(&self) -> String {
        let pauses = self.pauses();
        let at = |percent: usize| pauses.get((pauses.len() * percent / 100).min(pauses.len().max(1) - 1));
        let sum = |field: fn(&Swap) -> u64| self.0.iter().map(field).sum::<u64>();
        let us = |ns: Option<&u64>| ns.map_or(0.0, |n| *n as f64 / 1000.0);
        format!(
            "{} swaps, pause us p50 {:.1} p99 {:.1} max {:.1}; held {}, drained {}, adopted {}",
            self.count(),
            us(at(50)),
            us(at(99)),
            us(pauses.last()),
            sum(|swap| swap.held),
            sum(|swap| swap.drained),
            self.adopted(),
        )
    }
}
