//! Typed parameters: one structure that is both the manifest's table and what the driver reads.

use crate::{Errno, Error, Port, Result};
use std::path::PathBuf;
use steadfast_abi as abi;

/// The parameters of a driver. Derive it:
///
/// ```
/// # use steadfast_driver::{Params, Size};
/// #[derive(Params)]
/// struct Parameters {
///     /// Size of the device.
///     #[param(default = "1G", range = "1M..=1024T", unit = "bytes")]
///     size: Size,
///     /// Answer reads with zeroes.
///     #[param(default = true, class = live)]
///     zeroes: bool,
///     /// Requests at a time.
///     #[param(default = 32, range = 1..=1024)]
///     depth: u32,
/// }
/// ```
///
/// - `default = …` or `required`; without either the field is an `Option`;
/// - `range = 1..=1024` (or a string, for sizes with a unit);
/// - `unit = "s"`, for people;
/// - `class = live | reinit | reload`: when a change takes effect; `reinit` when not said;
/// - `scope = port | adapter`;
/// - the doc comment's first paragraph is the help that users see.
pub trait Params: Sized + Send + Sync + 'static {
    /// Pieces of the manifest's `param.*` entries.
    const MANIFEST: &'static [&'static str];
    /// Reads the current values.
    fn load(port: &Port<'_>) -> Result<Self>;
}

/// No parameters.
impl Params for () {
    const MANIFEST: &'static [&'static str] = &[];
    fn load(_: &Port<'_>) -> Result<Self> {
        Ok(())
    }
}

/// Bytes, written with or without a unit: `4096`, `64K`, `1G`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A value as the shell hands it out.
#[derive(Clone, Copy, Debug)]
pub enum ParamValue<'a> {
    /// Neither set nor defaulted.
    None,
    /// `bool`.
    Bool(bool),
    /// `u32`, `u64`, `size`.
    Unsigned(u64),
    /// `i64`.
    Signed(i64),
    /// `str`, `path`.
    Text(&'a str),
    /// `enum`: index in its range.
    Choice(u32),
}

/// A type that a parameter can have.
pub trait ParamType: Sized {
    /// The manifest's word for it.
    const KIND: &'static str;
    /// The names of an `enum`, `a,b,c`; empty for other kinds.
    const CHOICES: &'static str = "";
    /// Takes the value; `None` when it is of another kind.
    fn from_value(value: ParamValue<'_>) -> Option<Self>;
}

macro_rules! param_type {
    ($($t:ty, $kind:literal, $pattern:pat => $value:expr;)*) => { $(
        impl ParamType for $t {
            const KIND: &'static str = $kind;
            fn from_value(value: ParamValue<'_>) -> Option<Self> {
                match value { $pattern => $value, _ => None }
            }
        }
    )* };
}
param_type! {
    bool, "bool", ParamValue::Bool(b) => Some(b);
    u32, "u32", ParamValue::Unsigned(n) => u32::try_from(n).ok();
    u64, "u64", ParamValue::Unsigned(n) => Some(n);
    i64, "i64", ParamValue::Signed(n) => Some(n);
    Size, "size", ParamValue::Unsigned(n) => Some(Size(n));
    String, "str", ParamValue::Text(s) => Some(s.to_owned());
    PathBuf, "path", ParamValue::Text(s) => Some(PathBuf::from(s));
}

impl<T: ParamType> ParamType for Option<T> {
    const KIND: &'static str = T::KIND;
    const CHOICES: &'static str = T::CHOICES;
    fn from_value(value: ParamValue<'_>) -> Option<Self> {
        match value {
            ParamValue::None => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// `text` when `wanted`, nothing otherwise; for the derived tables.
#[doc(hidden)]
pub const fn only_if(wanted: bool, text: &'static str) -> &'static str {
    if wanted { text } else { "" }
}

impl Port<'_> {
    /// The current value of the parameter `name`.
    pub fn param<T: ParamType>(&self, name: &str) -> Result<T> {
        let mut value = abi::Value {
            struct_size: size_of::<abi::Value>() as u32,
            kind: abi::value_kind::NONE,
            number: 0,
            text: abi::Str::EMPTY,
        };
        let property = self.shell().property.ok_or(Errno::NOSYS)?;
        // SAFETY: the port is live while `self` is, and the shell only writes to `value`.
        let found = Errno::check(unsafe { property(self.raw(), abi::Str::new(name), &mut value) });
        found.map_err(|e| Error::new(e, format!("parameter {name}: {e}")))?;
        // SAFETY: the shell keeps the text until the entry point ends, and it is copied before that.
        let text = std::str::from_utf8(unsafe { value.text.bytes() }).unwrap_or("");
        let given = match value.kind {
            abi::value_kind::BOOL => ParamValue::Bool(value.number != 0),
            abi::value_kind::UNSIGNED => ParamValue::Unsigned(value.number),
            abi::value_kind::SIGNED => ParamValue::Signed(value.number as i64),
            abi::value_kind::STRING => ParamValue::Text(text),
            abi::value_kind::ENUM => ParamValue::Choice(value.number as u32),
            _ => ParamValue::None,
        };
        T::from_value(given).ok_or_else(|| {
            Error::new(
                Errno::INVAL,
                format!("parameter {name}: {given:?} is not a value of type {}", T::KIND),
            )
        })
    }
}
