//! What belongs to a port whichever driver serves it: slots, state, regions, handles, devices.

pub(crate) mod adapters;
pub(crate) mod busy;
pub(crate) mod claim;
pub(crate) mod config;
mod device;
pub(crate) mod directory;
pub(crate) mod losses;
mod name_check;
mod resources;
pub(crate) mod rules;

use crate::port::directory::Directory;
use crate::resources::regions::RegionMemory;
use crate::resources::slot_memory::SlotMemory;
pub(crate) use device::{Device, Offers, PROMISES};

use crate::change::hold::Visit;
use crate::change::swap::Job;
use crate::driver::background_calls::Calls;
use crate::driver::instance::Instance;
use crate::driver::pinned::Pinned;
use crate::error::{EngineError, ErrorKind};
use crate::handle::contents::Opened;
use crate::handle::{FileSlots, Handle};
use crate::ids::PortId;
use crate::port::adapters::Seat;
use crate::port::busy::Turns;
use crate::port::rules::PortRules;
use crate::queue::remote::Remote;
use crate::resources::arena::Arenas;
use crate::resources::driver_state::States;
use crate::resources::limits::{Limits, slots_per_queue};
use crate::trial::Trial;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use steadfast_loader::LoadedModule;
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{ShellDefaults, ShellParams};
use steadfast_shell::properties::Properties;
use steadfast_shell::receipt::{Receipt, Release};

/// The driver that served a port before nobody did.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) manifest: Manifest,
    pub(crate) release: Release,
    pub(crate) opened: Vec<Opened>,
    /// Numbers of the port's regions that it had.
    pub(crate) regions: BTreeSet<u32>,
}

impl Left {
    pub(crate) fn pdu_size(&self) -> usize {
        self.manifest.pdu.as_ref().map_or(0, |pdu| pdu.size as usize)
    }
}

/// The parts of a port that change, all off the hot path.
#[derive(Debug, Default)]
pub(crate) struct PortInner {
    /// What was defined, where and in which layer.
    pub(crate) properties: Properties,
    pub(crate) rules: PortRules,
    pub(crate) states: States,
    /// By number; a gap is one that only a refused driver had.
    pub(crate) regions: Vec<Option<RegionMemory>>,
    /// By handle number; a gap is a handle that was given up.
    pub(crate) handles: Vec<Option<Handle>>,
    pub(crate) devices: Vec<Device>,
    /// What a driver announced within `connect`: replaces `devices` when the update succeeds.
    pub(crate) announced: Vec<Device>,
    pub(crate) offers: BTreeMap<u32, Offers>,
    pub(crate) serving: Option<Arc<Instance>>,
    /// Set while nobody serves although there was somebody.
    pub(crate) left: Option<Left>,
    /// Set while nobody is to serve: the module of who does once the port comes up.
    pub(crate) down: Option<Arc<LoadedModule>>,
    /// Nobody else gets a device of it: it is being taken down, or gets other contents.
    pub(crate) shut: bool,
    /// Likewise as long as it is not 0: somebody is about to accept what its medium has lost.
    pub(crate) accepting: u32,
    /// The driver that comes may announce smaller devices than there were.
    pub(crate) may_shrink: bool,
    /// A transaction that a queue has not taken part in to the end.
    pub(crate) unfinished: Option<Arc<Job>>,
    /// Queues that every device which its driver wanted to open is on, once one was on others.
    pub(crate) suits: Option<Vec<usize>>,
    /// Parameters that a driver has been told of and has not answered for.
    pub(crate) visit: Option<Arc<Visit>>,
    pub(crate) swaps: u64,
    pub(crate) driver_faults: u64,
    pub(crate) last_receipt: Option<Receipt>,
    /// Drivers that were left to themselves.
    pub(crate) abandoned: Vec<Pinned>,
    /// A candidate is on trial beside the driver.
    pub(crate) trial: Option<Arc<Trial>>,
}

impl PortInner {
    /// Clients of all of its devices.
    pub(crate) fn clients(&self) -> u32 {
        self.offers.values().map(|o| o.clients).sum()
    }
}

/// A port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) name: String,
    /// Its place at its adapter.
    pub(crate) seat: Seat,
    /// Engine's numbers of the queues that the port is spread over.
    pub(crate) queues: Vec<usize>,
    pub(crate) remotes: Vec<Arc<Remote>>,
    pub(crate) memory: Vec<SlotMemory>,
    pub(crate) files: Arc<FileSlots>,
    pub(crate) directory: Weak<Directory>,
    pub(crate) generation: AtomicU64,
    pub(crate) epoch_unix_ms: AtomicU64,
    pub(crate) next_queue: AtomicU64,
    pub(crate) inner: Mutex<PortInner>,
    pub(crate) arenas: Arenas,
    /// Of the one transaction that a port can be in.
    pub(crate) turns: Turns,
    /// Calls of its driver, for queues, on threads of their own.
    pub(crate) outside: Calls,
    /// What the shell's own parameters are where nobody says it.
    pub(crate) shell: ShellDefaults,
    pub(crate) limits: Limits,
    /// Set for the port of a candidate on trial.
    pub(crate) shadow: Option<Arc<Trial>>,
}

impl Port {
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Slots of each queue under `params`, where there is room for them and for the largest request.
    pub(crate) fn room_for(&self, params: &ShellParams) -> Result<u32, String> {
        let slots = slots_per_queue(params.io_slots, self.queues.len());
        if self.memory.iter().all(|m| slots <= m.room && params.max_transfer <= m.data_room) {
            return Ok(slots);
        }
        Err(format!(
            "io_slots={} and max_transfer={}: the process may not map memory for more than it began with; \
             they take effect at the next start (see `ulimit -v`)",
            params.io_slots, params.max_transfer
        ))
    }

    /// Refuses names that could not be an export, a file name or a word in a table.
    pub(crate) fn check_name(name: &str) -> Result<(), EngineError> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !name.is_empty() && name.len() <= 64 && name.chars().all(fine) {
            return Ok(());
        }
        let what = format!("name {name:?}: allowed are 1 to 64 letters, digits, '-' and '_'");
        Err(EngineError::new(ErrorKind::Invalid, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
        assert!(Port::check_name("vol-0_A").is_ok());
        for bad in ["", "a b", "../x", "a/b", "ä", &"x".repeat(65)] {
            assert!(Port::check_name(bad).is_err(), "{bad}");
        }
    }
}
