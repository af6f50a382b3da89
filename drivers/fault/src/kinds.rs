//! Kinds of requests, as a parameter names them.

use steadfast_driver::{Errno, Error, Op, Result};

const NAMES: [(&str, Op); 7] = [
    ("read", Op::Read),
    ("write", Op::Write),
    ("flush", Op::Flush),
    ("trim", Op::Trim),
    ("zero", Op::WriteZeroes),
    ("cache", Op::Cache),
    ("status", Op::Status),
];

/// A set of kinds of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u32);

impl Kinds {
    /// Reads a list such as `read,write` or, where a comma has another meaning, `read+write`; `all`
    /// and `none` are lists too.
    ///
    /// # Errors
    /// `INVAL`: a word that is none of them, which it names.
    pub fn parse(name: &str, text: &str) -> Result<Kinds> {
        let mut kinds = 0;
        for word in text.split([',', '+']).map(str::trim).filter(|w| !w.is_empty()) {
            kinds |= match word {
                "all" => u32::MAX,
                "none" => 0,
                _ => match NAMES.iter().find(|(known, _)| *known == word) {
                    Some((_, op)) => bit(*op),
                    None => return Err(unknown(name, word)),
                },
            };
        }
        Ok(Kinds(kinds))
    }

    /// Whether it has requests that do `op`.
    #[inline]
    pub fn has(self, op: Op) -> bool {
        self.0 & bit(op) != 0
    }
}

fn bit(op: Op) -> u32 {
    1 << op as u16
}

fn unknown(name: &str, word: &str) -> Error {
    let text = format!(
        "{name}: `{word}` is no kind of request (allowed: a list of read, write, flush, trim, zero, cache, \
         status; or all, or none)"
    );
    Error::new(Errno::INVAL, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let kinds = Kinds::parse("ops", "read+zero").expect("valid");
        assert!(kinds.has(Op::Read) && kinds.has(Op::WriteZeroes) && !kinds.has(Op::Write));
        let all = Kinds::parse("ops", "all").expect("valid");
        assert!(NAMES.iter().all(|(_, op)| all.has(*op)));
        let none = Kinds::parse("ops", "none").expect("valid");
        assert!(NAMES.iter().all(|(_, op)| !none.has(*op)));
    }

    #[test]
    fn an_unknown_word_is_named() {
        let error = Kinds::parse("ops", "read,wirte").expect_err("not a kind").to_string();
        assert!(error.contains("ops: `wirte`") && error.contains("write"), "{error}");
    }
}
