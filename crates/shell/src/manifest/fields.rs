use std::fmt::Display;
use std::str::FromStr;

use semver::Version;
use steadfast_abi::block_feature;
use steadfast_abi::manifest::VERSION;

use super::params::ParamEntries;
use super::schema::decimal;
use super::{Class, HwId, MAX_LIST, Manifest, ManifestError, Memory, PduSpec, Schema};
use crate::params::nearest;

/// Keys that stand alone, for suggestions.
const KEYS: [&str; 18] = [
    VERSION,
    "name",
    "version",
    "class",
    "abi",
    "about",
    "hwid",
    "state.write",
    "state.read",
    "pdu",
    "pdu.adopt",
    "memory.port",
    "memory.queue",
    "ops",
    "port-ops",
    "feature",
    "min_from",
    "data",
];

/// A manifest while it is being read.
#[derive(Default)]
pub(super) struct Fields<'a> {
    format: Option<()>,
    name: Option<String>,
    version: Option<Version>,
    class: Option<Class>,
    abi: Option<(u16, u16)>,
    about: Option<String>,
    hwids: Vec<HwId>,
    state_write: Vec<Schema>,
    state_read: Vec<Schema>,
    pdu: Option<PduSpec>,
    pdu_adopt: Vec<Schema>,
    memory_port: Option<Memory>,
    memory_queue: Option<Memory>,
    ops: Option<u32>,
    port_ops: Option<u32>,
    features: u64,
    min_from: Option<Version>,
    segments: Option<bool>,
    params: ParamEntries<'a>,
    extra: Vec<(String, String)>,
}

impl<'a> Fields<'a> {
    /// Takes one entry.
    pub(super) fn take(&mut self, key: &'a str, value: &'a str) -> Result<(), ManifestError> {
        match key {
            VERSION => once(&mut self.format, key, value, |_| Ok(())),
            "name" => once(&mut self.name, key, value, name),
            "version" => once(&mut self.version, key, value, version),
            "class" => once(&mut self.class, key, value, class),
            "abi" => once(&mut self.abi, key, value, abi),
            "about" => once(&mut self.about, key, value, line),
            "hwid" => add(&mut self.hwids, key, value),
            "state.write" => add(&mut self.state_write, key, value),
            "state.read" => add(&mut self.state_read, key, value),
            "pdu" => once(&mut self.pdu, key, value, pdu),
            "pdu.adopt" => add(&mut self.pdu_adopt, key, value),
            "memory.port" => once(&mut self.memory_port, key, value, memory),
            "memory.queue" => once(&mut self.memory_queue, key, value, memory),
            "ops" => once(&mut self.ops, key, value, |text| number_to(text, 16)),
            "port-ops" => once(&mut self.port_ops, key, value, |text| number_to(text, 1024)),
            "feature" => self.feature(key, value),
            "min_from" => once(&mut self.min_from, key, value, version),
            "data" => once(&mut self.segments, key, value, data),
            _ if key.starts_with("param.") => self.params.take(key, value),
            _ if key.starts_with("x-") => self.extra(key, value),
            _ => Err(unknown(key)),
        }
    }

    fn feature(&mut self, key: &str, value: &str) -> Result<(), ManifestError> {
        let bit = block_feature::NAMES
            .iter()
            .position(|name| *name == value)
            .ok_or_else(|| ManifestError::value(key, value, block_feature::NAMES.join(", ")))?;
        if self.features >> bit & 1 == 1 {
            return Err(ManifestError::Twice { key: format!("{key}={value}") });
        }
        self.features |= 1 << bit;
        Ok(())
    }

    fn extra(&mut self, key: &str, value: &str) -> Result<(), ManifestError> {
        if self.extra.len() == MAX_LIST {
            return Err(ManifestError::TooMany { key: "x-".to_owned() });
        }
        self.extra.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Looks at the whole.
    pub(super) fn finish(self) -> Result<Manifest, ManifestError> {
        let required = ManifestError::missing;
        let version = self.version.ok_or_else(|| required("version"))?;
        if let Some(from) = self.min_from.as_ref().filter(|from| **from > version) {
            let allowed = format!("at most the driver's own version, {version}");
            return Err(ManifestError::value("min_from", &from.to_string(), allowed));
        }
        Ok(Manifest {
            name: self.name.ok_or_else(|| required("name"))?,
            version,
            class: self.class.ok_or_else(|| required("class"))?,
            abi: self.abi.ok_or_else(|| required("abi"))?,
            about: self.about.unwrap_or_default(),
            hwids: self.hwids,
            state_write: self.state_write,
            state_read: self.state_read,
            pdu: self.pdu,
            pdu_adopt: self.pdu_adopt,
            memory_port: self.memory_port.unwrap_or_default(),
            memory_queue: self.memory_queue.unwrap_or_default(),
            ops: self.ops.unwrap_or(1),
            port_ops: self.port_ops.unwrap_or(0),
            features: self.features,
            min_from: self.min_from,
            segments: self.segments.unwrap_or(false),
            params: self.params.finish()?,
            extra: self.extra,
        })
    }
}

fn unknown(key: &str) -> ManifestError {
    ManifestError::UnknownKey {
        key: key.to_owned(),
        suggestion: nearest(key, KEYS.into_iter()).map(str::to_owned),
    }
}

/// Puts the value of a key that may stand once in its place. `read` says what is allowed when the
/// value is not.
pub(super) fn once<'a, T>(
    place: &mut Option<T>,
    key: &str,
    value: &'a str,
    read: impl FnOnce(&'a str) -> Result<T, String>,
) -> Result<(), ManifestError> {
    if place.is_some() {
        return Err(ManifestError::Twice { key: key.to_owned() });
    }
    *place = Some(read(value).map_err(|allowed| ManifestError::value(key, value, allowed))?);
    Ok(())
}

/// Adds an item to the list of a key that may stand often.
fn add<T>(list: &mut Vec<T>, key: &str, value: &str) -> Result<(), ManifestError>
where
    T: FromStr<Err = String> + PartialEq + Display,
{
    let item: T = value.parse().map_err(|allowed: String| ManifestError::value(key, value, allowed))?;
    if list.contains(&item) {
        return Err(ManifestError::Twice { key: format!("{key}={item}") });
    }
    if list.len() == MAX_LIST {
        return Err(ManifestError::TooMany { key: key.to_owned() });
    }
    list.push(item);
    Ok(())
}

fn name(text: &str) -> Result<String, String> {
    check_driver_name(text).map(|()| text.to_owned()).map_err(str::to_owned)
}

/// Names of files beside those of the drivers' parameters, which are called after their drivers.
const RESERVED: [&str; 3] = ["devices", "instances", "profiles"];

/// Whether a driver may have that name.
///
/// # Errors
/// What is allowed.
pub fn check_driver_name(name: &str) -> Result<(), &'static str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=32).contains(&name.len()) || !name.bytes().all(plain) {
        return Err("1 to 32 lower-case letters, digits and '-'");
    }
    if RESERVED.contains(&name) {
        return Err(
            "any other name: devices, instances and profiles are files beside those of drivers' parameters",
        );
    }
    Ok(())
}

fn version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| format!("a semantic version, MAJOR.MINOR.PATCH; {error}"))
}

fn class(text: &str) -> Result<Class, String> {
    match text {
        "block" => Ok(Class::Block),
        _ => Err("block".to_owned()),
    }
}

fn abi(text: &str) -> Result<(u16, u16), String> {
    text.split_once('.')
        .and_then(|(major, minor)| Some((decimal(major)?, decimal(minor)?)))
        .ok_or_else(|| "MAJOR.MINOR, each a number below 65536".to_owned())
}

/// One line for people.
pub(super) fn line(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("one line without control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn pdu(text: &str) -> Result<PduSpec, String> {
    let form = || format!("SCHEMA:BYTES, SCHEMA being {}", Schema::FORM);
    let (schema, size) = text.split_once(':').ok_or_else(form)?;
    let schema = schema.parse().map_err(|_| form())?;
    Ok(PduSpec { schema, size: decimal(size).ok_or_else(form)? })
}

fn memory(text: &str) -> Result<Memory, String> {
    text.split_once(':')
        .and_then(|(needed, wanted)| Some(Memory { needed: decimal(needed)?, wanted: decimal(wanted)? }))
        .filter(|memory| memory.needed <= memory.wanted)
        .ok_or_else(|| "NEEDED:WANTED, bytes, NEEDED not above WANTED".to_owned())
}

fn data(text: &str) -> Result<bool, String> {
    match text {
        "mapped" => Ok(false),
        "segments" => Ok(true),
        _ => Err("mapped, segments".to_owned()),
    }
}

fn number_to(text: &str, most: u32) -> Result<u32, String> {
    decimal(text).filter(|number| *number <= most).ok_or_else(|| format!("0..={most}"))
}
