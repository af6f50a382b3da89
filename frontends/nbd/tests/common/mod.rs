//! What the tests of the protocol share.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use steadfast_abi::block_feature as feature;
use steadfast_nbd::export::{Agreed, Export, Exports, NotOpened};
use steadfast_nbd::handshake::{Handshake, Step};
use steadfast_nbd::wire::{Headers, IHAVEOPT, OPTION_REPLY_MAGIC, REQUEST_MAGIC};

/// Everything a device can offer.
pub const ALL: u64 = feature::FLUSH
    | feature::FUA
    | feature::TRIM
    | feature::WRITE_ZEROES
    | feature::FAST_ZERO
    | feature::CACHE
    | feature::STATUS
    | feature::MULTI_CONN;

pub fn export(name: &str, features: u64) -> Export {
    Export {
        name: name.into(),
        description: format!("about {name}"),
        size: 1 << 30,
        block_size: 512,
        preferred_block_size: 4096,
        features,
    }
}

/// Exports that [`Shelf`] says at once.
pub const LISTED: usize = 64;

/// Exports that need no engine.
#[derive(Default)]
pub struct Shelf {
    pub exports: Vec<Export>,
    pub opened: Vec<String>,
    pub stopping: bool,
    pub full: bool,
}

impl Exports for Shelf {
    fn list(&mut self, after: &str) -> (Vec<Export>, Option<String>) {
        let behind = self.exports.iter().filter(|export| export.name.as_str() > after);
        let some: Vec<Export> = behind.take(LISTED).cloned().collect();
        let more = some.last().filter(|_| some.len() == LISTED).map(|last| last.name.clone());
        (some, more)
    }
    fn find(&mut self, name: &str) -> Option<Export> {
        self.exports.iter().find(|e| name.is_empty() || e.name == name).cloned()
    }
    fn open(&mut self, name: &str) -> Result<Export, NotOpened> {
        if self.full {
            return Err(NotOpened::Full("no room".into()));
        }
        let found = self.find(name).ok_or(NotOpened::Unknown)?;
        self.opened.push(found.name.clone());
        Ok(found)
    }
    fn stopping(&self) -> bool {
        self.stopping
    }
}

pub fn shelf() -> Shelf {
    Shelf { exports: vec![export("vol0", ALL), export("vol1", 0)], ..Shelf::default() }
}

/// One option as a client sends it.
pub fn option(code: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = IHAVEOPT.to_be_bytes().to_vec();
    bytes.extend(code.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// Data of `INFO` and `GO`.
pub fn info(name: &str, asked: &[u16]) -> Vec<u8> {
    let mut bytes = string(name);
    bytes.extend((asked.len() as u16).to_be_bytes());
    bytes.extend(asked.iter().flat_map(|kind| kind.to_be_bytes()));
    bytes
}

/// Data of the two metadata options.
pub fn queries(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut bytes = string(name);
    bytes.extend((queries.len() as u32).to_be_bytes());
    bytes.extend(queries.iter().flat_map(|query| string(query)));
    bytes
}

/// A client's side of a handshake.
pub struct Client {
    pub handshake: Handshake,
    pub shelf: Shelf,
    pub out: Vec<u8>,
}

impl Client {
    /// A client that has sent its flags: fixed newstyle, no zeroes.
    pub fn new(shelf: Shelf) -> Client {
        let mut client = Client { handshake: Handshake::default(), shelf, out: Vec::new() };
        assert_eq!(client.send(&3_u32.to_be_bytes()), Step::Next);
        client
    }

    /// Sends one whole message.
    pub fn send(&mut self, bytes: &[u8]) -> Step {
        let (taken, mut step) = self.handshake.feed(bytes, &mut self.shelf, &mut self.out);
        assert_eq!(taken, bytes.len(), "a whole message is consumed");
        while step == Step::Again {
            step = self.handshake.feed(&[], &mut self.shelf, &mut self.out).1;
        }
        step
    }

    /// Sends one option; returns what came of it and the replies, as type and data.
    pub fn option(&mut self, code: u32, data: &[u8]) -> (Step, Vec<(u32, Vec<u8>)>) {
        let step = self.send(&option(code, data));
        let replies = replies(&std::mem::take(&mut self.out), code);
        (step, replies)
    }

    /// Sends one option that is answered by one reply without further ado.
    pub fn simple(&mut self, code: u32, data: &[u8]) -> u32 {
        let (step, replies) = self.option(code, data);
        assert_eq!(step, Step::Next);
        assert_eq!(replies.len(), 1, "{replies:x?}");
        replies[0].0
    }
}

/// Splits a server's replies to option `code`.
pub fn replies(mut bytes: &[u8], code: u32) -> Vec<(u32, Vec<u8>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes[..8], OPTION_REPLY_MAGIC.to_be_bytes());
        assert_eq!(bytes[8..12], code.to_be_bytes());
        let kind = u32::from_be_bytes(bytes[12..16].try_into().expect("four bytes"));
        let length = u32::from_be_bytes(bytes[16..20].try_into().expect("four bytes")) as usize;
        all.push((kind, bytes[20..20 + length].to_vec()));
        bytes = &bytes[20 + length..];
    }
    all
}

pub fn agreed(headers: Headers, features: u64) -> Agreed {
    Agreed { headers, export: export("vol0", features), status: true }
}

/// A compact request's header.
pub fn compact(kind: u16, flags: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}
