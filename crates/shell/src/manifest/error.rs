use steadfast_abi::manifest::{FORMAT, MAX_BYTES};
use thiserror::Error;

use super::MAX_LIST;
use crate::params::shown;

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// The section has an impossible size.
    #[error("manifest: {bytes} bytes long (allowed 1..={MAX_BYTES})")]
    Size {
        /// Bytes.
        bytes: usize,
    },
    /// It is not text.
    #[error("manifest: not UTF-8 at byte {at}")]
    NotText {
        /// First byte that is not.
        at: usize,
    },
    /// The last entry is cut off.
    #[error("manifest: the last entry, {}, is not ended by a NUL byte", shown(.entry))]
    Unterminated {
        /// The entry.
        entry: String,
    },
    /// An entry is not `key=value`.
    #[error("manifest: the entry {} is not KEY=VALUE", shown(.entry))]
    NoEquals {
        /// The entry.
        entry: String,
    },
    /// It is written in another format.
    #[error("manifest: manifest={} (this reader knows manifest={FORMAT})", shown(.found))]
    Format {
        /// The format's number.
        found: String,
    },
    /// A key that does not exist.
    #[error("manifest: unknown key {}{}", shown(.key), did_you_mean(.suggestion))]
    UnknownKey {
        /// The key.
        key: String,
        /// The key that was likely meant.
        suggestion: Option<String>,
    },
    /// A key that may stand once stands twice.
    #[error("manifest: {} stands twice (allowed once)", shown(.key))]
    Twice {
        /// The key.
        key: String,
    },
    /// A list has too many items.
    #[error("manifest: more than {MAX_LIST} entries {key}")]
    TooMany {
        /// The key.
        key: String,
    },
    /// A key that must be there is not.
    #[error("manifest: there is no {key}")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value that the key does not take.
    #[error("manifest: {}={} (allowed: {allowed})", shown(.key), shown(.value))]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it takes.
        allowed: String,
    },
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|word| format!(" (did you mean {word}?)")).unwrap_or_default()
}

impl ManifestError {
    pub(super) fn value(key: &str, value: &str, allowed: impl Into<String>) -> ManifestError {
        ManifestError::Value { key: key.to_owned(), value: value.to_owned(), allowed: allowed.into() }
    }

    pub(super) fn missing(key: impl Into<String>) -> ManifestError {
        ManifestError::Missing { key: key.into() }
    }
}
