//! The load on one device: a fixed number of requests in flight, blocks read and written at random,
//! every byte that is read checked.

use super::nbd::{Command, Connection};
use super::pattern::{self, BLOCK};
use hdrhistogram::Histogram;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Requests in flight.
pub(crate) const DEPTH: usize = 32;

/// Counts that others may look at while the load runs.
#[derive(Default)]
pub(crate) struct Counters {
    /// Requests done.
    pub(crate) requests: AtomicU64,
    /// Blocks read and found right.
    pub(crate) verified: AtomicU64,
    /// Requests that failed, or blocks that were wrong.
    pub(crate) errors: AtomicU64,
}

/// What a load leaves.
pub(crate) struct Outcome {
    /// Request latencies, nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// The first thing that was wrong.
    pub(crate) first_error: Option<String>,
}

#[derive(Clone, Copy)]
struct Slot {
    command: Command,
    block: u32,
    generation: u32,
    begin: Instant,
    busy: bool,
}

/// One device under load.
pub(crate) struct Load {
    connection: Connection,
    counters: Arc<Counters>,
    /// Generation of each block; 0 is never written.
    generations: Vec<u32>,
    busy: Vec<bool>,
    slots: [Slot; DEPTH],
    in_flight: usize,
    random: u64,
    outcome: Outcome,
}

impl Load {
    /// Opens `export` for a load.
    pub(crate) fn open(socket: &Path, export: &str, seed: u64, counters: Arc<Counters>) -> io::Result<Load> {
        let connection = Connection::open(socket, export)?;
        let blocks = (connection.size / BLOCK as u64) as usize;
        if blocks < DEPTH * 4 || u32::try_from(blocks).is_err() {
            let message = format!("device `{export}` has {blocks} blocks, which suits no load");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let idle =
            Slot { command: Command::Flush, block: 0, generation: 0, begin: Instant::now(), busy: false };
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3)
            .map_err(|e| io::Error::other(format!("histogram: {e:?}")))?;
        Ok(Load {
            connection,
            counters,
            generations: vec![0; blocks],
            busy: vec![false; blocks],
            slots: [idle; DEPTH],
            in_flight: 0,
            random: seed | 1,
            outcome: Outcome { latency, first_error: None },
        })
    }

    /// Writes every block, works at random until `stop`, reads everything back and disconnects.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Outcome {
        if let Err(e) = self.work(stop) {
            // All that was in flight is lost with the connection.
            self.counters.errors.fetch_add(self.in_flight.max(1) as u64, Ordering::Relaxed);
            self.first_error(format!("connection lost: {e}"));
        }
        self.outcome
    }

    fn work(&mut self, stop: &AtomicBool) -> io::Result<()> {
        self.sweep(Command::Write)?;
        while !stop.load(Ordering::Relaxed) {
            while let Some(slot) = self.free_slot() {
                self.start_random(slot);
            }
            self.turn()?;
        }
        self.sweep(Command::Read)?;
        self.start(0, Command::Flush, 0);
        self.turn()?;
        self.connection.push(Command::Disconnect, 0, 0, 0, |_| {});
        self.connection.send()
    }

    /// Every block once, in order. Ends with nothing in flight.
    fn sweep(&mut self, command: Command) -> io::Result<()> {
        let mut next = 0;
        while next < self.generations.len() || self.in_flight > 0 {
            while next < self.generations.len()
                && !self.busy[next]
                && let Some(slot) = self.free_slot()
            {
                self.start(slot, command, next as u32);
                next += 1;
            }
            self.turn()?;
        }
        Ok(())
    }

    fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(|slot| !slot.busy)
    }

    /// A block that nothing else in flight touches: reads half of the time, else writes.
    fn start_random(&mut self, slot: usize) {
        let blocks = self.generations.len() as u64;
        let block = loop {
            let block = (self.next_random() % blocks) as usize;
            if !self.busy[block] {
                break block;
            }
        };
        let command = if self.next_random() & 1 == 0 { Command::Read } else { Command::Write };
        self.start(slot, command, block as u32);
    }

    fn start(&mut self, slot: usize, command: Command, block: u32) {
        let index = block as usize;
        let generation = self.generations[index] + u32::from(command == Command::Write);
        let (offset, length) = match command {
            Command::Read | Command::Write => (u64::from(block) * BLOCK as u64, BLOCK as u32),
            _ => (0, 0),
        };
        self.connection.push(command, slot as u64, offset, length, |data| {
            pattern::fill(data, block, generation);
        });
        self.busy[index] = true;
        self.slots[slot] = Slot { command, block, generation, begin: Instant::now(), busy: true };
        self.in_flight += 1;
    }

    /// Sends what was started and takes what has come back.
    fn turn(&mut self) -> io::Result<()> {
        self.connection.send()?;
        let Load { connection, counters, generations, busy, slots, in_flight, outcome, .. } = self;
        let lengths =
            slots.map(|slot| slot.busy.then_some(if slot.command == Command::Read { BLOCK } else { 0 }));
        let length = |cookie: u64| lengths.get(usize::try_from(cookie).ok()?).copied().flatten();
        let (mut done, mut verified) = (0, 0);
        let result = connection.receive(length, |reply, data| {
            let Some(slot) = slots.get_mut(reply.cookie as usize).filter(|slot| slot.busy) else {
                return fault(counters, outcome, format!("two replies to cookie {}", reply.cookie));
            };
            slot.busy = false;
            *in_flight -= 1;
            done += 1;
            busy[slot.block as usize] = false;
            outcome.latency.saturating_record(slot.begin.elapsed().as_nanos() as u64);
            if reply.error != 0 {
                let what = format!("{:?} of block {}: NBD error {}", slot.command, slot.block, reply.error);
                return fault(counters, outcome, what);
            }
            match slot.command {
                Command::Write => generations[slot.block as usize] = slot.generation,
                Command::Read => match pattern::check(data, slot.block, slot.generation) {
                    Ok(()) => verified += 1,
                    Err(what) => fault(counters, outcome, what),
                },
                _ => {}
            }
        });
        self.counters.requests.fetch_add(done, Ordering::Relaxed);
        self.counters.verified.fetch_add(verified, Ordering::Relaxed);
        result
    }

    fn first_error(&mut self, what: String) {
        self.outcome.first_error.get_or_insert(what);
    }

    /// xorshift64*: repeatable, and good enough to choose blocks. Without the product the low bits of one
    /// number would decide those of the next, and a block be only read, or only written.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

fn fault(counters: &Counters, outcome: &mut Outcome, what: String) {
    counters.errors.fetch_add(1, Ordering::Relaxed);
    outcome.first_error.get_or_insert(what);
}
