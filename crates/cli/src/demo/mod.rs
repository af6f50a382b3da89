//! `steadfast demo`: two devices under a load that checks every byte, their drivers replaced again
//! and again through the control API, and their ports initialised anew with other parameters in between.
//! Needs no root and no other program.

mod daemon;
mod load;
mod nbd;
mod pattern;
mod progress;
mod report;
mod swaps;

use crate::args::Demo;
use crate::failure::{Exit, Failure};
use crate::output;
use daemon::Daemon;
use load::{Counters, Load};
use progress::Progress;
use report::{DeviceReport, Report};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use swaps::{PLANS, Swaps};
use tokio::signal::unix::{SignalKind, signal};

/// Bytes of the file device, sparse at first.
const FILE_BYTES: u64 = 64 << 20;
/// Bytes of the RAM device.
const RAM_BYTES: u64 = 64 << 20;
/// Swaps a second, where nobody says how many there are to be.
const SWAPS_PER_SECOND: u64 = 40;
/// How long past its time the demonstration waits for the swaps that are still wanted.
const GRACE: Duration = Duration::from_secs(5);

/// Runs it; the exit code says whether everything was right.
pub(crate) fn run(demo: &Demo, json: bool) -> Result<Exit, Failure> {
    let folder = tempfile::Builder::new()
        .prefix("steadfast-demo-")
        .tempdir()
        .map_err(|e| Failure::new(format!("no temporary folder: {e}")))?;
    let daemon = Daemon::start(folder.path(), &devices(folder.path())?)?;
    let result = under_load(demo, &daemon);
    let (seconds, swaps, devices, mut faults) = result.map_err(|failure| daemon.with_log(failure))?;
    if let Err(failure) = daemon.stop() {
        faults.push(failure.message);
    }
    let report = Report::new(seconds, required(demo), &swaps, devices, faults);
    if json {
        output::json(&report)?;
    } else {
        output::print(&report.text())?;
    }
    Ok(report.exit())
}

/// Swaps without which it has failed: those that were asked for, else one for each device.
fn required(demo: &Demo) -> u64 {
    demo.swaps.unwrap_or(PLANS.len() as u64)
}

/// Makes the file; says how both devices are written on the daemon's command line.
fn devices(folder: &Path) -> Result<Vec<String>, Failure> {
    let image = folder.join("disk.img");
    File::create(&image)
        .and_then(|file| file.set_len(FILE_BYTES))
        .map_err(|e| Failure::new(format!("{}: {e}", image.display())))?;
    Ok(vec![format!("vol0=file@1.0.0:{}", image.display()), format!("ram0=ram:{RAM_BYTES}")])
}

type Result4 = (f64, Swaps, Vec<DeviceReport>, Vec<String>);

fn under_load(demo: &Demo, daemon: &Daemon) -> Result<Result4, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let counters: Vec<Arc<Counters>> = PLANS.iter().map(|_| Arc::default()).collect();
    let mut threads = Vec::new();
    for (i, plan) in PLANS.iter().enumerate() {
        let load = Load::open(&daemon.nbd, plan.device, 0x5eed + i as u64, Arc::clone(&counters[i]))
            .map_err(|e| Failure::new(format!("NBD client of {}: {e}", plan.device)))?;
        let stop = Arc::clone(&stop);
        threads.push(thread::spawn(move || load.run(&stop)));
    }
    let begin = Instant::now();
    let mut swaps = Swaps::new();
    let length = Duration::from_secs(demo.seconds);
    let wanted = demo.swaps.unwrap_or(demo.seconds * SWAPS_PER_SECOND);
    let swapped = swap_for((wanted, required(demo)), length, daemon, &mut swaps, &counters, &threads);
    stop.store(true, Ordering::Relaxed);
    let seconds = begin.elapsed().as_secs_f64();
    let requests: Vec<u64> = counters.iter().map(|c| c.requests.load(Ordering::Relaxed)).collect();
    let mut faults: Vec<String> = swapped.err().map(|f| f.message).into_iter().collect();
    let mut devices = Vec::new();
    for ((plan, thread), (counters, requests)) in PLANS.iter().zip(threads).zip(counters.iter().zip(requests))
    {
        let outcome =
            thread.join().map_err(|_| Failure::new(format!("the load on {} failed", plan.device)))?;
        faults.extend(outcome.first_error.map(|what| format!("{}: {what}", plan.device)));
        devices.push(DeviceReport {
            device: plan.device.to_owned(),
            drivers: plan.modules.join(" <-> "),
            requests,
            iops: (requests as f64 / seconds) as u64,
            verified: counters.verified.load(Ordering::Relaxed),
            errors: counters.errors.load(Ordering::Relaxed),
            latency: (&outcome.latency).into(),
        });
    }
    Ok((seconds, swaps, devices, faults))
}

/// Replaces drivers, as many as `wanted` evenly over the time there is, until the time is over and
/// `required` is reached; ends early when a load has given up.
fn swap_for(
    (wanted, required): (u64, u64),
    length: Duration,
    daemon: &Daemon,
    swaps: &mut Swaps,
    counters: &[Arc<Counters>],
    threads: &[JoinHandle<load::Outcome>],
) -> Result<(), Failure> {
    let interrupted = interrupt()?;
    let mut progress = Progress::new(length);
    let begin = Instant::now();
    let result = loop {
        let elapsed = begin.elapsed();
        if interrupted.load(Ordering::Relaxed) {
            break Err(Failure::new("interrupted"));
        }
        let enough = elapsed >= length && swaps.total() >= required;
        if enough || elapsed >= length + GRACE || threads.iter().any(JoinHandle::is_finished) {
            break Ok(());
        }
        let due = length.mul_f64((swaps.total() as f64 / wanted as f64).min(1.0));
        if elapsed >= due && swaps.total() < wanted {
            if let Err(failure) = swaps.step(&daemon.client) {
                break Err(failure);
            }
            if swaps.failed.len() >= 5 {
                break Ok(());
            }
        } else {
            thread::sleep(
                (due.max(elapsed) - elapsed).clamp(Duration::from_millis(1), Duration::from_millis(100)),
            );
        }
        progress.show(swaps, counters);
    };
    progress.finish();
    result
}

/// Becomes true at SIGINT or SIGTERM: the demonstration then ends in order and leaves nothing behind.
fn interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Failure::new)?;
    let inside = runtime.enter();
    let mut int = signal(SignalKind::interrupt()).map_err(Failure::new)?;
    let mut term = signal(SignalKind::terminate()).map_err(Failure::new)?;
    drop(inside);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
        });
        seen.store(true, Ordering::Relaxed);
    });
    Ok(flag)
}
