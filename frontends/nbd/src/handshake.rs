//! The handshake: fixed newstyle, as a state machine without input or output.
//!
//! Bytes go in, replies and a verdict come out. Nothing here trusts a length: whatever a client
//! sends, it gets a reply that the protocol has for it, or is [closed](Step::Close) with the reason.

use crate::export::{Agreed, Export, Exports, NotOpened};
use crate::options::{self, Refusal, Reply};
use crate::wire::{
    GREETING_BYTES, Headers, IHAVEOPT, NBDMAGIC, OPTION_BYTES, handshake_flag, option, option_reply, take,
};
use std::fmt;

/// Longest data of an option that is looked at. A longer one is passed over and refused.
pub const MAX_OPTION_DATA: usize = 16 * 1024;
/// Longest data of an option that is passed over. A longer one ends the connection.
pub const MAX_SKIPPED_DATA: usize = 1 << 20;

/// What came of the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next message isn't whole yet.
    More,
    /// A message was dealt with; there may be another.
    Next,
    /// The reply to the last message goes on: to be fed again, with no more input than there is, when it has left.
    Again,
    /// The client begins with requests, once the replies are sent.
    Agreed(Agreed),
    /// The connection is to be closed, once the replies are sent.
    Close(Closing),
}

/// Why a handshake ended without an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The client said goodbye.
    Abort,
    /// Client flags that nobody offered it.
    ClientFlags(u32),
    /// An option that does not begin with its magic number.
    OptionMagic(u64),
    /// Data longer than any option can need.
    OptionLength {
        /// The option.
        option: u32,
        /// Bytes that the client announced.
        length: u32,
    },
    /// `EXPORT_NAME` for something that is not there; the protocol has no other answer.
    NoSuchExport(String),
    /// `EXPORT_NAME` for something that takes no more clients; the text says why.
    Full(String),
    /// `EXPORT_NAME`, which can't ask for block sizes, for something that has blocks of this size.
    BlockSize(String, u32),
    /// `EXPORT_NAME` with a name that is no text, or is too long.
    BadName,
    /// `EXPORT_NAME` behind `EXTENDED_HEADERS`, which the protocol forbids.
    ExportNameAfterExtended,
}

impl Closing {
    /// Did the client end it as the protocol wants?
    pub fn polite(&self) -> bool {
        matches!(self, Closing::Abort)
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closing::Abort => write!(f, "the client ended the handshake"),
            Closing::ClientFlags(flags) => write!(f, "unknown client flags {flags:#x} (known: 0x3)"),
            Closing::OptionMagic(magic) => {
                write!(f, "an option begins with {magic:#018x} instead of {IHAVEOPT:#018x}")
            }
            Closing::OptionLength { option, length } => {
                write!(f, "option {option} with {length} bytes of data (allowed: {MAX_SKIPPED_DATA})")
            }
            Closing::NoSuchExport(name) => write!(f, "no export named {name:?}"),
            Closing::Full(why) => f.write_str(why),
            Closing::BlockSize(name, size) => {
                write!(f, "export {name:?} has blocks of {size} bytes, which EXPORT_NAME cannot say")
            }
            Closing::BadName => write!(f, "an export name that is not UTF-8, or longer than 4096 bytes"),
            Closing::ExportNameAfterExtended => {
                write!(f, "option EXPORT_NAME after extended headers were agreed on")
            }
        }
    }
}

#[derive(Debug)]
enum Phase {
    ClientFlags,
    Options,
    /// Data of an option that is too long, passed over before it is refused.
    Skip {
        option: u32,
        left: usize,
    },
    /// The exports are being listed; the next ones are those behind this name.
    List(String),
    Over,
}

/// One client's handshake.
#[derive(Debug)]
pub struct Handshake {
    phase: Phase,
    no_zeroes: bool,
    headers: Headers,
    /// Canonical name of the export whose context the client selected.
    status_for: Option<String>,
    /// Canonical name of the export whose block sizes the client asked for.
    blocks_for: Option<String>,
}

impl Default for Handshake {
    fn default() -> Self {
        Handshake {
            phase: Phase::ClientFlags,
            no_zeroes: false,
            headers: Headers::Simple,
            status_for: None,
            blocks_for: None,
        }
    }
}

impl Handshake {
    /// What a server says first.
    pub fn greeting() -> [u8; GREETING_BYTES] {
        let mut bytes = [0; GREETING_BYTES];
        bytes[..8].copy_from_slice(&NBDMAGIC.to_be_bytes());
        bytes[8..16].copy_from_slice(&IHAVEOPT.to_be_bytes());
        let flags = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        bytes[16..].copy_from_slice(&flags.to_be_bytes());
        bytes
    }

    /// Takes at most one message from the front of `input`, appends the replies to `out`, and
    /// returns how many bytes it took.
    pub fn feed(&mut self, input: &[u8], exports: &mut dyn Exports, out: &mut Vec<u8>) -> (usize, Step) {
        match &mut self.phase {
            Phase::ClientFlags => self.client_flags(input),
            Phase::Options => self.option(input, exports, out),
            Phase::Skip { option, left } => {
                let (option, left) = (*option, *left);
                self.skip(option, left, input, out)
            }
            Phase::List(after) => {
                let after = std::mem::take(after);
                let mut reply = Reply::new(option::LIST, out);
                if exports.stopping() {
                    self.phase = Phase::Options;
                    reply.error(option_reply::ERR_SHUTDOWN, "the server is shutting down");
                    return (0, Step::Next);
                }
                (0, self.list(&after, exports, &mut reply))
            }
            Phase::Over => (0, Step::More),
        }
    }

    fn client_flags(&mut self, input: &[u8]) -> (usize, Step) {
        let Some(flags) = take::<4>(input, 0).map(u32::from_be_bytes) else {
            return (0, Step::More);
        };
        let known = u32::from(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        if flags & !known != 0 {
            return self.close(4, Closing::ClientFlags(flags));
        }
        self.no_zeroes = flags & u32::from(handshake_flag::NO_ZEROES) != 0;
        self.phase = Phase::Options;
        (4, Step::Next)
    }

    fn option(&mut self, input: &[u8], exports: &mut dyn Exports, out: &mut Vec<u8>) -> (usize, Step) {
        let Some(magic) = take::<8>(input, 0).map(u64::from_be_bytes) else {
            return (0, Step::More);
        };
        if magic != IHAVEOPT {
            return self.close(8, Closing::OptionMagic(magic));
        }
        let (Some(code), Some(length)) = (take::<4>(input, 8), take::<4>(input, 12)) else {
            return (0, Step::More);
        };
        let (code, length) = (u32::from_be_bytes(code), u32::from_be_bytes(length));
        let bytes = length as usize;
        if bytes > MAX_SKIPPED_DATA {
            return self.close(OPTION_BYTES, Closing::OptionLength { option: code, length });
        }
        if bytes > MAX_OPTION_DATA {
            if code == option::EXPORT_NAME {
                return self.close(OPTION_BYTES, Closing::BadName);
            }
            self.phase = Phase::Skip { option: code, left: bytes };
            return (OPTION_BYTES, Step::Next);
        }
        let Some(data) = input.get(OPTION_BYTES..OPTION_BYTES + bytes) else {
            return (0, Step::More);
        };
        let step = self.answer(code, data, exports, out);
        if matches!(step, Step::Agreed(_) | Step::Close(_)) {
            self.phase = Phase::Over;
        }
        (OPTION_BYTES + bytes, step)
    }

    fn skip(&mut self, option: u32, left: usize, input: &[u8], out: &mut Vec<u8>) -> (usize, Step) {
        let taken = left.min(input.len());
        if taken < left {
            self.phase = Phase::Skip { option, left: left - taken };
            return (taken, Step::More);
        }
        self.phase = Phase::Options;
        let text = format!("data longer than {MAX_OPTION_DATA} bytes");
        Reply::new(option, out).error(option_reply::ERR_TOO_BIG, &text);
        (taken, Step::Next)
    }

    fn close(&mut self, taken: usize, why: Closing) -> (usize, Step) {
        self.phase = Phase::Over;
        (taken, Step::Close(why))
    }

    fn answer(&mut self, code: u32, data: &[u8], exports: &mut dyn Exports, out: &mut Vec<u8>) -> Step {
        if code == option::EXPORT_NAME {
            return self.export_name(data, exports, out);
        }
        let mut reply = Reply::new(code, out);
        if code == option::ABORT {
            reply.ack();
            return Step::Close(Closing::Abort);
        }
        if code == option::LIST && !exports.stopping() && data.is_empty() {
            return self.list("", exports, &mut reply);
        }
        let done = if exports.stopping() {
            Err(Refusal::new(option_reply::ERR_SHUTDOWN, "the server is shutting down"))
        } else {
            self.negotiate(code, data, exports, &mut reply)
        };
        match done {
            Ok(None) => reply.ack(),
            Ok(Some(agreed)) => {
                reply.ack();
                return Step::Agreed(agreed);
            }
            Err(refusal) => reply.error(refusal.code, &refusal.text),
        }
        Step::Next
    }

    /// Lists some of the exports, and acknowledges when they are all said.
    fn list(&mut self, after: &str, exports: &mut dyn Exports, reply: &mut Reply<'_>) -> Step {
        match options::list(exports, after, reply) {
            Some(last) => {
                self.phase = Phase::List(last);
                Step::Again
            }
            None => {
                self.phase = Phase::Options;
                reply.ack();
                Step::Next
            }
        }
    }

    /// Everything that is answered with an acknowledgement or a refusal. An agreement comes back
    /// from a successful `GO`.
    fn negotiate(
        &mut self,
        code: u32,
        data: &[u8],
        exports: &mut dyn Exports,
        reply: &mut Reply<'_>,
    ) -> Result<Option<Agreed>, Refusal> {
        match code {
            // Without data it is not answered here.
            option::LIST => options::no_data(data)?,
            option::STARTTLS => {
                options::no_data(data)?;
                return Err(Refusal::new(option_reply::ERR_UNSUP, "TLS is not supported"));
            }
            option::STRUCTURED_REPLY => self.raise(data, Headers::Structured)?,
            option::EXTENDED_HEADERS => self.raise(data, Headers::Extended)?,
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                self.contexts(code, data, exports, reply)?;
            }
            option::INFO | option::GO => return self.info(code, data, exports, reply),
            unknown => {
                let text = format!("option {unknown} is not known");
                return Err(Refusal::new(option_reply::ERR_UNSUP, &text));
            }
        }
        Ok(None)
    }

    fn raise(&mut self, data: &[u8], to: Headers) -> Result<(), Refusal> {
        options::no_data(data)?;
        if self.headers == to {
            return Err(Refusal::new(option_reply::ERR_INVALID, "already agreed on"));
        }
        if self.headers > to {
            return Err(Refusal::new(option_reply::ERR_EXT_HEADER_REQD, "extended headers are in force"));
        }
        self.headers = to;
        Ok(())
    }

    fn contexts(
        &mut self,
        code: u32,
        data: &[u8],
        exports: &mut dyn Exports,
        reply: &mut Reply<'_>,
    ) -> Result<(), Refusal> {
        let set = code == option::SET_META_CONTEXT;
        if set {
            // Whatever was selected before is gone, also when this fails.
            self.status_for = None;
        }
        if self.headers == Headers::Simple {
            return Err(Refusal::new(
                option_reply::ERR_INVALID,
                "structured replies must be agreed on first",
            ));
        }
        let selected = options::contexts(set, data, exports, reply)?;
        if set {
            self.status_for = selected;
        }
        Ok(())
    }

    fn info(
        &mut self,
        code: u32,
        data: &[u8],
        exports: &mut dyn Exports,
        reply: &mut Reply<'_>,
    ) -> Result<Option<Agreed>, Refusal> {
        let asked = options::Info::parse(data)?;
        let unknown = || {
            let text = format!("no export named {:?}", asked.name);
            Refusal::new(option_reply::ERR_UNKNOWN, &text)
        };
        let mut export = exports.find(asked.name).ok_or_else(unknown)?;
        if asked.knows_blocks() {
            self.blocks_for = Some(export.name.clone());
        }
        if code == option::GO {
            self.check_blocks(&export).map_err(|text| {
                // Together with what the client should have asked for, so that it can try again at once.
                options::block_sizes(&export, reply);
                Refusal::new(option_reply::ERR_BLOCK_SIZE_REQD, &text)
            })?;
            export = exports.open(asked.name).map_err(|e| match e {
                NotOpened::Unknown => unknown(),
                NotOpened::Full(why) => Refusal::new(option_reply::ERR_POLICY, &why),
            })?;
        }
        let status = self.status_for.as_deref() == Some(export.name.as_str());
        let agreed = Agreed { headers: self.headers, export, status };
        options::info(&agreed, &asked, reply);
        Ok((code == option::GO).then_some(agreed))
    }

    /// Will the client keep to the export's blocks? It does if it has asked for them, or if they are no larger than
    /// what every client keeps to.
    fn check_blocks(&self, export: &Export) -> Result<(), String> {
        if export.takes_sectors() || self.blocks_for.as_deref() == Some(export.name.as_str()) {
            return Ok(());
        }
        let size = export.block_size;
        Err(format!(
            "{:?} has blocks of {size} bytes: ask for NBD_INFO_BLOCK_SIZE and keep to them",
            export.name
        ))
    }

    fn export_name(&mut self, data: &[u8], exports: &mut dyn Exports, out: &mut Vec<u8>) -> Step {
        let Ok(name) = options::name(data) else {
            return Step::Close(Closing::BadName);
        };
        if self.headers == Headers::Extended {
            return Step::Close(Closing::ExportNameAfterExtended);
        }
        let found = exports.find(name);
        if let Some(export) = found.filter(|export| self.check_blocks(export).is_err()) {
            return Step::Close(Closing::BlockSize(export.name, export.block_size));
        }
        let export = match exports.open(name) {
            Ok(export) => export,
            Err(NotOpened::Unknown) => return Step::Close(Closing::NoSuchExport(name.to_owned())),
            Err(NotOpened::Full(why)) => return Step::Close(Closing::Full(why)),
        };
        let status = self.status_for.as_deref() == Some(export.name.as_str());
        out.extend_from_slice(&export.size.to_be_bytes());
        out.extend_from_slice(&export.transmission_flags(self.headers, status).to_be_bytes());
        if !self.no_zeroes {
            out.extend_from_slice(&[0; 124]);
        }
        Step::Agreed(Agreed { headers: self.headers, export, status })
    }
}
