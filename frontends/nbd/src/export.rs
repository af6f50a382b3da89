//! What a client is told about a device.

use crate::wire::{Headers, MAX_PAYLOAD, transmission_flag as flag};
use steadfast_abi::block_feature as feature;

/// A device as clients see it. Fixed from the moment a client chose it until it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Name that clients ask for.
    pub name: String,
    /// One line for people; may be empty.
    pub description: String,
    /// Bytes.
    pub size: u64,
    /// Smallest unit of a request, bytes: a power of two, 1 to 65536.
    pub block_size: u32,
    /// Unit that performs best, bytes.
    pub preferred_block_size: u32,
    /// Bits of [`steadfast_abi::block_feature`].
    pub features: u64,
}

impl Export {
    /// Does the device have this feature?
    pub const fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Transmission flags. `status` says whether the client selected a metadata context.
    pub fn transmission_flags(&self, headers: Headers, status: bool) -> u16 {
        let mut flags = flag::HAS_FLAGS;
        let rows = [
            (feature::READ_ONLY, flag::READ_ONLY),
            (feature::FLUSH, flag::SEND_FLUSH),
            // Without a FUA of its own, a device with FLUSH gets one by a flush behind the write.
            (feature::FUA | feature::FLUSH, flag::SEND_FUA),
            (feature::ROTATIONAL, flag::ROTATIONAL),
            (feature::TRIM, flag::SEND_TRIM),
            (feature::WRITE_ZEROES, flag::SEND_WRITE_ZEROES),
            (feature::MULTI_CONN, flag::CAN_MULTI_CONN),
            (feature::CACHE, flag::SEND_CACHE),
        ];
        for (feature, bit) in rows {
            if self.has(feature) {
                flags |= bit;
            }
        }
        if self.has(feature::WRITE_ZEROES) && self.has(feature::FAST_ZERO) {
            flags |= flag::SEND_FAST_ZERO;
        }
        if headers != Headers::Simple {
            flags |= flag::SEND_DF;
        }
        if headers == Headers::Extended && status {
            flags |= flag::BLOCK_STATUS_PAYLOAD;
        }
        flags
    }

    /// Can it be used by a client that knows nothing of block sizes? Such a client keeps to sectors, as kernels do.
    pub const fn takes_sectors(&self) -> bool {
        self.block_size <= 512
    }

    /// Smallest, preferred and largest request, within what the protocol allows.
    pub fn block_sizes(&self) -> [u32; 3] {
        let smallest = self.block_size.clamp(1, 1 << 16);
        let preferred = self.preferred_block_size.clamp(smallest.max(512), MAX_PAYLOAD);
        [smallest, preferred.checked_next_power_of_two().unwrap_or(MAX_PAYLOAD), MAX_PAYLOAD]
    }
}

/// The devices there are, as the handshake asks for them.
pub trait Exports {
    /// Some of them, in the order of their names, from behind `after` on, and from where to go on where there are more.
    /// With many devices nobody is to wait until all of them have been gone through.
    fn list(&mut self, after: &str) -> (Vec<Export>, Option<String>);
    /// The one of this name; the empty name is the default one.
    fn find(&mut self, name: &str) -> Option<Export>;
    /// The same, because the client is about to use it: it must stay.
    fn open(&mut self, name: &str) -> Result<Export, NotOpened>;
    /// The server is ending and takes nobody any more.
    fn stopping(&self) -> bool {
        false
    }
}

/// Why a device can't be used by one more client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// There is none of this name.
    Unknown,
    /// There is, but no place for a client; the text says why.
    Full(String),
}

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Form of requests and replies.
    pub headers: Headers,
    /// The device.
    pub export: Export,
    /// The client selected `base:allocation`.
    pub status: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(features: u64) -> Export {
        Export {
            name: "vol0".into(),
            description: String::new(),
            size: 1 << 20,
            block_size: 1,
            preferred_block_size: 1,
            features,
        }
    }

    #[test]
    fn flags_follow_features() {
        let none = export(0).transmission_flags(Headers::Simple, false);
        assert_eq!(none, flag::HAS_FLAGS);
        let multi = export(feature::MULTI_CONN).transmission_flags(Headers::Simple, false);
        assert_eq!(multi, flag::HAS_FLAGS | flag::CAN_MULTI_CONN);
        let flush = export(feature::FLUSH).transmission_flags(Headers::Simple, false);
        assert_eq!(flush, flag::HAS_FLAGS | flag::SEND_FLUSH | flag::SEND_FUA);
        let fast_only = export(feature::FAST_ZERO).transmission_flags(Headers::Simple, false);
        assert_eq!(fast_only, flag::HAS_FLAGS, "FAST_ZERO means nothing without WRITE_ZEROES");
    }

    #[test]
    fn flags_follow_the_headers() {
        let e = export(0);
        assert_eq!(e.transmission_flags(Headers::Structured, true), flag::HAS_FLAGS | flag::SEND_DF);
        let extended = e.transmission_flags(Headers::Extended, true);
        assert_eq!(extended, flag::HAS_FLAGS | flag::SEND_DF | flag::BLOCK_STATUS_PAYLOAD);
        assert_eq!(e.transmission_flags(Headers::Extended, false), flag::HAS_FLAGS | flag::SEND_DF);
    }

    #[test]
    fn block_sizes_stay_within_the_protocol() {
        let mut e = export(0);
        assert_eq!(e.block_sizes(), [1, 512, MAX_PAYLOAD]);
        e.block_size = 4096;
        e.preferred_block_size = 4096;
        assert_eq!(e.block_sizes(), [4096, 4096, MAX_PAYLOAD]);
        e.preferred_block_size = u32::MAX;
        assert_eq!(e.block_sizes(), [4096, MAX_PAYLOAD, MAX_PAYLOAD]);
    }
}
