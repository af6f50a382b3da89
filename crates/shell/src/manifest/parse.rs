use steadfast_abi::manifest::{FORMAT, MAX_BYTES, VERSION};

use super::fields::Fields;
use super::{Manifest, ManifestError};

pub(super) fn parse(section: &[u8]) -> Result<Manifest, ManifestError> {
    let entries = entries(section)?;
    check_format(&entries)?;
    let mut fields = Fields::default();
    for (key, value) in entries {
        fields.take(key, value)?;
    }
    fields.finish()
}

/// Splits the section into keys and values.
fn entries(section: &[u8]) -> Result<Vec<(&str, &str)>, ManifestError> {
    if section.is_empty() || section.len() > MAX_BYTES {
        return Err(ManifestError::Size { bytes: section.len() });
    }
    let text =
        std::str::from_utf8(section).map_err(|error| ManifestError::NotText { at: error.valid_up_to() })?;
    let Some(text) = text.strip_suffix('\0') else {
        let last = text.rsplit('\0').next().unwrap_or(text);
        return Err(ManifestError::Unterminated { entry: last.to_owned() });
    };
    text.split('\0')
        .filter(|entry| !entry.is_empty())
        .map(|entry| entry.split_once('=').ok_or_else(|| ManifestError::NoEquals { entry: entry.to_owned() }))
        .collect()
}

/// Looks at the format first: another one may have other keys, and that is then not what is wrong.
fn check_format(entries: &[(&str, &str)]) -> Result<(), ManifestError> {
    match entries.iter().find(|(key, _)| *key == VERSION) {
        None => Err(ManifestError::missing(VERSION)),
        Some((_, FORMAT)) => Ok(()),
        Some((_, found)) => Err(ManifestError::Format { found: (*found).to_owned() }),
    }
}
