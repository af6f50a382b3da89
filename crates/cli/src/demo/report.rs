//! The summary.

use super::load;
use super::swaps::Swaps;
use crate::failure::Exit;
use crate::output::{Table, units};
use hdrhistogram::Histogram;
use serde::Serialize;

/// What the demonstration came to.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Seconds under load.
    pub(crate) seconds: f64,
    /// Everything together is as it must be.
    pub(crate) good: bool,
    /// Swaps done.
    pub(crate) swaps: u64,
    /// Ports that were initialised anew with other parameters.
    pub(crate) activations: u64,
    /// Swaps by device and mode, and re-initialisations.
    pub(crate) by_mode: Vec<ByMode>,
    /// All pauses.
    pub(crate) pause: Spread,
    /// Longest that any request was kept waiting by a swap, nanoseconds.
    pub(crate) longest_stall_ns: u64,
    /// Requests that a new driver took over in flight.
    pub(crate) adopted: u64,
    /// Requests held during swaps.
    pub(crate) held: u64,
    /// Old modules that did not leave memory.
    pub(crate) pinned: u64,
    /// The load, by device.
    pub(crate) devices: Vec<DeviceReport>,
    /// Requests that failed, blocks that were wrong.
    pub(crate) errors: u64,
    /// What went wrong, in words.
    pub(crate) faults: Vec<String>,
}

/// Swaps of one device in one mode, or re-initialisations of its port.
#[derive(Debug, Serialize)]
pub(crate) struct ByMode {
    /// Device.
    pub(crate) device: String,
    /// Mode.
    pub(crate) mode: String,
    /// How many.
    pub(crate) swaps: u64,
    /// Their pauses.
    pub(crate) pause: Spread,
}

/// A distribution, nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    /// Half are below.
    pub(crate) p50_ns: u64,
    /// 99 of 100 are below.
    pub(crate) p99_ns: u64,
    /// The largest.
    pub(crate) max_ns: u64,
}

/// The load on one device.
#[derive(Debug, Serialize)]
pub(crate) struct DeviceReport {
    /// Device.
    pub(crate) device: String,
    /// What ran on it.
    pub(crate) drivers: String,
    /// Requests done.
    pub(crate) requests: u64,
    /// Requests per second.
    pub(crate) iops: u64,
    /// Blocks read and found right.
    pub(crate) verified: u64,
    /// Requests that failed, blocks that were wrong.
    pub(crate) errors: u64,
    /// Request latency as the client saw it, swaps included.
    pub(crate) latency: Spread,
}

impl From<&Histogram<u64>> for Spread {
    fn from(h: &Histogram<u64>) -> Spread {
        Spread { p50_ns: h.value_at_quantile(0.5), p99_ns: h.value_at_quantile(0.99), max_ns: h.max() }
    }
}

impl Report {
    /// Puts everything together.
    pub(crate) fn new(
        seconds: f64,
        required: u64,
        swaps: &Swaps,
        devices: Vec<DeviceReport>,
        faults: Vec<String>,
    ) -> Report {
        let errors = devices.iter().map(|d| d.errors).sum();
        let by_mode = swaps.pauses.iter().map(|((device, mode), pauses)| ByMode {
            device: (*device).to_owned(),
            mode: (*mode).to_owned(),
            swaps: pauses.len(),
            pause: pauses.into(),
        });
        let mut faults = faults;
        faults.extend(swaps.failed.iter().take(5).cloned());
        if swaps.total() < required && swaps.failed.is_empty() {
            faults.push(format!("only {} of {required} swaps were done in time", swaps.total()));
        }
        Report {
            seconds,
            good: errors == 0 && faults.is_empty(),
            swaps: swaps.total(),
            activations: swaps.activated,
            by_mode: by_mode.collect(),
            pause: (&swaps.all).into(),
            longest_stall_ns: swaps.longest_stall_ns,
            adopted: swaps.adopted,
            held: swaps.held,
            pinned: swaps.pinned,
            devices,
            errors,
            faults,
        }
    }

    /// The exit code: a wrong byte or request is a failed verification, anything else an error.
    pub(crate) fn exit(&self) -> Exit {
        match (self.good, self.errors) {
            (true, _) => Exit::Done,
            (false, 0) => Exit::Error,
            (false, _) => Exit::Mismatch,
        }
    }

    /// The summary as text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n{}\n", self.load_table(), self.swap_table());
        let mut fact = |name: &str, value: String| text.push_str(&format!("{name:<15} {value}\n"));
        fact("swaps done", format!("{} in {:.1} s", units::count(self.swaps), self.seconds));
        let anew = units::count(self.activations);
        fact("activations", format!("{anew}, each of one port with another number of slots"));
        let pause = self.pause;
        fact(
            "pause",
            format!(
                "p50 {}, p99 {}, max {}; longest stall of a request {}",
                units::time(pause.p50_ns),
                units::time(pause.p99_ns),
                units::time(pause.max_ns),
                units::time(self.longest_stall_ns)
            ),
        );
        fact(
            "in the pauses",
            format!(
                "{} requests adopted in flight, {} held",
                units::count(self.adopted),
                units::count(self.held)
            ),
        );
        let leftover = if self.pinned == 0 {
            "every one unloaded".to_owned()
        } else {
            format!("{} pinned", self.pinned)
        };
        fact("old modules", leftover);
        let verified = self.devices.iter().map(|d| d.verified).sum();
        fact("verified", format!("{} blocks of {} bytes", units::count(verified), super::pattern::BLOCK));
        fact("load", format!("{} requests in flight per device, half reads, half writes", load::DEPTH));
        fact("errors", units::count(self.errors));
        for fault in &self.faults {
            fact("wrong", fault.clone());
        }
        text
    }

    fn load_table(&self) -> Table {
        let mut table =
            Table::new(&["DEVICE", "DRIVERS", ">IOPS", ">LATENCY P50", ">P99", ">VERIFIED", ">ERRORS"]);
        for device in &self.devices {
            table.row([
                device.device.clone(),
                device.drivers.clone(),
                units::count(device.iops),
                units::time(device.latency.p50_ns),
                units::time(device.latency.p99_ns),
                units::count(device.verified),
                units::count(device.errors),
            ]);
        }
        table
    }

    fn swap_table(&self) -> Table {
        let mut table = Table::new(&["DEVICE", "MODE", ">TIMES", ">PAUSE P50", ">P99", ">MAX"]);
        for mode in &self.by_mode {
            table.row([
                mode.device.clone(),
                mode.mode.clone(),
                units::count(mode.swaps),
                units::time(mode.pause.p50_ns),
                units::time(mode.pause.p99_ns),
                units::time(mode.pause.max_ns),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(errors: u64) -> DeviceReport {
        let spread = Spread { p50_ns: 1, p99_ns: 2, max_ns: 3 };
        DeviceReport {
            device: "vol0".into(),
            drivers: "file".into(),
            requests: 10,
            iops: 10,
            verified: 5,
            errors,
            latency: spread,
        }
    }

    #[test]
    fn one_wrong_block_fails_the_whole() {
        let report = |errors, wanted, faults| {
            Report::new(1.0, wanted, &Swaps::new(), vec![device(errors)], faults).exit()
        };
        assert_eq!(report(0, 0, vec![]), Exit::Done);
        assert_eq!(report(1, 0, vec![]), Exit::Mismatch);
        assert_eq!(report(0, 0, vec!["the daemon ended".into()]), Exit::Error);
        assert_eq!(report(0, 1, vec![]), Exit::Error, "swaps that were not done are not passed over");
    }

    #[test]
    fn the_summary_says_what_was_wrong() {
        let report = Report::new(1.0, 0, &Swaps::new(), vec![device(1)], vec!["block 7 is stale".into()]);
        let text = report.text();
        assert!(text.contains("errors          1\n"), "{text}");
        assert!(text.contains("wrong           block 7 is stale\n"), "{text}");
    }
}
