//! What the kernel says of a process.

use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

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
    /// Threads.
    pub threads: usize,
}

/// What a process has more than it had.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// Open file descriptors.
    pub files: usize,
    /// Memory mappings of files, modules and shared memory.
    pub mappings: usize,
    /// Bytes of anonymous memory.
    pub anonymous: u64,
    /// Threads. The control plane starts one when two of its tasks meet, whenever that is.
    pub threads: usize,
}

impl Footprint {
    /// The least of each of both. What is there for a moment only (a file of the history's, a page that the
    /// allocator has not given back yet) falls out when the samples are many.
    #[must_use]
    pub fn least(self, other: Footprint) -> Footprint {
        Footprint {
            anonymous: self.anonymous.min(other.anonymous),
            resident: self.resident.min(other.resident),
            files: self.files.min(other.files),
            mappings: self.mappings.min(other.mappings),
            threads: self.threads.min(other.threads),
        }
    }

    /// What is there more than `before`, zero where it is less.
    pub fn growth(self, before: Footprint) -> Growth {
        Growth {
            files: self.files.saturating_sub(before.files),
            mappings: self.mappings.saturating_sub(before.mappings),
            anonymous: self.anonymous.saturating_sub(before.anonymous),
            threads: self.threads.saturating_sub(before.threads),
        }
    }
}

/// The footprint of a process now.
pub fn footprint(pid: u32) -> Result<Footprint> {
    let status = read(pid, "status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        let number = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
        number.with_context(|| format!("/proc/{pid}/status has no {name}"))
    };
    Ok(Footprint {
        anonymous: field("RssAnon:")? * 1024,
        resident: field("VmRSS:")? * 1024,
        files: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        mappings: read(pid, "maps")?.lines().filter(|line| line.contains(" /")).count(),
        threads: field("Threads:")? as usize,
    })
}

/// The footprint of a process that nobody asks anything of: once no descriptor has come or gone for two seconds. A daemon
/// that has just started still opens what it keeps for a way back.
pub fn at_rest(pid: u32) -> Result<Footprint> {
    let (mut least, mut since) = (footprint(pid)?, Instant::now());
    for _ in 0..1500 {
        std::thread::sleep(Duration::from_millis(20));
        let now = footprint(pid)?;
        if now.files != least.files {
            (least, since) = (now, Instant::now());
        }
        least = least.least(now);
        if since.elapsed() > Duration::from_secs(2) {
            return Ok(least);
        }
    }
    bail!("process {pid} opens and closes files for half a minute");
}

/// Resident memory in bytes, what is shared with other processes counted in proportion.
pub fn proportional(pid: u32) -> Result<u64> {
    let sizes = read(pid, "smaps_rollup")?;
    let line = sizes.lines().find_map(|l| l.strip_prefix("Pss:"));
    let kib = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("/proc/{pid}/smaps_rollup has no Pss"))? * 1024)
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
