//! The modelled parameters of a port, in a real table, and what they do to the modelled driver.

use std::collections::BTreeMap;
use steadfast_shell::params::{ActivationClass, ParamKind, ParamSpec, Range, Value, resolve};
use steadfast_shell::properties::{Definition, Definitions, Source};

/// A set of values as it is given, by name.
pub(crate) type Given = BTreeMap<String, String>;

/// Requests that a driver works on at a time, per queue; not more than there are slots.
pub(crate) const DEPTH: &str = "lun_queue_depth";
/// Request slots, per queue.
pub(crate) const SLOTS: &str = "io_slots";
/// How the driver attaches; with `broken` it does not.
pub(crate) const LINK: &str = "link";
/// Takes effect at once.
pub(crate) const THROTTLE: &str = "io_throttle";

const LINKS: [&str; 3] = ["plain", "careful", "broken"];

/// The values of one port, as its driver and its lanes have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values {
    pub(crate) depth: u8,
    pub(crate) slots: u8,
    pub(crate) link: u8,
    pub(crate) throttle: u8,
}

impl Values {
    pub(crate) fn is_broken(self) -> bool {
        LINKS[usize::from(self.link)] == "broken"
    }
}

thread_local! {
    static TABLE: Vec<ParamSpec> = make();
}

fn make() -> Vec<ParamSpec> {
    let number = |name: &str, (min, max): (u64, u64), default: u64, class| ParamSpec {
        range: Some(Range::Unsigned(min, max)),
        default: Some(Value::U64(default)),
        class,
        ..ParamSpec::new(name, ParamKind::U32)
    };
    let link = ParamSpec {
        range: Some(Range::Choices(LINKS.map(str::to_owned).to_vec())),
        default: Some(Value::Enum { index: 0, text: LINKS[0].to_owned() }),
        ..ParamSpec::new(LINK, ParamKind::Enum)
    };
    let (live, reinit) = (ActivationClass::Live, ActivationClass::Reinit);
    vec![
        number(DEPTH, (1, 4), 4, reinit),
        number(SLOTS, (1, 6), 6, reinit),
        link,
        number(THROTTLE, (0, 8), 0, live),
    ]
}

/// Judges a set with the real code.
pub(crate) fn judge(given: &Given) -> Result<Values, String> {
    let values = TABLE
        .with(|table| resolve(table, given))
        .map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let number = |name: &str| match values.get(name) {
        Some(Value::U64(v)) => *v as u8,
        Some(Value::Enum { index, .. }) => *index as u8,
        _ => 0,
    };
    Ok(Values { depth: number(DEPTH), slots: number(SLOTS), link: number(LINK), throttle: number(THROTTLE) })
}

/// Definitions of a set.
pub(crate) fn define(given: &Given) -> Definitions {
    let definition =
        |value: &String| Definition { value: value.clone(), source: Source::Option { text: String::new() } };
    given.iter().map(|(name, value)| (name.clone(), definition(value))).collect()
}

/// Parameters whose value is another one in `saved` than in `current`, as the real code finds them.
pub(crate) fn pending(current: &Given, saved: &Given) -> usize {
    TABLE.with(|table| {
        let current = resolve(table, current).unwrap_or_default();
        steadfast_shell::properties::pending(table, &current, saved).map_or(usize::MAX, |all| all.len())
    })
}
