use std::collections::BTreeMap;

use super::fields::{line, once};
use super::{MAX_LIST, ManifestError};
use crate::params::{ActivationClass, ParamKind, ParamSpec, Range, Scope, nearest};

const ATTRIBUTES: [&str; 7] = ["range", "default", "required", "unit", "class", "scope", "help"];

/// The `param.…` entries of a manifest, which may come in any order.
#[derive(Default)]
pub(super) struct ParamEntries<'a> {
    by_name: BTreeMap<&'a str, usize>,
    entries: Vec<Entry<'a>>,
}

/// One parameter while its entries come in.
#[derive(Default)]
struct Entry<'a> {
    name: &'a str,
    kind: Option<ParamKind>,
    range: Option<&'a str>,
    default: Option<&'a str>,
    required: Option<bool>,
    unit: Option<String>,
    class: Option<ActivationClass>,
    scope: Option<Scope>,
    help: Option<String>,
}

impl<'a> ParamEntries<'a> {
    /// Takes one entry whose key begins with `param.`.
    pub(super) fn take(&mut self, key: &'a str, value: &'a str) -> Result<(), ManifestError> {
        let rest = key.strip_prefix("param.").unwrap_or(key);
        let (name, attribute) = match rest.split_once('.') {
            Some((name, attribute)) => (name, Some(attribute)),
            None => (rest, None),
        };
        let entry = self.entry(key, name)?;
        match attribute {
            None => once(&mut entry.kind, key, value, kind),
            Some("range") => once(&mut entry.range, key, value, Ok),
            Some("default") => once(&mut entry.default, key, value, Ok),
            Some("required") => once(&mut entry.required, key, value, required),
            Some("unit") => once(&mut entry.unit, key, value, line),
            Some("class") => once(&mut entry.class, key, value, class),
            Some("scope") => once(&mut entry.scope, key, value, scope),
            Some("help") => once(&mut entry.help, key, value, line),
            Some(other) => Err(ManifestError::UnknownKey {
                key: key.to_owned(),
                suggestion: nearest(other, ATTRIBUTES.into_iter()).map(|a| format!("param.{name}.{a}")),
            }),
        }
    }

    fn entry(&mut self, key: &str, name: &'a str) -> Result<&mut Entry<'a>, ManifestError> {
        let place = match self.by_name.get(name) {
            Some(place) => *place,
            None => {
                check_name(key, name)?;
                if self.entries.len() == MAX_LIST {
                    return Err(ManifestError::TooMany { key: "param".to_owned() });
                }
                self.entries.push(Entry { name, ..Entry::default() });
                self.by_name.insert(name, self.entries.len() - 1);
                self.entries.len() - 1
            }
        };
        Ok(&mut self.entries[place])
    }

    /// The parameters, in the order of their first entries.
    pub(super) fn finish(self) -> Result<Vec<ParamSpec>, ManifestError> {
        self.entries.into_iter().map(Entry::finish).collect()
    }
}

/// Names are such that they can be typed as `NAME=VALUE` anywhere and have no attribute's dot.
fn check_name(key: &str, name: &str) -> Result<(), ManifestError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    let begins_well = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if begins_well && name.len() <= 64 && name.bytes().all(plain) {
        return Ok(());
    }
    let allowed = "1 to 64 lower-case letters, digits, '_' and '-', a letter first";
    Err(ManifestError::value("param", key.strip_prefix("param.").unwrap_or(key), allowed))
}

impl Entry<'_> {
    fn finish(self) -> Result<ParamSpec, ManifestError> {
        let key = |attribute: &str| format!("param.{}{attribute}", self.name);
        let kind = self.kind.ok_or_else(|| ManifestError::missing(key("")))?;
        let mut spec = ParamSpec::new(self.name, kind);
        spec.range = match self.range {
            Some(text) => Some(
                Range::parse(kind, text)
                    .map_err(|allowed| ManifestError::value(&key(".range"), text, allowed))?,
            ),
            None if kind == ParamKind::Enum => return Err(ManifestError::missing(key(".range"))),
            None => None,
        };
        spec.required = self.required.unwrap_or(false);
        if let Some(text) = self.default {
            if spec.required {
                return Err(ManifestError::value(&key(".required"), "true", "not beside a default"));
            }
            let value = spec
                .parse_value(text)
                .map_err(|_| ManifestError::value(&key(".default"), text, spec.allowed()))?;
            spec.default = Some(value);
        }
        spec.unit = self.unit.unwrap_or_default();
        spec.class = self.class.unwrap_or_default();
        spec.scope = self.scope.unwrap_or_default();
        spec.help = self.help.unwrap_or_default();
        Ok(spec)
    }
}

fn kind(text: &str) -> Result<ParamKind, String> {
    ParamKind::from_name(text).ok_or_else(|| ParamKind::ALL.map(ParamKind::name).join(", "))
}

fn required(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true, false".to_owned()),
    }
}

fn class(text: &str) -> Result<ActivationClass, String> {
    let all = [ActivationClass::Live, ActivationClass::Reinit, ActivationClass::Reload];
    let found = all.into_iter().find(|class| class.name() == text);
    found.ok_or_else(|| all.map(ActivationClass::name).join(", "))
}

fn scope(text: &str) -> Result<Scope, String> {
    let all = [Scope::Port, Scope::Adapter];
    let found = all.into_iter().find(|scope| scope.name() == text);
    found.ok_or_else(|| all.map(Scope::name).join(", "))
}
