//! Parameters: what a driver's manifest says of them, and the values that users give them.
//!
//! A set of values is judged as a whole ([`resolve`]): every fault is reported, not only the first.
//! A value out of range is refused with the range, never bent; zero is a value, not "unset".

mod change;
mod cross;
mod error;
mod quantity;
mod range;
mod shell_table;
mod suggest;
mod value;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use change::{Change, ChangeError, live_change};
pub use error::{Fault, ParamError, shown};
pub use quantity::{TimeUnit, parse_size, parse_time, show_quantity, show_size, show_time};
pub use range::Range;
pub use shell_table::{
    AdminState, IO_SLOTS, MAX_TRANSFER, ShellDefaults, ShellParams, is_shells, log_mask, shell_table, table,
};
pub use suggest::nearest;
pub use value::Value;

/// Longest `str` value, bytes.
pub const MAX_STR_BYTES: usize = 4096;
/// Longest `path` value, bytes (Linux's `PATH_MAX` without the NUL).
pub const MAX_PATH_BYTES: usize = 4095;

/// What kind of value a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    /// `true` or `false` (also `yes`, `on`, `1`, `no`, `off`, `0`).
    Bool,
    /// 0 to 2^32 - 1, decimal or `0x…`.
    U32,
    /// 0 to 2^64 - 1, decimal or `0x…`.
    U64,
    /// -2^63 to 2^63 - 1, decimal or `0x…`.
    I64,
    /// Bytes: a number, with `K`, `M`, `G`, `T`, `P` or `E` (powers of 1024) behind it or not.
    Size,
    /// Text.
    Str,
    /// A path.
    Path,
    /// One of a list of words.
    Enum,
}

impl ParamKind {
    /// All kinds.
    pub const ALL: [ParamKind; 8] = [
        ParamKind::Bool,
        ParamKind::U32,
        ParamKind::U64,
        ParamKind::I64,
        ParamKind::Size,
        ParamKind::Str,
        ParamKind::Path,
        ParamKind::Enum,
    ];

    /// The kind's name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            ParamKind::Bool => "bool",
            ParamKind::U32 => "u32",
            ParamKind::U64 => "u64",
            ParamKind::I64 => "i64",
            ParamKind::Size => "size",
            ParamKind::Str => "str",
            ParamKind::Path => "path",
            ParamKind::Enum => "enum",
        }
    }

    /// The kind of that name in the manifest.
    pub fn from_name(name: &str) -> Option<ParamKind> {
        ParamKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ParamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What must happen before a changed value is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationClass {
    /// Nothing: it takes effect at once.
    Live,
    /// This port is detached and attached again.
    #[default]
    Reinit,
    /// Every port of the module is.
    Reload,
}

impl ActivationClass {
    /// The class's name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            ActivationClass::Live => "live",
            ActivationClass::Reinit => "reinit",
            ActivationClass::Reload => "reload",
        }
    }
}

/// What a parameter belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Each port has a value of its own.
    #[default]
    Port,
    /// All ports of an adapter share one value.
    Adapter,
}

impl Scope {
    /// The scope's name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Port => "port",
            Scope::Adapter => "adapter",
        }
    }
}

/// One parameter of a driver, as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParamSpec {
    /// Name.
    pub name: String,
    /// Kind of its values.
    pub kind: ParamKind,
    /// Values allowed, where the kind alone does not say it.
    pub range: Option<Range>,
    /// Value when it is not given. Without one the parameter is then simply undefined.
    pub default: Option<Value>,
    /// It must be given.
    pub required: bool,
    /// Unit for people; empty where there is none.
    pub unit: String,
    /// What a change takes.
    pub class: ActivationClass,
    /// What it belongs to.
    pub scope: Scope,
    /// One line for people; empty where there is none.
    pub help: String,
}

impl ParamSpec {
    /// A parameter of that name and kind, with everything else as in a manifest that says no more.
    pub fn new(name: impl Into<String>, kind: ParamKind) -> ParamSpec {
        ParamSpec {
            name: name.into(),
            kind,
            range: None,
            default: None,
            required: false,
            unit: String::new(),
            class: ActivationClass::default(),
            scope: Scope::default(),
            help: String::new(),
        }
    }

    /// The value that `text` stands for.
    ///
    /// # Errors
    /// It is not of this kind, or out of range; the error names the parameter, the value and what is
    /// allowed.
    pub fn parse_value(&self, text: &str) -> Result<Value, ParamError> {
        value::parse(self.kind, self.range.as_ref(), &self.unit, text).map_err(|fault| ParamError::Value {
            name: self.name.clone(),
            value: text.to_owned(),
            fault,
            allowed: self.allowed(),
        })
    }

    /// What is allowed, for people: `1..=1024`, `auto, direct, fabric`, `true or false`.
    pub fn allowed(&self) -> String {
        let values = self.allowed_values();
        match (self.kind, self.unit.as_str(), TimeUnit::from_name(&self.unit)) {
            (ParamKind::U32 | ParamKind::U64, "bytes", _) => {
                format!("{values} bytes, or with K, M, G, T, P or E behind")
            }
            (ParamKind::U32 | ParamKind::U64, unit, Some(_)) => {
                format!("{values} {unit}, or with ns, us, ms, s, m or h behind")
            }
            _ => values,
        }
    }

    fn allowed_values(&self) -> String {
        match &self.range {
            Some(range) if self.kind == ParamKind::Size => range.show_as_sizes(),
            Some(Range::Choices(words)) => words.join(", "),
            Some(range) => range.to_string(),
            None => match self.kind {
                ParamKind::Bool => "true or false".to_owned(),
                ParamKind::U32 => format!("0..={}", u32::MAX),
                ParamKind::U64 => format!("0..={}", u64::MAX),
                ParamKind::I64 => format!("{}..={}", i64::MIN, i64::MAX),
                ParamKind::Size => "bytes, or with K, M, G, T, P or E behind".to_owned(),
                ParamKind::Str => format!("up to {MAX_STR_BYTES} bytes of text without NUL"),
                ParamKind::Path => format!("a path of 1 to {MAX_PATH_BYTES} bytes"),
                ParamKind::Enum => "nothing".to_owned(),
            },
        }
    }
}

/// Judges a set of values against a driver's parameters and fills in the defaults.
///
/// The result has an entry for each parameter that is given or has a default; the others are
/// undefined.
///
/// # Errors
/// Every fault: unknown names (with the nearest known one), impossible values, required parameters
/// that are missing, and, where all of them are allowed by themselves, pairs that do not suit each other.
pub fn resolve(
    specs: &[ParamSpec],
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, Vec<ParamError>> {
    let known: BTreeMap<&str, &ParamSpec> = specs.iter().map(|s| (s.name.as_str(), s)).collect();
    let mut values = BTreeMap::new();
    let mut faults = Vec::new();
    for (name, text) in given {
        let parsed = match known.get(name.as_str()) {
            Some(spec) => spec.parse_value(text),
            None => Err(ParamError::unknown(name, known.keys().copied())),
        };
        match parsed {
            Ok(value) => drop(values.insert(name.clone(), value)),
            Err(fault) => faults.push(fault),
        }
    }
    for spec in specs.iter().filter(|spec| !given.contains_key(&spec.name)) {
        if let Some(default) = &spec.default {
            values.insert(spec.name.clone(), default.clone());
        } else if spec.required {
            faults.push(ParamError::Missing { name: spec.name.clone(), allowed: spec.allowed() });
        }
    }
    if faults.is_empty() {
        faults = cross::check(&values);
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}
