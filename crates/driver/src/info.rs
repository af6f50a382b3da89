//! What a driver says of itself, and the manifest text made of it while compiling.

use crate::{Block, Params, Pdu, State};
use steadfast_abi as abi;

/// A driver's description: the constant [`Block::INFO`].
///
/// ```
/// # use steadfast_driver::{Info, feature};
/// const INFO: Info = Info::new("null", "1.0.0")
///     .about("Completes every request at once")
///     .features(feature::FLUSH | feature::FUA);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Info {
    name: &'static str,
    version: &'static str,
    about: &'static str,
    hwids: &'static [&'static str],
    features: u64,
    ops: u32,
    port_ops: u32,
    adopts: &'static [&'static str],
    min_from: &'static str,
    contents: &'static str,
    queue_spare: u64,
}

impl Info {
    /// A driver by name; `version` is best `env!("CARGO_PKG_VERSION")`.
    pub const fn new(name: &'static str, version: &'static str) -> Info {
        Info {
            name,
            version,
            about: "",
            hwids: &[],
            features: 0,
            ops: 1,
            port_ops: 0,
            adopts: &[],
            min_from: "",
            contents: "",
            queue_spare: 0,
        }
    }

    /// One line for people.
    pub const fn about(mut self, line: &'static str) -> Info {
        self.about = line;
        self
    }

    /// Hardware that the driver serves, `bus:id` with `*` as wildcard, `@MIN-MAX` revisions behind.
    pub const fn hwids(mut self, ids: &'static [&'static str]) -> Info {
        self.hwids = ids;
        self
    }

    /// Bits of [`feature`](crate::feature) that the driver can offer.
    pub const fn features(mut self, bits: u64) -> Info {
        self.features = bits;
        self
    }

    /// Most operations in flight for one request, at most 16; 1 when not said. A driver that answers
    /// every request at once says 0: it leaves nothing in flight, and so any release can follow it
    /// without draining.
    pub const fn ops(mut self, count: u32) -> Info {
        assert!(count <= 16, "at most 16 operations per request");
        self.ops = count;
        self
    }

    /// Most operations in flight, per queue, that belong to no request; 0 when not said.
    pub const fn port_ops(mut self, count: u32) -> Info {
        assert!(count <= 1024, "at most 1024 operations of a port");
        self.port_ops = count;
        self
    }

    /// PDU schemas of other releases whose requests [`Block::adopt`] takes over in flight.
    pub const fn adopts(mut self, schemas: &'static [&'static str]) -> Info {
        self.adopts = schemas;
        self
    }

    /// Memory beside the queue's value that the driver wants for each queue, bytes, and can do without:
    /// [`Io::spare`](crate::Io::spare).
    pub const fn queue_spare(mut self, bytes: usize) -> Info {
        self.queue_spare = bytes as u64;
        self
    }

    /// Oldest release of the same driver that can be updated to this one.
    pub const fn min_from(mut self, version: &'static str) -> Info {
        self.min_from = version;
        self
    }

    /// The device keeps nothing: what is read is not what was written (the key `x-contents` of the
    /// manifest). Tests then compare no data.
    pub const fn keeps_nothing(mut self) -> Info {
        self.contents = "none";
        self
    }
}

/// Text of a fixed size, built while compiling; with `N` 0 it only counts.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    const fn push(&mut self, s: &str) {
        let s = s.as_bytes();
        let mut i = 0;
        while i < s.len() {
            if N > 0 {
                self.bytes[self.len] = s[i];
            }
            self.len += 1;
            i += 1;
        }
    }

    const fn number(&mut self, n: u64) {
        if n >= 10 {
            self.number(n / 10);
        }
        let digits = "0123456789";
        let (_, rest) = digits.split_at((n % 10) as usize);
        let (digit, _) = rest.split_at(1);
        self.push(digit);
    }

    const fn entry(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.push(key);
            self.push("=");
            self.push(value);
            self.push("\0");
        }
    }

    const fn entries(&mut self, key: &str, values: &[&str]) {
        let mut i = 0;
        while i < values.len() {
            self.entry(key, values[i]);
            i += 1;
        }
    }

    const fn numbers(&mut self, key: &str, first: u64, second: Option<u64>) {
        self.push(key);
        self.push("=");
        self.number(first);
        if let Some(second) = second {
            self.push(":");
            self.number(second);
        }
        self.push("\0");
    }
}

const fn compose<D: Block, const N: usize>() -> Text<N> {
    let mut t = Text { bytes: [0; N], len: 0 };
    let info = D::INFO;
    t.entry(abi::manifest::VERSION, abi::manifest::FORMAT);
    t.entry("name", info.name);
    t.entry("version", info.version);
    t.entry("class", "block");
    t.push("abi=");
    t.number(abi::ABI_MAJOR as u64);
    t.push(".");
    t.number(abi::ABI_MINOR as u64);
    t.push("\0");
    t.entry("about", info.about);
    t.entries("hwid", info.hwids);
    t.entries("state.write", D::State::WRITES);
    t.entries("state.read", D::State::READS);
    if !D::State::WRITES.is_empty() {
        t.entry("x-state", "cbor");
    }
    if !<D::Pdu as Pdu>::SCHEMA.is_empty() {
        t.push("pdu=");
        t.push(<D::Pdu as Pdu>::SCHEMA);
        t.push(":");
        t.number(size_of::<D::Pdu>() as u64);
        t.push("\0");
    }
    t.entries("pdu.adopt", info.adopts);
    let port = size_of::<crate::entry::PortCell<D>>() as u64;
    t.numbers("memory.port", port, Some(port));
    let queue = size_of::<D::Queue>() as u64;
    let wanted = match info.queue_spare {
        0 => queue,
        spare => crate::io::spare_offset::<D>() as u64 + spare,
    };
    t.numbers("memory.queue", queue, Some(wanted));
    t.numbers("ops", info.ops as u64, None);
    t.numbers("port-ops", info.port_ops as u64, None);
    let mut bit = 0;
    while bit < abi::block_feature::NAMES.len() {
        if info.features & (1 << bit) != 0 {
            t.entry("feature", abi::block_feature::NAMES[bit]);
        }
        bit += 1;
    }
    t.entry("min_from", info.min_from);
    t.entry("x-contents", info.contents);
    let params = <D::Params as Params>::MANIFEST;
    let mut i = 0;
    while i < params.len() {
        t.push(params[i]);
        i += 1;
    }
    t
}

/// Bytes of the manifest of `D`.
#[doc(hidden)]
pub const fn manifest_len<D: Block>() -> usize {
    let len = compose::<D, 0>().len;
    assert!(len <= abi::manifest::MAX_BYTES, "the manifest is too long");
    len
}

/// The manifest of `D`; `N` is its [`manifest_len`].
#[doc(hidden)]
pub const fn manifest<D: Block, const N: usize>() -> [u8; N] {
    compose::<D, N>().bytes
}
