//! A load of fixed depth on one connection that notes when each request began and ended, so that a
//! stall can be seen as the client sees it.

use crate::nbd::{Client, command, magic, request, u32_at, u64_at};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

/// One request: nanoseconds since the load's start.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When it was sent.
    pub begin: u64,
    /// When its reply was read.
    pub end: u64,
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    /// What the spans count from.
    pub origin: Instant,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Span>>>>,
}

/// What to do: random requests of `size` bytes, `depth` at a time.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes per request.
    pub size: u32,
    /// Requests in flight.
    pub depth: usize,
    /// Write instead of read.
    pub write: bool,
}

impl Load {
    /// Connects and begins.
    pub fn start(socket: &Path, export: &str, shape: Shape) -> Result<Load> {
        let client = Client::connect(socket, export)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stop2, origin) = (stop.clone(), Instant::now());
        let thread = std::thread::spawn(move || Runner::new(client, shape, origin)?.run(&stop2));
        Ok(Load { origin, stop, thread: Some(thread) })
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Ends it; returns every request, in the order of their ends. Fails if any request failed.
    pub fn finish(mut self) -> Result<Vec<Span>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the load has ended already")?;
        match thread.join() {
            Ok(spans) => spans,
            Err(_) => bail!("the load panicked"),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Runner {
    client: Client,
    shape: Shape,
    origin: Instant,
    /// When the request with this cookie was sent.
    begun: Vec<u64>,
    random: u64,
    outgoing: Vec<u8>,
    in_flight: usize,
}

impl Runner {
    fn new(client: Client, shape: Shape, origin: Instant) -> Result<Runner> {
        if client.size < u64::from(shape.size) {
            bail!("the export has {} bytes, too few for requests of {}", client.size, shape.size);
        }
        let begun = vec![0; shape.depth];
        Ok(Runner { client, shape, origin, begun, random: 0x9e37_79b9, outgoing: Vec::new(), in_flight: 0 })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        for cookie in 0..self.shape.depth {
            self.queue(cookie);
        }
        let mut incoming = vec![0; 1 << 20];
        let (mut from, mut to) = (0, 0);
        let body = if self.shape.write { 0 } else { self.shape.size as usize };
        while self.in_flight > 0 {
            self.client.stream().write_all(&self.outgoing)?;
            self.outgoing.clear();
            incoming.copy_within(from..to, 0);
            (from, to) = (0, to - from);
            let read = self.client.stream().read(&mut incoming[to..])?;
            if read == 0 {
                bail!("the server closed the connection");
            }
            to += read;
            let now = self.origin.elapsed().as_nanos() as u64;
            while to - from >= 16 + body {
                let cookie = self.check(&incoming[from..from + 16])?;
                from += 16 + body;
                self.in_flight -= 1;
                spans.push(Span { begin: self.begun[cookie], end: now });
                if !stop.load(Ordering::Relaxed) {
                    self.queue(cookie);
                }
            }
        }
        Ok(spans)
    }

    fn check(&self, head: &[u8]) -> Result<usize> {
        let (reply, error, cookie) = (u32_at(head, 0), u32_at(head, 4), u64_at(head, 8) as usize);
        if reply != magic::REPLY || cookie >= self.shape.depth {
            bail!("not a reply to anything: {head:02x?}");
        }
        if error != 0 {
            bail!("a request failed with NBD error {error}");
        }
        Ok(cookie)
    }

    fn queue(&mut self, cookie: usize) {
        // xorshift: any order will do, so long as it is the same in every run.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let size = u64::from(self.shape.size);
        let offset = self.random % (self.client.size / size) * size;
        let kind = if self.shape.write { command::WRITE } else { command::READ };
        self.outgoing.extend(request(kind, 0, cookie as u64, offset, self.shape.size));
        if self.shape.write {
            self.outgoing.resize(self.outgoing.len() + self.shape.size as usize, cookie as u8);
        }
        self.begun[cookie] = self.origin.elapsed().as_nanos() as u64;
        self.in_flight += 1;
    }
}
