//! The state that one driver leaves for the next, as the shell understands it.
//!
//! State is typed and describes itself: a CBOR map with text keys, one map per schema, where the driver's
//! manifest says so (`x-state=cbor`). The shell does not know what a key means. It knows whether the bytes
//! are what they claim to be, can show them, and can tell whether a driver that has taken a state over
//! still has all of it. State of other drivers is handed on as it is.

use minicbor::data::Type;
use minicbor::decode::Decoder;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// Deepest nesting that is read.
const DEPTH: u32 = 16;
/// Most values in one state.
const VALUES: u32 = 65_536;

/// A value within a state. Its texts are those of the bytes that it was read from: it is read while a port is
/// held, and so takes as little memory as can be.
#[derive(Clone, Debug, PartialEq)]
pub enum StateValue<'a> {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number from zero up.
    Unsigned(u64),
    /// A negative number.
    Signed(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list.
    List(Vec<StateValue<'a>>),
    /// Values by name, in the order in which they were written.
    Map(Vec<(&'a str, StateValue<'a>)>),
}

impl StateValue<'_> {
    /// What kind of value it is, for messages. Numbers without a fraction are one kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            StateValue::Null => "nothing",
            StateValue::Bool(_) => "true or false",
            StateValue::Unsigned(_) | StateValue::Signed(_) => "a whole number",
            StateValue::Float(_) => "a number",
            StateValue::Text(_) => "text",
            StateValue::Bytes(_) => "bytes",
            StateValue::List(_) => "a list",
            StateValue::Map(_) => "a map",
        }
    }
}

/// As JSON: bytes are hexadecimal digits.
impl Serialize for StateValue<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            StateValue::Null => to.serialize_unit(),
            StateValue::Bool(v) => to.serialize_bool(*v),
            StateValue::Unsigned(v) => to.serialize_u64(*v),
            StateValue::Signed(v) => to.serialize_i64(*v),
            StateValue::Float(v) => to.serialize_f64(*v),
            StateValue::Text(v) => to.serialize_str(v),
            StateValue::Bytes(v) => to.serialize_str(&hex(v)),
            StateValue::List(v) => v.serialize(to),
            StateValue::Map(entries) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                for (name, value) in entries {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why bytes are not the state that they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Cut off, or not CBOR at all.
    #[error("damaged at byte {at}: {what}")]
    Damaged {
        /// Where reading stopped.
        at: usize,
        /// What was found.
        what: String,
    },
    /// Something else than a map.
    #[error("it is {is} and no map")]
    NoMap {
        /// What it is.
        is: &'static str,
    },
    /// A map whose keys are not text.
    #[error("a key at byte {at} is not text")]
    KeyNotText {
        /// Where it is.
        at: usize,
    },
    /// The same key twice in one map.
    #[error("the key {name} is there twice")]
    Twice {
        /// The key.
        name: String,
    },
    /// Deeper or longer than any state may be.
    #[error("nested deeper than {DEPTH} or longer than {VALUES} values")]
    TooMuch,
    /// There is something behind the map.
    #[error("{bytes} bytes behind its end")]
    Trailing {
        /// How much.
        bytes: usize,
    },
}

/// Reads a state: one map.
///
/// # Errors
/// It is none, or not whole.
pub fn read(bytes: &[u8]) -> Result<StateValue<'_>, StateError> {
    let mut reader = Reader { from: Decoder::new(bytes), left: VALUES };
    let value = reader.value(0)?;
    let StateValue::Map(_) = value else { return Err(StateError::NoMap { is: value.kind() }) };
    match bytes.len() - reader.from.position() {
        0 => Ok(value),
        bytes => Err(StateError::Trailing { bytes }),
    }
}

/// Room for a list that says how long it is, within limits: it may be damaged.
fn room(items: Option<u64>) -> usize {
    items.map_or(0, |n| n.min(64) as usize)
}

struct Reader<'b> {
    from: Decoder<'b>,
    left: u32,
}

impl<'b> Reader<'b> {
    fn damaged(&self, e: &minicbor::decode::Error) -> StateError {
        StateError::Damaged { at: e.position().unwrap_or(self.from.position()), what: e.to_string() }
    }

    fn value(&mut self, depth: u32) -> Result<StateValue<'b>, StateError> {
        self.left = self.left.checked_sub(1).ok_or(StateError::TooMuch)?;
        if depth >= DEPTH {
            return Err(StateError::TooMuch);
        }
        let kind = self.from.datatype().map_err(|e| self.damaged(&e))?;
        let d = &mut self.from;
        let plain = match kind {
            Type::Null | Type::Undefined => d.skip().map(|()| StateValue::Null),
            Type::Bool => d.bool().map(StateValue::Bool),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => d.u64().map(StateValue::Unsigned),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => d.i64().map(StateValue::Signed),
            Type::F16 | Type::F32 | Type::F64 => d.f64().map(StateValue::Float),
            Type::String => d.str().map(StateValue::Text),
            Type::Bytes => d.bytes().map(StateValue::Bytes),
            Type::Array | Type::ArrayIndef => return self.list(depth),
            Type::Map | Type::MapIndef => return self.map(depth),
            other => {
                let at = d.position();
                return Err(StateError::Damaged { at, what: format!("a value of type {other}") });
            }
        };
        plain.map_err(|e| self.damaged(&e))
    }

    /// Whether another item follows, in an array or map of `left` items or of unknown length.
    fn more(&mut self, left: &mut Option<u64>) -> Result<bool, StateError> {
        match left {
            Some(0) => Ok(false),
            Some(n) => {
                *n -= 1;
                Ok(true)
            }
            None if self.from.datatype().map_err(|e| self.damaged(&e))? == Type::Break => {
                self.from.skip().map_err(|e| self.damaged(&e))?;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    fn list(&mut self, depth: u32) -> Result<StateValue<'b>, StateError> {
        let mut left = self.from.array().map_err(|e| self.damaged(&e))?;
        let mut list = Vec::with_capacity(room(left));
        while self.more(&mut left)? {
            list.push(self.value(depth + 1)?);
        }
        Ok(StateValue::List(list))
    }

    fn map(&mut self, depth: u32) -> Result<StateValue<'b>, StateError> {
        let mut left = self.from.map().map_err(|e| self.damaged(&e))?;
        let mut map: Vec<(&'b str, StateValue<'b>)> = Vec::with_capacity(room(left));
        while self.more(&mut left)? {
            let at = self.from.position();
            if self.from.datatype().map_err(|e| self.damaged(&e))? != Type::String {
                return Err(StateError::KeyNotText { at });
            }
            let name = self.from.str().map_err(|e| self.damaged(&e))?;
            if map.iter().any(|(known, _)| *known == name) {
                return Err(StateError::Twice { name: name.to_owned() });
            }
            map.push((name, self.value(depth + 1)?));
        }
        Ok(StateValue::Map(map))
    }
}

/// Whether a driver that was given `before` still has all of it: what it writes now, `after`, has every
/// key of `before`, each with a value of the same kind. The values may differ: a driver may know better.
///
/// # Errors
/// The first key that was lost, or became something else, in words.
pub fn kept(before: &StateValue, after: &StateValue) -> Result<(), String> {
    let (StateValue::Map(before), StateValue::Map(after)) = (before, after) else {
        return Err(format!("it was {}, and is {}", before.kind(), after.kind()));
    };
    for (name, old) in before {
        let Some((_, new)) = after.iter().find(|(known, _)| known == name) else {
            return Err(format!("{name} is lost"));
        };
        let nothing = |v: &StateValue| *v == StateValue::Null;
        if old.kind() != new.kind() && !nothing(old) && !nothing(new) {
            return Err(format!("{name} was {}, and is {}", old.kind(), new.kind()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map<'a>(entries: &[(&'a str, StateValue<'a>)]) -> StateValue<'a> {
        StateValue::Map(entries.to_vec())
    }

    fn encode(value: &StateValue, to: &mut minicbor::Encoder<Vec<u8>>) {
        match value {
            StateValue::Null => to.null().map(drop),
            StateValue::Bool(v) => to.bool(*v).map(drop),
            StateValue::Unsigned(v) => to.u64(*v).map(drop),
            StateValue::Signed(v) => to.i64(*v).map(drop),
            StateValue::Float(v) => to.f64(*v).map(drop),
            StateValue::Text(v) => to.str(v).map(drop),
            StateValue::Bytes(v) => to.bytes(v).map(drop),
            StateValue::List(v) => {
                to.array(v.len() as u64).map(drop).expect("into a Vec");
                v.iter().for_each(|v| encode(v, to));
                Ok(())
            }
            StateValue::Map(v) => {
                to.map(v.len() as u64).map(drop).expect("into a Vec");
                for (name, value) in v {
                    to.str(name).map(drop).expect("into a Vec");
                    encode(value, to);
                }
                Ok(())
            }
        }
        .expect("into a Vec");
    }

    fn bytes(value: &StateValue) -> Vec<u8> {
        let mut to = minicbor::Encoder::new(Vec::new());
        encode(value, &mut to);
        to.into_writer()
    }

    fn sample() -> StateValue<'static> {
        map(&[
            ("size", StateValue::Unsigned(65536)),
            ("punch", StateValue::Bool(true)),
            ("id", StateValue::Bytes(&[0xab, 1])),
            ("runs", StateValue::List(vec![StateValue::Signed(-3), StateValue::Text("x")])),
        ])
    }

    #[test]
    fn a_state_is_read_and_shown() {
        let written = bytes(&sample());
        let value = read(&written).expect("sound");
        assert_eq!(value, sample());
        let json = serde_json::to_string(&value).expect("JSON");
        assert_eq!(json, r#"{"size":65536,"punch":true,"id":"ab01","runs":[-3,"x"]}"#);
        assert_eq!(read(&[1]), Err(StateError::NoMap { is: "a whole number" }));
        assert!(read(b"").is_err());
    }

    #[test]
    fn damage_is_seen_wherever_it_is() {
        let whole = bytes(&sample());
        for end in 1..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut off after {end} of {} bytes", whole.len());
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(read(&longer), Err(StateError::Trailing { bytes: 1 }));
        assert_eq!(read(&[0xa1, 0x01, 0x01]), Err(StateError::KeyNotText { at: 1 }));
        let twice = map(&[("a", StateValue::Null), ("a", StateValue::Null)]);
        assert_eq!(read(&bytes(&twice)), Err(StateError::Twice { name: "a".into() }));
        let deep = (0..40).fold(StateValue::Null, |inner, _| map(&[("a", inner)]));
        assert_eq!(read(&bytes(&deep)), Err(StateError::TooMuch));
    }

    #[test]
    fn what_was_given_must_still_be_there() {
        let before = sample();
        assert_eq!(kept(&before, &before), Ok(()));
        let StateValue::Map(mut entries) = before.clone() else { unreachable!() };
        entries.push(("newer", StateValue::Unsigned(1)));
        entries[0].1 = StateValue::Unsigned(1);
        assert_eq!(kept(&before, &StateValue::Map(entries.clone())), Ok(()), "more, and other values");
        entries[0].1 = StateValue::Text("64K");
        let why = kept(&before, &StateValue::Map(entries.clone())).expect_err("another kind");
        assert_eq!(why, "size was a whole number, and is text");
        entries.remove(0);
        assert_eq!(kept(&before, &StateValue::Map(entries)).expect_err("lost"), "size is lost");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let mut typed = bytes;
            typed.insert(0, 0xbf);
            let _ = read(&typed);
        }
    }
}
