//! A verifying load: many requests at a time, each on a stripe of its own, compared with a model.

use crate::client::{Ask, Client, Reply, errno, op_name, wait};
use crate::model::Model;
use crate::rng::Rng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use steadfast_abi::{block_feature, block_flag, block_op};

/// Bytes of a stripe, where the device has room for it.
const STRIPE: u64 = 128 << 10;
/// Largest request of the load.
const MAX_REQUEST: u64 = 32 << 10;

/// What a load has to say at its end.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    /// The first few things that went wrong.
    pub(crate) wrong: Vec<String>,
}

impl Report {
    pub(crate) fn verdict(&self) -> Result<(), String> {
        match self.wrong.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} of {} requests: {first}", self.wrong.len(), self.requests)),
        }
    }
}

struct Stripe {
    model: Model,
    asked: Option<Ask>,
}

/// A load on one client: `depth` stripes from `start` on.
pub(crate) struct Load<'a> {
    client: &'a Client,
    stripes: Vec<Stripe>,
    rng: Rng,
    compare: bool,
    block: u64,
    tx: Sender<Reply>,
    rx: Receiver<Reply>,
    report: Report,
}

impl<'a> Load<'a> {
    /// A load on the bytes from `start` to `end` of the device.
    pub(crate) fn new(
        client: &'a Client,
        (start, end): (u64, u64),
        depth: u64,
        rng: Rng,
        compare: bool,
    ) -> Load<'a> {
        let (room, info) = (end - start, client.info());
        // A small device has few blocks of the size that performs best.
        let best = u64::from(info.preferred_block_size);
        let block = if room / best >= depth { best } else { u64::from(info.block_size) };
        let depth = depth.min(room / block).max(1);
        let stripe = STRIPE.min(room / depth) / block * block;
        let stripe_at = |i| Stripe { model: Model::new(start + i * stripe, stripe as usize), asked: None };
        let stripes = if stripe == 0 { Vec::new() } else { (0..depth).map(stripe_at).collect() };
        let (tx, rx) = channel();
        Load { client, stripes, rng, compare, block, tx, rx, report: Report::default() }
    }

    /// Runs until `stop` says so and at least `least` requests are done, then reads everything back.
    pub(crate) fn run(mut self, stop: &AtomicBool, least: u64) -> Report {
        if self.stripes.is_empty() {
            self.report.wrong.push("the device is too small for a load".into());
            return self.report;
        }
        for i in 0..self.stripes.len() {
            self.next(i);
        }
        let mut busy = self.stripes.len();
        while busy > 0 {
            let reply = match wait(&self.rx) {
                Ok(reply) => reply,
                Err(e) => {
                    let stuck = self.stripes.iter().filter_map(|s| s.asked.as_ref()).map(describe).next();
                    self.report.wrong.push(format!("{}: {e}", stuck.unwrap_or_default()));
                    return self.report;
                }
            };
            let i = reply.id as usize;
            self.done(i, &reply);
            if stop.load(Ordering::Acquire) && self.report.requests >= least {
                busy -= 1;
            } else {
                self.next(i);
            }
        }
        self.read_back();
        if self.client.strays() > 0 {
            self.report.wrong.push(format!("{} requests were answered twice", self.client.strays()));
        }
        self.report
    }

    fn next(&mut self, i: usize) {
        let ask = self.choose(i);
        self.stripes[i].asked = Some(ask.clone());
        self.client.send(ask, i as u64, &self.tx);
    }

    fn choose(&mut self, i: usize) -> Ask {
        let (start, len) = (self.stripes[i].model.start(), self.stripes[i].model.len());
        let blocks = len / self.block;
        let most = (MAX_REQUEST / self.block).clamp(1, blocks);
        let count = 1 + self.rng.below(most);
        let offset = start + self.rng.below(blocks - count + 1) * self.block;
        let length = count * self.block;
        let has = |feature| self.client.has(feature);
        let writable = self.client.writable();
        match self.rng.below(20) {
            0 if has(block_feature::FLUSH) => Ask::new(block_op::FLUSH, 0, 0),
            1 if writable && has(block_feature::WRITE_ZEROES) => {
                Ask::new(block_op::WRITE_ZEROES, offset, length)
            }
            2 if writable && has(block_feature::TRIM) => Ask::new(block_op::TRIM, offset, length),
            3..11 if writable => {
                let fua = has(block_feature::FUA) && self.rng.percent(10);
                let flags = if fua { block_flag::FUA } else { 0 };
                Ask::write(offset, self.rng.bytes(length as usize)).flags(flags)
            }
            _ => Ask::read(offset, length),
        }
    }

    fn done(&mut self, i: usize, reply: &Reply) {
        self.report.requests += 1;
        let Some(ask) = self.stripes[i].asked.take() else {
            self.wrong(format!("stripe {i} was answered twice"));
            return;
        };
        if reply.result < 0 {
            self.wrong(format!("{}: {}", describe(&ask), errno(reply.result)));
            if ask.op != block_op::READ && ask.op != block_op::FLUSH {
                self.stripes[i].model.forget(ask.offset, ask.length);
            }
            return;
        }
        let model = &mut self.stripes[i].model;
        match ask.op {
            block_op::WRITE => model.write(ask.offset, &ask.data),
            block_op::WRITE_ZEROES => model.zero(ask.offset, ask.length),
            block_op::TRIM => model.forget(ask.offset, ask.length),
            block_op::READ if self.compare => {
                if let Err(e) = model.check(ask.offset, &reply.data) {
                    self.wrong(e);
                }
            }
            _ => {}
        }
    }

    fn read_back(&mut self) {
        let max = transfer(self.client);
        for i in 0..self.stripes.len() {
            let (start, len) = (self.stripes[i].model.start(), self.stripes[i].model.len());
            let mut at = start;
            while at < start + len {
                let length = max.min(start + len - at) / self.block * self.block;
                match self.client.must(Ask::read(at, length)) {
                    Err(e) => self.wrong(e),
                    Ok(reply) if self.compare => {
                        if let Err(e) = self.stripes[i].model.check(at, &reply.data) {
                            self.wrong(e);
                        }
                    }
                    Ok(_) => {}
                }
                at += length;
            }
        }
    }

    fn wrong(&mut self, what: String) {
        if self.report.wrong.len() < 100 {
            self.report.wrong.push(what);
        }
    }
}

fn describe(ask: &Ask) -> String {
    format!("{} of {} bytes at {}", op_name(ask.op), ask.length, ask.offset)
}

/// Largest request that the device takes, in blocks, and of a size that is worth testing.
pub(crate) fn transfer(client: &Client) -> u64 {
    let info = client.info();
    let limit = if info.max_transfer == 0 { 128 << 10 } else { u64::from(info.max_transfer).min(128 << 10) };
    limit / u64::from(info.block_size) * u64::from(info.block_size)
}
