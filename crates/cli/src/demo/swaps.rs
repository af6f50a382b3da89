//! The replacements: which driver comes next on which device, and what its receipts say; and in between
//! the re-initialisations of one port with other parameters.

use crate::client::{Client, segment};
use crate::failure::Failure;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use steadfast_api::{
    ActivateRequest, Activating, Mode, Outcome, Receipt, SaveReport, SaveRequest, Unload, UpdateRequest,
};

/// A device and the modules that it goes through, round and round.
pub(crate) struct Plan {
    /// The device.
    pub(crate) device: &'static str,
    /// Modules; the first one runs at the start.
    pub(crate) modules: &'static [&'static str],
}

/// What is swapped: `vol0` goes up and down between two releases, `ram0` is reloaded.
pub(crate) const PLANS: [Plan; 2] = [
    Plan { device: "vol0", modules: &["file@1.0.0", "file@1.1.0"] },
    Plan { device: "ram0", modules: &["ram"] },
];

/// Swaps of each device from one re-initialisation of its port to the next.
const PER_ACTIVATION: u64 = 10;
/// Slots of a port in turns: what changes only with a re-initialisation.
const SLOTS: [u64; 2] = [1024, 512];

/// What the swaps came to.
pub(crate) struct Swaps {
    /// Pauses of the swaps that were done, nanoseconds, by device and mode.
    pub(crate) pauses: BTreeMap<(&'static str, &'static str), Histogram<u64>>,
    /// All pauses of swaps together.
    pub(crate) all: Histogram<u64>,
    /// Ports that were initialised anew with other parameters.
    pub(crate) activated: u64,
    /// Longest that any request was kept waiting, nanoseconds.
    pub(crate) longest_stall_ns: u64,
    /// Requests that the new driver took over in flight.
    pub(crate) adopted: u64,
    /// Requests that were held meanwhile.
    pub(crate) held: u64,
    /// Old modules that did not leave memory.
    pub(crate) pinned: u64,
    /// Swaps that were not done, with the reason.
    pub(crate) failed: Vec<String>,
    next: u64,
}

impl Swaps {
    /// None yet.
    pub(crate) fn new() -> Swaps {
        Swaps {
            pauses: BTreeMap::new(),
            all: histogram(),
            activated: 0,
            longest_stall_ns: 0,
            adopted: 0,
            held: 0,
            pinned: 0,
            failed: Vec::new(),
            next: 0,
        }
    }

    /// How many were done.
    pub(crate) fn total(&self) -> u64 {
        self.all.len()
    }

    /// Does the next one. What the daemon refuses is counted; only no answer at all is a failure.
    pub(crate) fn step(&mut self, client: &Client) -> Result<(), Failure> {
        let plans = PLANS.len() as u64;
        let plan = &PLANS[(self.next % plans) as usize];
        let round = self.next / plans + 1;
        let module = plan.modules[(round % plan.modules.len() as u64) as usize];
        self.next += 1;
        let request = UpdateRequest { allow_older: true, ..UpdateRequest::new(module) };
        let receipt: Receipt = client.post(&format!("/devices/{}/update", segment(plan.device)), &request)?;
        self.take(plan.device, module, &receipt);
        if round.is_multiple_of(PER_ACTIVATION) {
            self.activate(client, plan.device, round / PER_ACTIVATION)?;
        }
        Ok(())
    }

    /// Changes a parameter of one port and initialises it anew, as `param set` and `activate` do.
    fn activate(&mut self, client: &Client, device: &'static str, turn: u64) -> Result<(), Failure> {
        let slots = SLOTS[(turn % 2) as usize].to_string();
        let set = BTreeMap::from([("io_slots".to_owned(), slots)]);
        let path = |what: &str| format!("/ports/{}/{what}", segment(device));
        let _: SaveReport = client.post(&path("params"), &SaveRequest { set, ..SaveRequest::default() })?;
        let answer: Activating = client.post(&path("activate"), &ActivateRequest::default())?;
        let Some(receipt) = answer.receipt else { return Ok(()) };
        if receipt.outcome != Outcome::Done {
            let what = format!("activation of {device}: {:?}: {}", receipt.outcome, receipt.reason);
            self.failed.push(what);
            return Ok(());
        }
        self.activated += 1;
        self.measured((device, "re-init"), &receipt);
        Ok(())
    }

    fn measured(&mut self, what: (&'static str, &'static str), receipt: &Receipt) {
        self.pauses.entry(what).or_insert_with(histogram).saturating_record(receipt.pause_ns);
        self.longest_stall_ns = self.longest_stall_ns.max(receipt.longest_stall_ns);
        self.held += u64::from(receipt.held);
    }

    fn take(&mut self, device: &'static str, module: &str, receipt: &Receipt) {
        if receipt.outcome != Outcome::Done {
            let what = format!("{device} to {module}: {:?}: {}", receipt.outcome, receipt.reason);
            return self.failed.push(what);
        }
        let mode = receipt.mode.map_or("none", Mode::name);
        self.all.saturating_record(receipt.pause_ns);
        self.measured((device, mode), receipt);
        self.adopted += u64::from(receipt.adopted);
        self.pinned += u64::from(receipt.unload == Unload::Pinned);
    }
}

/// Up to a minute, three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds that are allowed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::receipt::tests::sample;

    #[test]
    fn swaps_are_counted_by_device_and_mode() {
        let mut swaps = Swaps::new();
        swaps.take("vol0", "file@1.1.0", &sample());
        swaps.take("vol0", "file@1.0.0", &Receipt { unload: Unload::Pinned, ..sample() });
        swaps.take("ram0", "ram", &Receipt { mode: Some(Mode::Drain), ..sample() });
        assert_eq!(swaps.total(), 3);
        assert_eq!(swaps.pauses[&("vol0", "adopt")].len(), 2);
        assert_eq!(swaps.pauses[&("ram0", "drain")].len(), 1);
        assert_eq!((swaps.adopted, swaps.pinned), (84, 1));
        assert_eq!(swaps.longest_stall_ns, 25_000);
    }

    #[test]
    fn what_was_not_done_is_no_swap() {
        let mut swaps = Swaps::new();
        let receipt = Receipt { outcome: Outcome::RolledBack, reason: "connect: -5".into(), ..sample() };
        swaps.take("vol0", "file@1.1.0", &receipt);
        assert_eq!(swaps.total(), 0);
        assert_eq!(swaps.failed, ["vol0 to file@1.1.0: RolledBack: connect: -5"]);
    }
}
