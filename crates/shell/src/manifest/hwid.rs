use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Hardware that a driver serves: `bus:id`, `*` standing for any text within it, and the revisions
/// behind it, `@MIN-MAX`, where not all are meant. For example `file:regular`, `pci:1af4:10*@1-3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HwId {
    /// `bus:id`, with wildcards.
    pub pattern: String,
    /// First and last revision served; all when none.
    pub revisions: Option<(u32, u32)>,
}

impl HwId {
    /// Longest pattern, bytes.
    pub const MAX_PATTERN: usize = 128;

    const FORM: &'static str =
        "BUS:ID with '*' for any text, and @MIN-MAX behind it for revisions; printable, no spaces";

    /// Whether it names that hardware.
    pub fn matches(&self, hwid: &str, revision: u32) -> bool {
        let revision_fits = self.revisions.is_none_or(|(min, max)| (min..=max).contains(&revision));
        revision_fits && glob(self.pattern.as_bytes(), hwid.as_bytes())
    }
}

/// `*` matches any text. Goes back to the last star only, so that it takes at most
/// pattern × text steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after_star, from)) = retry {
            (p, t) = (after_star, from + 1);
            retry = Some((after_star, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

impl FromStr for HwId {
    type Err = String;

    fn from_str(text: &str) -> Result<HwId, String> {
        let form = || HwId::FORM.to_owned();
        let (pattern, revisions) = match text.rsplit_once('@') {
            Some((pattern, range)) => (pattern, Some(revisions(range).ok_or_else(form)?)),
            None => (text, None),
        };
        let (bus, id) = pattern.split_once(':').ok_or_else(form)?;
        let printable = pattern.bytes().all(|b| b.is_ascii_graphic());
        if bus.is_empty() || id.is_empty() || !printable || pattern.len() > HwId::MAX_PATTERN {
            return Err(form());
        }
        Ok(HwId { pattern: pattern.to_owned(), revisions })
    }
}

fn revisions(text: &str) -> Option<(u32, u32)> {
    let number = |text| super::schema::decimal::<u32>(text);
    let (min, max) = text.split_once('-')?;
    let (min, max) = (number(min)?, number(max)?);
    (min <= max).then_some((min, max))
}

impl fmt::Display for HwId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)?;
        match self.revisions {
            Some((min, max)) => write!(f, "@{min}-{max}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for HwId {
    type Error = String;

    fn try_from(text: String) -> Result<HwId, String> {
        text.parse()
    }
}

impl From<HwId> for String {
    fn from(id: HwId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::HwId;

    fn matches(id: &str, hwid: &str, revision: u32) -> bool {
        id.parse::<HwId>().unwrap().matches(hwid, revision)
    }

    #[test]
    fn wildcards_stand_for_any_text() {
        assert!(matches("file:regular", "file:regular", 0));
        assert!(!matches("file:regular", "file:block", 0));
        assert!(matches("file:*", "file:block", 0));
        assert!(matches("pci:1af4:*2", "pci:1af4:1042", 0));
        assert!(matches("pci:*f4*2", "pci:1af4:1042", 0));
        assert!(!matches("pci:1af4:*2", "pci:1af4:1043", 0));
        assert!(matches("*:*", "usb:", 0));
        assert!(!matches("file:*", "", 0));
    }

    #[test]
    fn revisions_are_inclusive() {
        assert!(!matches("pci:a@2-4", "pci:a", 1));
        assert!(matches("pci:a@2-4", "pci:a", 2));
        assert!(matches("pci:a@2-4", "pci:a", 4));
        assert!(!matches("pci:a@2-4", "pci:a", 5));
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = format!("b:{}b", "*a".repeat(60));
        assert!(!matches(&pattern, &format!("b:{}", "a".repeat(10_000)), 0));
    }

    #[test]
    fn odd_ids_are_refused_and_good_ones_print_as_they_were() {
        for text in ["", "file", ":x", "file:", "a:b@", "a:b@3", "a:b@4-2", "a:b@-2", "a: b", "a:b@01-2"] {
            assert!(text.parse::<HwId>().is_err(), "{text:?}");
        }
        for text in ["file:regular", "pci:1af4:*@1-3", "*:*"] {
            assert_eq!(text.parse::<HwId>().unwrap().to_string(), text);
        }
    }
}
