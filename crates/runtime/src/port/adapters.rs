//! Which adapters there are, and which of their port numbers are taken.
//!
//! An adapter is there as long as it has a port. Its number is never another's while the engine runs, so
//! a driver that remembers one cannot mean another adapter by it.

use crate::error::{EngineError, ErrorKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use steadfast_shell::sync::lock;

/// Which adapter a port is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterRef {
    /// The adapter's name.
    pub name: String,
    /// The port's number within it.
    pub number: u32,
}

#[derive(Debug, Default)]
struct Known {
    next: u32,
    /// Number and the port numbers that are taken, by name.
    adapters: BTreeMap<String, (u32, Vec<u32>)>,
}

/// The adapters of an engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Adapters(Arc<Mutex<Known>>);

/// A port's place at its adapter, until it is left.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) adapter: AdapterRef,
    /// The adapter's number, as drivers see it.
    pub(crate) adapter_number: u32,
    /// Its own; a candidate on trial sits where the port does that it is tried for.
    own: Option<Adapters>,
}

impl Adapters {
    /// Takes a place. The adapter comes to be with its first port.
    ///
    /// # Errors
    /// `Exists`: another port has that number.
    pub(crate) fn take(&self, port: &str, adapter: AdapterRef) -> Result<Seat, EngineError> {
        let mut known = lock(&self.0);
        let next = known.next;
        let (adapter_number, taken) =
            known.adapters.entry(adapter.name.clone()).or_insert_with(|| (next, Vec::new()));
        if taken.contains(&adapter.number) {
            let AdapterRef { name, number } = &adapter;
            let what = format!("port {port}: adapter {name} has a port of number {number} already");
            return Err(EngineError::new(ErrorKind::Exists, what));
        }
        taken.push(adapter.number);
        let adapter_number = *adapter_number;
        known.next += u32::from(adapter_number == next);
        Ok(Seat { adapter, adapter_number, own: Some(self.clone()) })
    }

    /// The lowest port number of an adapter that nobody has.
    pub(crate) fn free_number(&self, adapter: &str) -> u32 {
        let known = lock(&self.0);
        let taken = known.adapters.get(adapter).map_or(&[][..], |(_, taken)| taken);
        (0..).find(|number| !taken.contains(number)).unwrap_or_default()
    }
}

impl Seat {
    /// The same place, for a candidate beside the port that has it.
    pub(crate) fn beside(&self) -> Seat {
        Seat { adapter: self.adapter.clone(), adapter_number: self.adapter_number, own: None }
    }

    /// Gives the place up: the port is gone, though clients may know it still.
    pub(crate) fn leave(&self) {
        let Some(adapters) = &self.own else { return };
        let mut known = lock(&adapters.0);
        let AdapterRef { name, number } = &self.adapter;
        // By the adapter's number, so that leaving twice takes no place from one that came later.
        let Some((_, taken)) = known.adapters.get_mut(name).filter(|(n, _)| *n == self.adapter_number) else {
            return;
        };
        taken.retain(|other| other != number);
        if taken.is_empty() {
            known.adapters.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, number: u32) -> AdapterRef {
        AdapterRef { name: name.into(), number }
    }

    #[test]
    fn ports_of_one_adapter_share_its_number_and_have_their_own() {
        let adapters = Adapters::default();
        let a0 = adapters.take("a0", of("san0", 0)).expect("free");
        let a1 = adapters.take("a1", of("san0", 1)).expect("free");
        let b0 = adapters.take("b0", of("san1", 0)).expect("free");
        assert_eq!((a0.adapter_number, a1.adapter_number, b0.adapter_number), (0, 0, 1));
        let error = adapters.take("a9", of("san0", 1)).expect_err("taken");
        assert!(error.to_string().contains("adapter san0 has a port of number 1"), "{error}");
        assert_eq!((adapters.free_number("san0"), adapters.free_number("new")), (2, 0));
    }

    #[test]
    fn a_number_is_free_again_and_an_adapters_never_is() {
        let adapters = Adapters::default();
        let first = adapters.take("a", of("san0", 0)).expect("free");
        let beside = first.beside();
        beside.leave();
        assert!(adapters.take("b", of("san0", 0)).is_err(), "a trial has no place of its own");
        first.leave();
        let second = adapters.take("b", of("san0", 0)).expect("free again");
        assert_eq!((first.adapter_number, second.adapter_number), (0, 1));
    }
}
