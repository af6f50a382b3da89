//! Requests: parsing of headers, and what is to be done with each.
//!
//! Total on any bytes: a request either becomes a [`Plan`] that a device can be asked to carry out
//! (in range, aligned, of an operation it offers), or is refused, or breaks the connection.

use crate::errno::NbdErrno;
use crate::export::Agreed;
use crate::wire::{
    BASE_ALLOCATION_ID, EXTENDED_REQUEST_MAGIC, Headers, MAX_PAYLOAD, REQUEST_MAGIC, command,
    command_flag as flag, take,
};
use std::fmt;
use steadfast_abi::{block_feature as feature, block_flag, block_op};

/// Longest payload of a status request that is looked at, bytes.
pub const MAX_STATUS_PAYLOAD: u64 = 1024;

/// A request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// A number of [`command`], or anything else.
    pub kind: u16,
    /// Bits of [`command_flag`](crate::wire::command_flag), or anything else.
    pub flags: u16,
    /// Echoed in the reply.
    pub cookie: u64,
    /// First byte on the device.
    pub offset: u64,
    /// Bytes of the range, or of the payload.
    pub length: u64,
}

/// What the front of the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not a whole header yet.
    More,
    /// A header of [`Headers::request_bytes`].
    Request(Request),
    /// Not a request.
    Broken(Broken),
}

/// Why a connection can't go on: what follows can't be told apart any more, or is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The header begins with another magic number than the one agreed on.
    Magic {
        /// What was found.
        found: u32,
        /// What was agreed on.
        agreed: u32,
    },
    /// A payload longer than the advertised maximum.
    Payload {
        /// Type of the request.
        kind: u16,
        /// Bytes that the client announced.
        length: u64,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Magic { found, agreed } => {
                write!(f, "a request begins with {found:#010x} instead of {agreed:#010x}")
            }
            Broken::Payload { kind, length } => {
                write!(f, "request type {kind} with {length} bytes of payload (allowed: {MAX_PAYLOAD})")
            }
        }
    }
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Read `length` bytes; `whole` when the reply must be one chunk.
    Read {
        /// One chunk, or an error.
        whole: bool,
    },
    /// Write the `length` bytes that follow.
    Write(Change),
    /// An operation without data.
    Plain(Change),
    /// Say which ranges are holes or zeroes.
    Status {
        /// Bytes of the range.
        length: u64,
        /// One extent only.
        one: bool,
    },
    /// Say that all of `length` bytes is data: the client selected the context while another driver served, which could
    /// tell more.
    AllData {
        /// Bytes of the range.
        length: u64,
    },
    /// A status request whose payload of `bytes` must be looked at first: [`Session::plan_filtered`].
    StatusFiltered {
        /// Bytes of payload.
        bytes: usize,
    },
    /// Pass over `skip` bytes of payload, then answer with an error.
    Refuse {
        /// The error.
        errno: NbdErrno,
        /// The reason, for people.
        why: &'static str,
        /// Bytes of payload that follow.
        skip: u64,
    },
    /// The client is done.
    Disconnect,
    /// Close the connection.
    Break(Broken),
}

/// How a device is asked to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// One of [`block_op`].
    pub op: u16,
    /// Bits of [`block_flag`].
    pub flags: u16,
    /// Follow with a FLUSH before answering: FUA for a device that has none of its own.
    pub then_flush: bool,
}

/// What a connection's requests are measured against.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    headers: Headers,
    size: u64,
    align_mask: u64,
    features: u64,
    status: bool,
}

type Checked = Result<Plan, (NbdErrno, &'static str)>;

impl Session {
    /// For what was agreed on.
    pub fn new(agreed: &Agreed) -> Session {
        Session {
            headers: agreed.headers,
            size: agreed.export.size,
            align_mask: u64::from(agreed.export.block_size.max(1)) - 1,
            features: agreed.export.features,
            status: agreed.status,
        }
    }

    /// Form of requests and replies.
    pub fn headers(&self) -> Headers {
        self.headers
    }

    /// Reads the header at the front of `input`.
    #[inline]
    pub fn parse(&self, input: &[u8]) -> Parsed {
        let agreed = if self.headers == Headers::Extended { EXTENDED_REQUEST_MAGIC } else { REQUEST_MAGIC };
        let Some(magic) = take::<4>(input, 0) else { return Parsed::More };
        let found = u32::from_be_bytes(magic);
        if found != agreed {
            return Parsed::Broken(Broken::Magic { found, agreed });
        }
        let length = match self.headers {
            Headers::Extended => take::<8>(input, 24).map(u64::from_be_bytes),
            _ => take::<4>(input, 24).map(|bytes| u64::from(u32::from_be_bytes(bytes))),
        };
        let (Some(length), Some(front)) = (length, take::<24>(input, 0)) else { return Parsed::More };
        let u16_at = |at: usize| u16::from_be_bytes([front[at], front[at + 1]]);
        let u64_at = |at: usize| u64::from_be_bytes(take::<8>(&front, at).unwrap_or_default());
        Parsed::Request(Request {
            flags: u16_at(4),
            kind: u16_at(6),
            cookie: u64_at(8),
            offset: u64_at(16),
            length,
        })
    }

    /// What to do with a request.
    #[inline]
    pub fn plan(&self, request: &Request) -> Plan {
        let payload = self.payload(request);
        if request.kind == command::DISC {
            return Plan::Disconnect;
        }
        if payload > u64::from(MAX_PAYLOAD) {
            return Plan::Break(Broken::Payload { kind: request.kind, length: payload });
        }
        let checked = match request.kind {
            command::READ => self.read(request),
            command::WRITE => self.write(request),
            command::FLUSH => self.flush(request),
            command::TRIM | command::CACHE => self.hint(request),
            command::WRITE_ZEROES => self.write_zeroes(request),
            command::BLOCK_STATUS => self.status(request),
            _ => Err((NbdErrno::Inval, "unknown request type")),
        };
        checked.unwrap_or_else(|(errno, why)| Plan::Refuse { errno, why, skip: payload })
    }

    /// Bytes that follow the header.
    fn payload(&self, request: &Request) -> u64 {
        // A write has its data behind it also where the flag that extended headers want for it is
        // missing: QEMU's client (10.0) does not set it.
        let flagged = self.headers == Headers::Extended && request.flags & flag::PAYLOAD_LEN != 0;
        let carries = flagged || request.kind == command::WRITE;
        if carries { request.length } else { 0 }
    }

    /// No other flags than these; FUA goes with everything where it was offered.
    fn flags(&self, request: &Request, allowed: u16) -> Result<(), (NbdErrno, &'static str)> {
        let fua = if self.features & (feature::FUA | feature::FLUSH) != 0 { flag::FUA } else { 0 };
        let extra = request.flags & !(allowed | fua);
        if extra == 0 {
            return Ok(());
        }
        Err((NbdErrno::Inval, if extra & flag::FUA != 0 { "FUA was not offered" } else { "unknown flag" }))
    }

    fn range(
        &self,
        request: &Request,
        length: u64,
        beyond: NbdErrno,
    ) -> Result<(), (NbdErrno, &'static str)> {
        if length == 0 {
            return Err((NbdErrno::Inval, "length is 0"));
        }
        if (request.offset | length) & self.align_mask != 0 {
            return Err((NbdErrno::Inval, "not aligned to the block size"));
        }
        match request.offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err((beyond, "beyond the end of the device")),
        }
    }

    fn offers(&self, feature: u64) -> Result<(), (NbdErrno, &'static str)> {
        if self.features & feature != 0 { Ok(()) } else { Err((NbdErrno::Inval, "was not offered")) }
    }

    fn writable(&self) -> Result<(), (NbdErrno, &'static str)> {
        if self.features & feature::READ_ONLY == 0 {
            Ok(())
        } else {
            Err((NbdErrno::Perm, "the device is read-only"))
        }
    }

    fn change(&self, request: &Request, op: u16, flags: u16) -> Change {
        let fua = request.flags & flag::FUA != 0;
        let native = fua && self.features & feature::FUA != 0;
        let flags = if native { flags | block_flag::FUA } else { flags };
        Change { op, flags, then_flush: fua && !native }
    }

    fn read(&self, request: &Request) -> Checked {
        let whole = if self.headers == Headers::Simple { 0 } else { flag::DF };
        self.flags(request, whole)?;
        self.range(request, request.length, NbdErrno::Inval)?;
        if request.length > u64::from(MAX_PAYLOAD) {
            let errno = if self.headers == Headers::Simple { NbdErrno::Inval } else { NbdErrno::Overflow };
            return Err((errno, "longer than the largest payload"));
        }
        Ok(Plan::Read { whole: request.flags & flag::DF != 0 })
    }

    fn write(&self, request: &Request) -> Checked {
        let payload = if self.headers == Headers::Extended { flag::PAYLOAD_LEN } else { 0 };
        self.writable()?;
        self.flags(request, payload)?;
        self.range(request, request.length, NbdErrno::NoSpc)?;
        Ok(Plan::Write(self.change(request, block_op::WRITE, 0)))
    }

    fn flush(&self, request: &Request) -> Checked {
        self.offers(feature::FLUSH)?;
        self.flags(request, 0)?;
        if request.offset != 0 || request.length != 0 {
            return Err((NbdErrno::Inval, "a flush has no range"));
        }
        Ok(Plan::Plain(Change { op: block_op::FLUSH, flags: 0, then_flush: false }))
    }

    fn hint(&self, request: &Request) -> Checked {
        if request.kind == command::TRIM {
            self.writable()?;
        }
        let (feature, op) = if request.kind == command::TRIM {
            (feature::TRIM, block_op::TRIM)
        } else {
            (feature::CACHE, block_op::CACHE)
        };
        self.offers(feature)?;
        self.flags(request, 0)?;
        self.range(request, request.length, NbdErrno::Inval)?;
        if op == block_op::CACHE {
            return Ok(Plan::Plain(Change { op, flags: 0, then_flush: false }));
        }
        Ok(Plan::Plain(self.change(request, op, 0)))
    }

    fn write_zeroes(&self, request: &Request) -> Checked {
        self.writable()?;
        self.offers(feature::WRITE_ZEROES)?;
        let fast = if self.features & feature::FAST_ZERO != 0 { flag::FAST_ZERO } else { 0 };
        self.flags(request, flag::NO_HOLE | fast)?;
        self.range(request, request.length, NbdErrno::NoSpc)?;
        let mut flags = 0;
        if request.flags & flag::NO_HOLE != 0 {
            flags |= block_flag::NO_HOLE;
        }
        if request.flags & flag::FAST_ZERO != 0 {
            flags |= block_flag::FAST_ONLY;
        }
        Ok(Plan::Plain(self.change(request, block_op::WRITE_ZEROES, flags)))
    }

    fn status(&self, request: &Request) -> Checked {
        if !self.status {
            return Err((NbdErrno::Inval, "no metadata context was selected"));
        }
        let payload = if self.headers == Headers::Extended { flag::PAYLOAD_LEN } else { 0 };
        self.flags(request, flag::REQ_ONE | payload)?;
        if request.flags & flag::PAYLOAD_LEN != 0 {
            if request.length > MAX_STATUS_PAYLOAD {
                return Err((NbdErrno::Inval, "too many metadata contexts"));
            }
            return Ok(Plan::StatusFiltered { bytes: request.length as usize });
        }
        self.status_of(request, request.length)
    }

    fn status_of(&self, request: &Request, length: u64) -> Checked {
        self.range(request, length, NbdErrno::Inval)?;
        if self.features & feature::STATUS == 0 {
            return Ok(Plan::AllData { length });
        }
        Ok(Plan::Status { length, one: request.flags & flag::REQ_ONE != 0 })
    }

    /// What to do with a status request that names its contexts, now that its payload is here.
    pub fn plan_filtered(&self, request: &Request, payload: &[u8]) -> Plan {
        let checked = (|| {
            let malformed = (NbdErrno::Inval, "malformed list of metadata contexts");
            let length = take::<8>(payload, 0).map(u64::from_be_bytes).ok_or(malformed)?;
            // With one context there is one list without a duplicate that names something.
            if payload[8..] != BASE_ALLOCATION_ID.to_be_bytes() {
                return Err(malformed);
            }
            self.status_of(request, length)
        })();
        checked.unwrap_or_else(|(errno, why)| Plan::Refuse { errno, why, skip: 0 })
    }
}
