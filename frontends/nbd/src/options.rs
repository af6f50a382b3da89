//! Data of options, and the replies to them.

use crate::export::{Agreed, Export, Exports};
use crate::wire::{
    BASE_ALLOCATION, BASE_ALLOCATION_ID, MAX_STRING, OPTION_REPLY_MAGIC, info as info_kind, option_reply,
    take,
};
use steadfast_abi::block_feature;

/// An option that is not granted: the reply's type, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u32,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(code: u32, text: &str) -> Refusal {
        Refusal { code, text: text.to_owned() }
    }

    fn invalid(text: &str) -> Refusal {
        Refusal::new(option_reply::ERR_INVALID, text)
    }
}

/// Writes the replies to one option.
pub(crate) struct Reply<'a> {
    option: u32,
    out: &'a mut Vec<u8>,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(option: u32, out: &'a mut Vec<u8>) -> Reply<'a> {
        Reply { option, out }
    }

    fn send(&mut self, kind: u32, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|p| p.len()).sum();
        self.out.extend_from_slice(&OPTION_REPLY_MAGIC.to_be_bytes());
        self.out.extend_from_slice(&self.option.to_be_bytes());
        self.out.extend_from_slice(&kind.to_be_bytes());
        // Parts are names and texts of at most MAX_STRING bytes each.
        self.out.extend_from_slice(&(length as u32).to_be_bytes());
        for part in parts {
            self.out.extend_from_slice(part);
        }
    }

    pub(crate) fn ack(&mut self) {
        self.send(option_reply::ACK, &[]);
    }

    pub(crate) fn error(&mut self, code: u32, text: &str) {
        self.send(code, &[clip(text)]);
    }
}

/// The longest front of `text` that is a legal string.
fn clip(text: &str) -> &[u8] {
    let mut end = text.len().min(MAX_STRING);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text.as_bytes()[..end]
}

pub(crate) fn no_data(data: &[u8]) -> Result<(), Refusal> {
    if data.is_empty() { Ok(()) } else { Err(Refusal::invalid("this option takes no data")) }
}

/// An export name by itself.
pub(crate) fn name(bytes: &[u8]) -> Result<&str, Refusal> {
    if bytes.len() > MAX_STRING {
        return Err(Refusal::new(option_reply::ERR_TOO_BIG, "a name longer than 4096 bytes"));
    }
    std::str::from_utf8(bytes).map_err(|_| Refusal::invalid("a name that is not UTF-8"))
}

/// Reads the front of an option's data.
struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let value = take::<N>(self.left, 0).ok_or_else(|| Refusal::invalid("data too short"))?;
        self.left = &self.left[N..];
        Ok(value)
    }

    fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_be_bytes)
    }

    /// A length of 32 bits, and a string of that length.
    fn string(&mut self) -> Result<&'a str, Refusal> {
        let length = self.u32()? as usize;
        if length > self.left.len() {
            return Err(Refusal::invalid("a string longer than the data"));
        }
        let (bytes, left) = self.left.split_at(length);
        self.left = left;
        name(bytes)
    }

    fn end(&self) -> Result<(), Refusal> {
        if self.left.is_empty() { Ok(()) } else { Err(Refusal::invalid("data too long")) }
    }
}

/// Says some of the exports, from behind `after` on; returns from where to go on.
pub(crate) fn list(exports: &mut dyn Exports, after: &str, reply: &mut Reply<'_>) -> Option<String> {
    let (some, more) = exports.list(after);
    for export in some {
        let name = clip(&export.name);
        let length = (name.len() as u32).to_be_bytes();
        reply.send(option_reply::SERVER, &[&length, name, clip(&export.description)]);
    }
    more
}

/// Data of `INFO` and `GO`.
pub(crate) struct Info<'a> {
    pub(crate) name: &'a str,
    asked: &'a [u8],
}

impl<'a> Info<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Info<'a>, Refusal> {
        let mut reader = Reader { left: data };
        let name = reader.string()?;
        let count = u16::from_be_bytes(reader.array()?);
        if reader.left.len() != usize::from(count) * 2 {
            return Err(Refusal::invalid("the list of information requests does not have its length"));
        }
        Ok(Info { name, asked: reader.left })
    }

    /// Does the client say that it keeps to the block sizes?
    pub(crate) fn knows_blocks(&self) -> bool {
        self.wants(info_kind::BLOCK_SIZE)
    }

    fn wants(&self, kind: u16) -> bool {
        self.asked.chunks_exact(2).any(|pair| pair == kind.to_be_bytes())
    }
}

pub(crate) fn info(agreed: &Agreed, asked: &Info<'_>, reply: &mut Reply<'_>) {
    let export = &agreed.export;
    let flags = export.transmission_flags(agreed.headers, agreed.status);
    let kind = info_kind::EXPORT.to_be_bytes();
    reply.send(option_reply::INFO, &[&kind, &export.size.to_be_bytes(), &flags.to_be_bytes()]);
    if asked.wants(info_kind::NAME) {
        reply.send(option_reply::INFO, &[&info_kind::NAME.to_be_bytes(), clip(&export.name)]);
    }
    if asked.wants(info_kind::DESCRIPTION) && !export.description.is_empty() {
        let kind = info_kind::DESCRIPTION.to_be_bytes();
        reply.send(option_reply::INFO, &[&kind, clip(&export.description)]);
    }
    // Sent unasked too: a client that does not know it passes it over.
    block_sizes(export, reply);
}

/// Smallest, preferred and largest request of an export.
pub(crate) fn block_sizes(export: &Export, reply: &mut Reply<'_>) {
    let [smallest, preferred, largest] = export.block_sizes().map(u32::to_be_bytes);
    let kind = info_kind::BLOCK_SIZE.to_be_bytes();
    reply.send(option_reply::INFO, &[&kind, &smallest, &preferred, &largest]);
}

/// `LIST_META_CONTEXT` and `SET_META_CONTEXT`: replies with the contexts that match, and returns the
/// export whose context a `set` selected.
pub(crate) fn contexts(
    set: bool,
    data: &[u8],
    exports: &mut dyn Exports,
    reply: &mut Reply<'_>,
) -> Result<Option<String>, Refusal> {
    let mut reader = Reader { left: data };
    let name = reader.string()?;
    let count = reader.u32()?;
    // Without a query a list has everything, a set nothing.
    let mut matched = count == 0 && !set;
    for _ in 0..count {
        let query = reader.string()?;
        matched |= query == BASE_ALLOCATION || (!set && query == "base:");
    }
    reader.end()?;
    let Some(export) = exports.find(name) else {
        let text = format!("no export named {name:?}");
        return Err(Refusal::new(option_reply::ERR_UNKNOWN, &text));
    };
    if !matched || !export.has(block_feature::STATUS) {
        return Ok(None);
    }
    let id = if set { BASE_ALLOCATION_ID } else { 0 };
    reply.send(option_reply::META_CONTEXT, &[&id.to_be_bytes(), BASE_ALLOCATION.as_bytes()]);
    Ok(Some(export.name))
}
