//! What the kernel says of a process.

use anyhow::{Context, Result};
use std::time::Duration;

/// Sizes of a process.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Resident memory that no file backs, bytes.
    pub anonymous: u64,
    /// Resident memory in all, bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub files: usize,
    /// Memory mappings of files, modules and shared memory. Those of stacks and of heaps come and go with
    /// the threads of the control plane.
    pub mappings: usize,
}

/// The footprint of a process now.
pub fn footprint(pid: u32) -> Result<Footprint> {
    let status = read(pid, "status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        let kib = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
        kib.map(|k| k * 1024).with_context(|| format!("/proc/{pid}/status has no {name}"))
    };
    Ok(Footprint {
        anonymous: field("RssAnon:")?,
        resident: field("VmRSS:")?,
        files: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        mappings: read(pid, "maps")?.lines().filter(|line| line.contains(" /")).count(),
    })
}

/// Processor time, user and system, that a process has used, all its threads together.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = read(pid, "stat")?;
    // The second field is the name in parentheses and may hold blanks; utime and stime are the
    // 14th and 15th of all.
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|f| f.parse::<u64>().unwrap_or(0)).sum();
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    Ok(Duration::from_nanos(ticks * 1_000_000_000 / per_second))
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: kill takes two integers and touches no memory.
    unsafe { libc::kill(pid as i32, signal) };
}
