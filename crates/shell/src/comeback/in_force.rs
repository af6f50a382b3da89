//! Which set of parameters a port comes up with: the one that is saved, unless that takes a word that nobody has said.
//!
//! A saved set waits for an activation, and an activation asks before it makes a device smaller or puts other contents
//! there. A start has nobody to ask. So what it would have to ask about goes on waiting, and the port comes up with the
//! set that served last; only what the daemon's own configuration was edited to since is taken at its word.

use crate::properties::Definitions;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What was in force on a port, as it was last noted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Every definition in force.
    pub set: Definitions,
    /// What the daemon's own configuration said of its parameters then.
    pub given: BTreeMap<String, String>,
    /// Bytes of each device, by its number.
    pub sizes: BTreeMap<u32, u64>,
    /// What was open, and which file or device it was.
    pub behind: BTreeMap<String, String>,
}

/// A value that is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Parameter.
    pub name: String,
    /// What it was; none where it had no value.
    pub was: Option<String>,
    /// What it is, or would be.
    pub is: Option<String>,
}

/// Where two sets of values differ.
pub fn differences(was: &BTreeMap<String, String>, is: &BTreeMap<String, String>) -> Vec<Difference> {
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let value = |set: &BTreeMap<String, String>, name: &str| set.get(name).cloned();
    let all = names.into_iter().map(|name| Difference {
        name: name.clone(),
        was: value(was, name),
        is: value(is, name),
    });
    all.filter(|difference| difference.was != difference.is).collect()
}

/// The values that are to be, for people.
pub fn values(differences: &[Difference]) -> String {
    let one = |d: &Difference| match &d.is {
        Some(value) => format!("{} = {value}", d.name),
        None => format!("no {}", d.name),
    };
    differences.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// From which to which values, for people.
pub fn steps(differences: &[Difference]) -> String {
    let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "undefined".to_owned());
    let one = |d: &Difference| format!("{} {} -> {}", d.name, or(&d.was), or(&d.is));
    differences.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl InForce {
    /// Which of those names something else than what was behind the port, in words. `identity` says which file or device
    /// a path leads to now.
    pub fn other_contents(
        &self,
        differences: &[Difference],
        identity: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        differences.iter().find_map(|Difference { name, was, is }| {
            let was = was.as_ref()?;
            let known = self.behind.get(was)?;
            let is = is.clone().unwrap_or_default();
            let next = match known.starts_with(DEVICE) {
                true => Some(format!("{DEVICE}{is}")),
                false => identity(&is),
            };
            let same = next.is_some() && (next.as_ref() == Some(known) || next == identity(was));
            (!same).then(|| {
                format!(
                    "{name} = `{is}` is not known to have the same contents as `{was}`, which served last"
                )
            })
        })
    }
}

/// What a device of the daemon begins with, as something that is behind a port.
pub const DEVICE: &str = "device:";

#[cfg(test)]
mod tests {
    use super::*;

    fn set(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_leads_to_something_else_is_found_and_what_leads_to_the_same_is_not() {
        let behind = set(&[("/a", "file:1:10"), ("vol0", "device:vol0")]);
        let known = InForce { behind, ..InForce::default() };
        let identity = |path: &str| match path {
            "/a" | "/link-to-a" => Some("file:1:10".to_owned()),
            "/b" => Some("file:1:11".to_owned()),
            _ => None,
        };
        let other = |from: &str, to: &str| {
            known.other_contents(&differences(&set(&[("path", from)]), &set(&[("path", to)])), identity)
        };
        assert!(other("/a", "/b").is_some_and(|why| why.contains("`/b`") && why.contains("`/a`")));
        assert!(other("/a", "/nowhere").is_some(), "not known to be the same");
        assert!(other("vol0", "vol1").is_some());
        assert_eq!(other("/a", "/link-to-a"), None);
        assert_eq!(other("/never-open", "/b"), None);
        assert!(known.other_contents(&differences(&set(&[("path", "/a")]), &set(&[])), identity).is_some());
    }

    #[test]
    fn differences_are_said_both_ways() {
        let all = differences(&set(&[("a", "1"), ("b", "2"), ("c", "3")]), &set(&[("a", "1"), ("b", "4")]));
        assert_eq!(steps(&all), "b 2 -> 4, c 3 -> undefined");
        assert_eq!(values(&all), "b = 4, no c");
    }
}
