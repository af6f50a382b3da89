//! The manifest: what a driver says of itself, read without running it.
//!
//! [`Manifest::parse`] takes the bytes of a module's manifest section (the format is described at
//! [`steadfast_abi::manifest`]) and is total: any bytes give a manifest or an error that names the
//! entry. Where that description leaves a choice, this reader is strict, so that a slip of a driver's
//! author shows when the module is first read and not in the middle of an update:
//!
//! - every entry ends with a NUL byte, the last one too;
//! - a key that may stand once and stands twice is refused, as is the same item twice in a list, and a
//!   list of more than [`MAX_LIST`] items;
//! - a parameter has a default or is required, not both, and its default is within its range;
//! - `param.NAME.…` needs a `param.NAME`, `enum` needs a range;
//! - texts for people are one line: no control characters;
//! - numbers have one spelling: decimal, no sign, no zero in front. Values of parameters (`default`,
//!   `range`) are written as users write them: `0x20`, `4K`.
//!
//! In C, a manifest is one string with a NUL byte between the entries (the compiler adds the last one):
//!
//! ```c
//! __attribute__((section(".steadfast.manifest"), used))
//! static const char manifest[] =
//!     "manifest=1\0" "name=mine\0" "version=0.1.0\0" "class=block\0" "abi=1.0\0"
//!     "param.path=path\0" "param.path.required=true";
//! ```
//!
//! Reading one:
//!
//! ```
//! use steadfast_shell::manifest::Manifest;
//!
//! let section = b"manifest=1\0name=mine\0version=0.1.0\0class=block\0abi=1.0\0feature=flush\0";
//! let manifest = Manifest::parse(section).unwrap();
//! assert_eq!(manifest.version.to_string(), "0.1.0");
//! assert_eq!(manifest.feature_names(), ["flush"]);
//!
//! let error = Manifest::parse(b"manifest=1\0nmae=mine\0").unwrap_err();
//! assert_eq!(error.to_string(), "manifest: unknown key nmae (did you mean name?)");
//! ```

mod error;
mod fields;
mod hwid;
mod params;
mod parse;
mod schema;

use semver::Version;
use serde::{Deserialize, Serialize};
use steadfast_abi::block_feature;

use crate::params::ParamSpec;
pub use error::ManifestError;
pub use fields::check_driver_name;
pub use hwid::HwId;
pub use schema::Schema;

/// Most items in one list of a manifest.
pub const MAX_LIST: usize = 256;

/// What a driver says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// Driver name; releases of one driver share it.
    pub name: String,
    /// The release.
    pub version: Version,
    /// Device class.
    pub class: Class,
    /// ABI it was built against: major, minor.
    pub abi: (u16, u16),
    /// One line for people; may be empty.
    pub about: String,
    /// Hardware it serves; none means that it does not care.
    pub hwids: Vec<HwId>,
    /// State schemas it can write, best first.
    pub state_write: Vec<Schema>,
    /// State schemas it can read, best first.
    pub state_read: Vec<Schema>,
    /// Its private bytes per request, if it has any.
    pub pdu: Option<PduSpec>,
    /// PDU schemas of other drivers whose requests it can take over in flight.
    pub pdu_adopt: Vec<Schema>,
    /// Memory per port.
    pub memory_port: Memory,
    /// Memory per queue of a port.
    pub memory_queue: Memory,
    /// Most operations in flight per request.
    pub ops: u32,
    /// Most operations in flight that belong to no request, per queue.
    pub port_ops: u32,
    /// Features it can offer: bits of [`block_feature`].
    pub features: u64,
    /// Oldest release of the same driver that it can update from.
    pub min_from: Option<Version>,
    /// It names its requests' data in operations only (`data=segments`), and asks for the bytes of those that it
    /// looks at.
    pub segments: bool,
    /// Parameters, in the order of the manifest.
    pub params: Vec<ParamSpec>,
    /// Keys that begin with `x-`, with their values, as they are.
    pub extra: Vec<(String, String)>,
}

/// Private bytes per request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PduSpec {
    /// What they mean.
    pub schema: Schema,
    /// How many.
    pub size: u32,
}

/// Memory that a driver is given by the shell, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// It does not run with less.
    pub needed: u64,
    /// It makes use of no more.
    pub wanted: u64,
}

impl Memory {
    /// What to give of `available` bytes: as much as is wanted and there; none when that is less than
    /// needed.
    pub fn grant(self, available: u64) -> Option<u64> {
        (self.needed <= available).then(|| self.wanted.min(available))
    }
}

/// Device classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Class {
    /// Block devices.
    Block,
}

impl Class {
    /// The class's name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Block => "block",
        }
    }

    /// The class's number in the ABI.
    pub const fn number(self) -> u32 {
        match self {
            Class::Block => steadfast_abi::class::BLOCK,
        }
    }
}

impl Manifest {
    /// The driver's state is a CBOR map in every schema (`x-state=cbor`), as the SDK writes it.
    pub fn state_is_typed(&self) -> bool {
        self.extra.iter().any(|(key, value)| key == "x-state" && value == "cbor")
    }

    /// Reads a manifest section.
    ///
    /// # Errors
    /// The first thing found wrong, by entry.
    pub fn parse(section: &[u8]) -> Result<Manifest, ManifestError> {
        parse::parse(section)
    }

    /// The names of its features.
    pub fn feature_names(&self) -> Vec<&'static str> {
        feature_names(self.features)
    }

    /// Whether it serves that hardware; a driver that names none serves any.
    pub fn serves(&self, hwid: &str, revision: u32) -> bool {
        self.hwids.is_empty() || self.hwids.iter().any(|id| id.matches(hwid, revision))
    }
}

/// The names of block features, by bits.
pub fn feature_names(features: u64) -> Vec<&'static str> {
    let names = block_feature::NAMES.iter().enumerate();
    names.filter(|(bit, _)| features >> bit & 1 == 1).map(|(_, name)| *name).collect()
}
