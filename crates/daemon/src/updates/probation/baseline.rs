//! How ports did in the last minutes under the drivers that they have: what a new driver is compared
//! with.

use super::lock;
use crate::app::App;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;
use steadfast_shell::probation::{Observed, Sample};

/// The numbers of each port a while ago. None is older than its driver.
#[derive(Debug, Default)]
pub(crate) struct Baselines(Mutex<BTreeMap<String, Slots>>);

#[derive(Debug)]
struct Slots {
    older: Sample,
    newer: Sample,
}

impl Baselines {
    /// How often each port's numbers are taken. A comparison is with the last one to two of these.
    pub(crate) const EVERY: Duration = Duration::from_secs(60);

    /// A port has a new driver, or has just come: what was before is forgotten.
    pub(crate) fn restart(&self, port: &str, now: Sample) {
        let slots = Slots { older: now.clone(), newer: now };
        lock(&self.0).insert(port.to_owned(), slots);
    }

    /// What a port did until `now`, in the last minutes; nothing where that is not known, for the
    /// numbers are of a part of the port.
    pub(crate) fn until(&self, port: &str, now: &Sample) -> Observed {
        match lock(&self.0).get(port) {
            _ if !now.responsive => Observed::default(),
            Some(slots) if !slots.older.responsive => Observed::default(),
            Some(slots) => now.since(&slots.older),
            // Since it was attached.
            None => now.since(&Sample::default()),
        }
    }

    fn turn(&self, port: &str, now: Sample) {
        let mut all = lock(&self.0);
        match all.get_mut(port) {
            // The driver's first numbers of the whole port.
            Some(slots) if !slots.newer.responsive => *slots = Slots { older: now.clone(), newer: now },
            Some(slots) => slots.older = std::mem::replace(&mut slots.newer, now),
            None => drop(all.insert(port.to_owned(), Slots { older: now.clone(), newer: now })),
        }
    }

    fn keep(&self, ports: &[String]) {
        let ports: BTreeSet<&String> = ports.iter().collect();
        lock(&self.0).retain(|port, _| ports.contains(port));
    }

    /// Takes the numbers of every port.
    pub(crate) fn turn_all(app: &App) {
        let ports = app.engine.port_names();
        app.baselines.keep(&ports);
        for port in &ports {
            // Numbers of a part of the port would make the rest look like a burst later.
            if let Some(sample) = app.sample(port).filter(|sample| sample.responsive) {
                app.baselines.turn(port, sample);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Sample {
        Sample {
            at_ns: seconds * 1_000_000_000,
            requests: seconds * 10,
            responsive: true,
            ..Sample::default()
        }
    }

    #[test]
    fn numbers_of_a_part_of_a_port_are_no_baseline() {
        let baselines = Baselines::default();
        let part = |seconds| Sample { responsive: false, ..at(seconds) };
        assert_eq!(baselines.until("vol0", &part(5)).requests, 0);
        baselines.restart("vol0", part(10));
        assert_eq!(baselines.until("vol0", &at(20)).requests, 0, "what was left out would look like a burst");
        baselines.turn("vol0", at(60));
        assert_eq!(baselines.until("vol0", &at(70)).requests, 100);
    }

    #[test]
    fn a_baseline_is_of_the_last_minutes_and_of_one_driver() {
        let baselines = Baselines::default();
        assert_eq!(baselines.until("vol0", &at(5)).requests, 50, "all there is");
        for minute in 1..5 {
            baselines.turn("vol0", at(60 * minute));
        }
        let observed = baselines.until("vol0", &at(250));
        assert_eq!((observed.ms, observed.requests), (70_000, 700));
        baselines.restart("vol0", at(251));
        assert_eq!(baselines.until("vol0", &at(256)).requests, 50, "the new driver's alone");
        baselines.keep(&[]);
        assert_eq!(baselines.until("vol0", &at(5)).requests, 50, "another port of that name");
    }
}
