//! The parameters that the shell carries out itself, and so under every driver.

use std::collections::BTreeMap;

use super::{ActivationClass, ParamKind, ParamSpec, Range, Value};

/// Bounds of `io_slots`.
pub const IO_SLOTS: std::ops::RangeInclusive<u64> = 128..=10_240;
/// Bounds of `max_transfer`, bytes.
pub const MAX_TRANSFER: std::ops::RangeInclusive<u64> = 131_072..=1_388_544;
/// Most requests that `io_throttle` can allow.
const MAX_THROTTLE: u64 = 8192;
/// Longest time-out, seconds.
const MAX_TIMEOUT_S: u64 = 600;
/// Speeds that `link_speed` can be fixed at, Gb/s.
const SPEEDS_GBPS: [&str; 9] = ["1", "2", "4", "8", "10", "16", "25", "32", "64"];

/// Bits of `log_mask`: which messages of a port reach the log.
pub mod log_mask {
    /// The driver's errors.
    pub const DRIVER_ERROR: u32 = 1 << 0;
    /// The driver's warnings.
    pub const DRIVER_WARN: u32 = 1 << 1;
    /// What the driver says in the ordinary course of things.
    pub const DRIVER_INFO: u32 = 1 << 2;
    /// The driver's details.
    pub const DRIVER_DEBUG: u32 = 1 << 3;
    /// The driver's every step.
    pub const DRIVER_TRACE: u32 = 1 << 4;
    /// The shell on requests that were aborted.
    pub const TIMEOUT: u32 = 1 << 8;
    /// The shell on calls that a driver should not have made.
    pub const FAULT: u32 = 1 << 9;
    /// Everything.
    pub const ALL: u32 = u32::MAX;

    /// Every bit that means something, with what it lets through.
    pub const BITS: [(u32, &str); 7] = [
        (DRIVER_ERROR, "the driver's errors"),
        (DRIVER_WARN, "its warnings"),
        (DRIVER_INFO, "its information"),
        (DRIVER_DEBUG, "its details"),
        (DRIVER_TRACE, "its every step"),
        (TIMEOUT, "requests that were aborted"),
        (FAULT, "calls that the driver should not have made"),
    ];

    /// The parameter in a line, with every bit.
    pub(super) fn help() -> String {
        let bits: Vec<String> = BITS.iter().map(|(bit, what)| format!("{bit:#x} {what}")).collect();
        format!(
            "which messages reach the log, by bit: {}; what is done to the port, and by whom, is logged in any case",
            bits.join(", ")
        )
    }
}

/// Whether a port is to serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AdminState {
    /// It has a driver.
    #[default]
    Up,
    /// It is kept without one, across starts too.
    Down,
}

/// Defaults that are the daemon's and not a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShellDefaults {
    /// Of `io_slots`.
    pub io_slots: u32,
    /// Of `max_transfer`, bytes.
    pub max_transfer: u32,
}

impl Default for ShellDefaults {
    fn default() -> ShellDefaults {
        ShellDefaults { io_slots: 1024, max_transfer: 339_968 }
    }
}

/// The values of the shell's own parameters on one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShellParams {
    /// Whether the port is to serve.
    pub admin_state: AdminState,
    /// Most requests that the driver has at a time, over all queues; 0: as many as there are slots.
    pub io_throttle: u32,
    /// Request slots, over all queues.
    pub io_slots: u32,
    /// How long requests in flight are waited for before an update or an activation is given up, seconds.
    pub drain_timeout_s: u32,
    /// How long a request may take before it is aborted, seconds; 0: for ever.
    pub request_timeout_s: u32,
    /// Largest request that is passed on to the driver, bytes.
    pub max_transfer: u32,
    /// Rate limit, Gb/s; 0: none.
    pub link_speed_gbps: u32,
    /// Bits of [`log_mask`].
    pub log_mask: u32,
}

impl ShellParams {
    /// From values that were resolved against a [`table`].
    pub fn from_values(values: &BTreeMap<String, Value>, defaults: ShellDefaults) -> ShellParams {
        let number = |name: &str, default: u32| match values.get(name) {
            Some(Value::U64(v)) => u32::try_from(*v).unwrap_or(u32::MAX),
            _ => default,
        };
        let word = |name: &str| match values.get(name) {
            Some(Value::Enum { text, .. }) => text.as_str(),
            _ => "",
        };
        ShellParams {
            admin_state: if word("admin_state") == "down" { AdminState::Down } else { AdminState::Up },
            io_throttle: number("io_throttle", 0),
            io_slots: number("io_slots", defaults.io_slots),
            drain_timeout_s: number("drain_timeout", 45),
            request_timeout_s: number("request_timeout", 30),
            max_transfer: number("max_transfer", defaults.max_transfer),
            link_speed_gbps: word("link_speed").parse().unwrap_or(0),
            log_mask: number("log_mask", log_mask::ALL),
        }
    }

    /// Nanoseconds that one byte takes at `link_speed`, in 1/1024; 0 without a limit.
    pub fn byte_cost(&self) -> u64 {
        // 8 bits at N Gb/s take 8/N ns.
        if self.link_speed_gbps == 0 { 0 } else { 8 * 1024 / u64::from(self.link_speed_gbps) }
    }
}

impl Default for ShellParams {
    fn default() -> ShellParams {
        ShellParams::from_values(&BTreeMap::new(), ShellDefaults::default())
    }
}

/// The shell's parameters.
pub fn shell_table(defaults: ShellDefaults) -> Vec<ParamSpec> {
    use ActivationClass::{Live, Reinit};
    let number = |name: &str, range: std::ops::RangeInclusive<u64>, default: u64| {
        let mut spec = ParamSpec::new(name, ParamKind::U32);
        spec.range = Some(Range::Unsigned(*range.start(), *range.end()));
        spec.default = Some(Value::U64(default));
        spec
    };
    let choice = |name: &str, words: &[&str]| {
        let mut spec = ParamSpec::new(name, ParamKind::Enum);
        spec.range = Some(Range::Choices(words.iter().map(|w| (*w).to_owned()).collect()));
        spec.default = words.first().map(|w| Value::Enum { index: 0, text: (*w).to_owned() });
        spec
    };
    let with = |mut spec: ParamSpec, class, unit: &str, help: &str| {
        (spec.class, spec.unit, spec.help) = (class, unit.to_owned(), help.to_owned());
        spec
    };
    let speeds: Vec<&str> = std::iter::once("auto").chain(SPEEDS_GBPS).collect();
    let mut transfer = number("max_transfer", MAX_TRANSFER, u64::from(defaults.max_transfer));
    transfer.kind = ParamKind::Size;
    let mut mask = number("log_mask", 0..=u64::from(u32::MAX), u64::from(log_mask::ALL));
    mask.range = None;
    vec![
        with(
            choice("admin_state", &["up", "down"]),
            Reinit,
            "",
            "whether the port serves, across starts too",
        ),
        with(
            number("io_throttle", 0..=MAX_THROTTLE, 0),
            Live,
            "requests",
            "most requests that the driver has at a time (0: as many as there are slots)",
        ),
        with(
            number("io_slots", IO_SLOTS, u64::from(defaults.io_slots)),
            Reinit,
            "requests",
            "request slots, allocated ahead",
        ),
        with(
            number("drain_timeout", 0..=MAX_TIMEOUT_S, 45),
            Live,
            "s",
            "wait for requests in flight before an update or an activation goes back",
        ),
        with(
            number("request_timeout", 0..=MAX_TIMEOUT_S, 30),
            Live,
            "s",
            "abort a request that takes longer (0: never)",
        ),
        with(transfer, Reinit, "bytes", "largest request that is passed on to the driver"),
        with(choice("link_speed", &speeds), Reinit, "Gb/s", "rate limit of the port (auto: none)"),
        with(mask, Live, "", &log_mask::help()),
    ]
}

/// Whether the shell carries a parameter out itself.
pub fn is_shells(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "admin_state",
        "io_throttle",
        "io_slots",
        "drain_timeout",
        "request_timeout",
        "max_transfer",
        "link_speed",
        "log_mask",
    ];
    NAMES.contains(&name)
}

/// Every parameter of a port under a driver: the driver's own, and then the shell's. Of two with one name
/// the shell's counts.
pub fn table(of_driver: &[ParamSpec], defaults: ShellDefaults) -> Vec<ParamSpec> {
    let own = of_driver.iter().filter(|spec| !is_shells(&spec.name)).cloned();
    own.chain(shell_table(defaults)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::resolve;
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn names_and_table_are_the_same() {
        let all = shell_table(ShellDefaults::default());
        assert!(all.iter().all(|spec| is_shells(&spec.name)));
        assert_eq!(all.len(), 8);
        assert!(!is_shells("direct"));
    }

    #[test]
    fn defaults_are_those_of_the_table() {
        let defaults = ShellDefaults { io_slots: 256, max_transfer: 131_072 };
        let values = resolve(&table(&[], defaults), &BTreeMap::new()).expect("all have defaults");
        let params = ShellParams::from_values(&values, defaults);
        assert_eq!(params, ShellParams::from_values(&BTreeMap::new(), defaults));
        assert_eq!((params.io_slots, params.request_timeout_s, params.drain_timeout_s), (256, 30, 45));
        assert_eq!(params.log_mask, log_mask::ALL);
    }

    #[test]
    fn every_bit_of_the_mask_is_explained() {
        let all = shell_table(ShellDefaults::default());
        let help = &all.iter().find(|spec| spec.name == "log_mask").expect("there").help;
        for bit in ["0x1 ", "0x2 ", "0x4 ", "0x8 ", "0x10 ", "0x100 ", "0x200 "] {
            assert!(help.contains(bit), "{bit}: {help}");
        }
    }

    #[test]
    fn zero_is_a_value() {
        let defaults = ShellDefaults::default();
        let set = given(&[("request_timeout", "0"), ("drain_timeout", "0"), ("log_mask", "0x0")]);
        let params =
            ShellParams::from_values(&resolve(&table(&[], defaults), &set).expect("allowed"), defaults);
        assert_eq!((params.request_timeout_s, params.drain_timeout_s, params.log_mask), (0, 0, 0));
    }

    #[test]
    fn a_speed_is_a_cost_by_the_byte() {
        let defaults = ShellDefaults::default();
        let at = |speed: &str| {
            let values = resolve(&table(&[], defaults), &given(&[("link_speed", speed)])).expect("allowed");
            ShellParams::from_values(&values, defaults).byte_cost()
        };
        assert_eq!((at("auto"), at("1"), at("8"), at("64")), (0, 8192, 1024, 128));
        let wrong =
            resolve(&table(&[], defaults), &given(&[("link_speed", "40")])).expect_err("no such speed");
        assert!(wrong[0].to_string().contains("auto, 1, 2, 4, 8, 10, 16, 25, 32, 64"), "{}", wrong[0]);
    }

    #[test]
    fn a_driver_cannot_take_a_name_of_the_shells() {
        let own = [ParamSpec::new("io_slots", ParamKind::Bool), ParamSpec::new("direct", ParamKind::Bool)];
        let all = table(&own, ShellDefaults::default());
        assert_eq!(all.iter().filter(|s| s.name == "io_slots").count(), 1);
        assert!(all.iter().any(|s| s.name == "io_slots" && s.kind == ParamKind::U32));
    }
}
