//! The saved set of a port, and whether it will do.
//!
//! ```text
//!  [port.NAME] of the driver's file      wins; can undefine what is below
//!  the daemon's own configuration        [device.X], [adapter.X], --device
//!  [global] of the driver's file
//! ```

use crate::{DriverFile, Section};
use std::collections::BTreeMap;
use std::fmt;
use steadfast_shell::params::{ParamError, ParamSpec, Value, resolve};
use steadfast_shell::properties::{Definition, Definitions, Said, Source, values_of};

/// Which part of the saved configuration says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// `[global]` of the driver's file.
    Global,
    /// The daemon's own configuration, or its command line.
    Daemon,
    /// `[port.NAME]` of the driver's file.
    Port,
}

impl Origin {
    /// The part as messages name it.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Global => "the driver's file, for every port",
            Origin::Daemon => "the daemon's configuration",
            Origin::Port => "the driver's file, for this port",
        }
    }
}

/// What one part says of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layered {
    /// Which part.
    pub origin: Origin,
    /// Value; none: it undefines the parameter.
    pub value: Option<String>,
    /// Where it was said.
    pub source: Source,
    /// It is the last word on the parameter.
    pub counts: bool,
}

/// All that is saved for one port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    said: BTreeMap<String, Vec<Layered>>,
}

impl Saved {
    /// What a driver's file and the daemon's own configuration (`given`) save for a port.
    pub fn of(file: &DriverFile, given: &[Said], port: &str) -> Saved {
        let mut saved = Saved::default();
        saved.section(file, &Section::Global, Origin::Global);
        for (name, definition) in given {
            // The daemon's configuration has no way to undefine.
            if let Some(Definition { value, source }) = definition.clone() {
                saved.say(name, Origin::Daemon, Some(value), source);
            }
        }
        saved.section(file, &Section::port(port), Origin::Port);
        saved
    }

    fn section(&mut self, file: &DriverFile, section: &Section, origin: Origin) {
        for entry in file.entries(section) {
            self.say(&entry.name, origin, entry.value.clone(), file.source(entry.line));
        }
    }

    fn say(&mut self, name: &str, origin: Origin, value: Option<String>, source: Source) {
        let said = self.said.entry(name.to_owned()).or_default();
        said.iter_mut().for_each(|before| before.counts = false);
        said.push(Layered { origin, value, source, counts: true });
    }

    /// What it all comes to.
    pub fn definitions(&self) -> Definitions {
        let last = |(name, said): (&String, &Vec<Layered>)| {
            let last = said.last()?;
            let definition = Definition { value: last.value.clone()?, source: last.source.clone() };
            Some((name.clone(), definition))
        };
        self.said.iter().filter_map(last).collect()
    }

    /// All that is said of a parameter, the lowest first.
    pub fn explain(&self, name: &str) -> &[Layered] {
        self.said.get(name).map_or(&[], Vec::as_slice)
    }

    /// Parameters that anything is said of.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.said.keys().map(String::as_str)
    }
}

/// Why a set will not do, and which definitions are to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetFault {
    /// What is wrong.
    pub error: ParamError,
    /// The parameters that it is about, each with where its value was said; none: it is the default.
    pub places: Vec<(String, Option<Source>)>,
}

impl SetFault {
    /// A fault of a set with those definitions.
    pub fn new(error: ParamError, definitions: &Definitions) -> SetFault {
        let mut names = vec![error.name().to_owned()];
        if let ParamError::Pair { other, .. } = &error {
            names.push(other.clone());
        }
        let place = |name: String| {
            let source = definitions.get(&name).map(|definition| definition.source.clone());
            (name, source)
        };
        SetFault { error, places: names.into_iter().map(place).collect() }
    }

    /// Where the value to blame was said; none where no value was.
    pub fn place(&self) -> Option<&Source> {
        self.places.iter().find_map(|(_, source)| source.as_ref())
    }

    /// What is wrong, without that place; of a pair, where each was said.
    pub fn message(&self) -> String {
        let mut message = self.error.to_string();
        if self.places.len() > 1 {
            for (i, (name, source)) in self.places.iter().enumerate() {
                message.push_str(if i == 0 { "; " } else { ", " });
                message.push_str(&match source {
                    Some(source) => format!("{name} is from {source}"),
                    None => format!("{name} is the default"),
                });
            }
        }
        message
    }
}

impl fmt::Display for SetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Some(source) => write!(f, "{source}: {}", self.message()),
            None => f.write_str(&self.message()),
        }
    }
}

impl std::error::Error for SetFault {}

/// Judges a whole set against the parameters of a port and fills in the defaults.
///
/// # Errors
/// Every fault, each with where the value to blame was said.
pub fn validate(
    table: &[ParamSpec],
    definitions: &Definitions,
) -> Result<BTreeMap<String, Value>, Vec<SetFault>> {
    resolve(table, &values_of(definitions))
        .map_err(|errors| errors.into_iter().map(|e| SetFault::new(e, definitions)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use steadfast_shell::params::{ParamKind, ShellDefaults, table};

    const FILE: &str = "\
[global]
io_throttle = 64
request_timeout = 60
[port.vol0]
io_throttle = 0
undefine = [\"request_timeout\"]
[port.vol1]
io_slots = 20000
link_speed = 40
";

    fn file(text: &str) -> DriverFile {
        DriverFile::parse(Path::new("parameters/file.toml"), "file", text).expect("good")
    }

    fn given(name: &str, value: &str, line: u32) -> Said {
        let source = Source::File { path: "steadfast.toml".to_owned(), line };
        (name.to_owned(), Some(Definition { value: value.to_owned(), source }))
    }

    fn specs() -> Vec<ParamSpec> {
        let delay = |name: &str, default: i64| {
            let mut spec = ParamSpec::new(name, ParamKind::I64);
            spec.default = Some(Value::I64(default));
            spec
        };
        table(&[delay("fast_fail_delay", 5), delay("failover_delay", 30)], ShellDefaults::default())
    }

    fn faults(text: &str, given: &[Said], port: &str) -> Vec<String> {
        let definitions = Saved::of(&file(text), given, port).definitions();
        match validate(&specs(), &definitions) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_port_wins_over_the_daemon_and_the_daemon_over_global() {
        let saved = Saved::of(&file(FILE), &[given("io_throttle", "32", 7)], "vol0");
        let definitions = saved.definitions();
        assert_eq!(definitions["io_throttle"].value, "0", "zero is a value");
        assert_eq!(definitions["io_throttle"].source.to_string(), "parameters/file.toml:5");
        assert!(!definitions.contains_key("request_timeout"), "undefined for this port");
        let other = Saved::of(&file(FILE), &[given("io_throttle", "32", 7)], "vol2").definitions();
        assert_eq!(other["io_throttle"].source.to_string(), "steadfast.toml:7");
        assert_eq!(other["request_timeout"].value, "60");
    }

    #[test]
    fn every_word_on_a_parameter_can_be_shown_with_its_place() {
        let saved = Saved::of(&file(FILE), &[given("request_timeout", "90", 7)], "vol0");
        let shown: Vec<String> = saved
            .explain("request_timeout")
            .iter()
            .map(|l| format!("{} {:?} {} {}", l.origin.name(), l.value, l.source, l.counts))
            .collect();
        assert_eq!(
            shown,
            [
                "the driver's file, for every port Some(\"60\") parameters/file.toml:3 false",
                "the daemon's configuration Some(\"90\") steadfast.toml:7 false",
                "the driver's file, for this port None parameters/file.toml:6 true",
            ]
        );
        assert!(saved.explain("io_slots").is_empty());
    }

    // Complaints 2 and 10: out of range is refused, and the message names all there is to know.
    #[test]
    fn out_of_range_is_refused_with_value_range_file_and_line() {
        assert_eq!(
            faults(FILE, &[], "vol1"),
            [
                "parameters/file.toml:8: out of range: io_slots=20000 (allowed 128..=10240)",
                "parameters/file.toml:9: not a choice: link_speed=40 \
                 (allowed auto, 1, 2, 4, 8, 10, 16, 25, 32, 64)",
            ]
        );
        assert_eq!(
            faults("[port.a]\nio_slot = 5\n", &[], "a"),
            ["parameters/file.toml:2: unknown parameter: io_slot (did you mean io_slots?)"]
        );
    }

    // Complaint 3: values that must suit each other are judged together, in any order.
    #[test]
    fn a_pair_is_named_with_both_places_and_no_order_matters() {
        let both = "[global]\nfast_fail_delay = 100\n[port.a]\nfailover_delay = 50\n";
        assert_eq!(
            faults(both, &[], "a"),
            ["parameters/file.toml:2: do not suit each other: fast_fail_delay=100 and failover_delay=50 \
              (allowed fast_fail_delay <= failover_delay, unless that is -1); \
              fast_fail_delay is from parameters/file.toml:2, failover_delay is from parameters/file.toml:4"]
        );
        let alone = faults("[port.a]\nfailover_delay = 3\n", &[], "a");
        assert!(alone[0].starts_with("parameters/file.toml:2: "), "{alone:?}");
        assert!(
            alone[0]
                .ends_with("fast_fail_delay is the default, failover_delay is from parameters/file.toml:2")
        );
        let larger = "[port.a]\nfast_fail_delay = 100\nfailover_delay = 200\n";
        assert!(faults(larger, &[], "a").is_empty());
        assert!(faults("[port.a]\nfailover_delay = 200\nfast_fail_delay = 100\n", &[], "a").is_empty());
    }

    // Complaint 4: zero is not "unset".
    #[test]
    fn zero_is_a_value_and_stays_one() {
        let set = "[global]\nrequest_timeout = 60\n[port.a]\nrequest_timeout = 0\n";
        let definitions = Saved::of(&file(set), &[], "a").definitions();
        let values = validate(&specs(), &definitions).expect("allowed");
        assert_eq!(values["request_timeout"], Value::U64(0));
        assert_eq!(faults("[port.a]\nlog_mask = 0\n", &[], "a").len(), 0);
    }
}
