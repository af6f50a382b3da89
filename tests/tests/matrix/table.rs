//! Which cells there are, and how each ended.

use std::collections::BTreeMap;

pub(crate) const PHASES: [&str; 14] = [
    "stage",
    "check",
    "load",
    "prepare",
    "start_update",
    "pending",
    "disconnect",
    "transfer",
    "connect",
    "queue_start",
    "adopt",
    "finish_update",
    "cancel_update",
    "unload",
];
pub(crate) const MODES: [&str; 3] = ["adopt", "split", "drain"];
pub(crate) const FAULTS: [&str; 6] = ["error", "panic", "hang", "client loss", "second update", "stop"];

/// What happens beside the driver: it needs a phase that lasts, so that it can be met.
pub(crate) const OUTSIDE: [&str; 3] = ["client loss", "second update", "stop"];

type Key = (usize, usize, usize);

/// The cells of one run.
pub(crate) struct Table {
    queues: u32,
    cells: BTreeMap<Key, String>,
    reasons: Vec<&'static str>,
}

fn at(list: &[&str], name: &str) -> usize {
    list.iter().position(|n| *n == name).unwrap_or_else(|| panic!("{name} is not in {list:?}"))
}

impl Table {
    pub(crate) fn new(queues: u32) -> Table {
        Table { queues, cells: BTreeMap::new(), reasons: Vec::new() }
    }

    /// A cell was run and ended as promised: in this way.
    pub(crate) fn ran(&mut self, phase: &str, fault: &str, mode: &str, ended: &str) {
        let key = (at(&PHASES, phase), at(&FAULTS, fault), at(&MODES, mode));
        self.cells.insert(key, ended.to_owned());
    }

    fn not(&mut self, phases: &[&str], faults: &[&str], modes: &[&str], why: &'static str) {
        self.reasons.push(why);
        let number = self.reasons.len();
        for phase in phases {
            for fault in faults {
                for mode in modes {
                    self.ran(phase, fault, mode, &format!("- ({number})"));
                }
            }
        }
    }

    /// The cells that cannot exist.
    pub(crate) fn impossible(&mut self) {
        self.not(&["stage", "check"], &["panic"], &MODES, "no code of a driver runs in this phase");
        self.not(
            &["stage", "check"],
            &OUTSIDE,
            &MODES,
            "the phase waits for nothing outside, so nothing can be made to fall into it",
        );
        self.not(&["check"], &["hang"], &MODES, "the phase only compares what is in memory already");
        self.not(
            &["start_update"],
            &["error", "panic", "hang"],
            &["drain"],
            "no code of a driver runs in this phase: only adopt and split call hand_back",
        );
        self.not(&["start_update"], &["error"], &["adopt", "split"], "hand_back returns nothing");
        self.not(
            &["start_update"],
            &OUTSIDE,
            &["drain"],
            "the phase is one step of the shell and lasts no time",
        );
        self.not(
            &["pending"],
            &["error", "panic"],
            &MODES,
            "only requests that the old driver finishes are waited for; its errors are those requests'",
        );
        self.not(
            &["pending"],
            &["hang", "client loss", "second update", "stop"],
            &["adopt"],
            "nothing is waited for in this mode",
        );
        self.not(
            &["transfer"],
            &["panic", "hang", "client loss", "second update", "stop"],
            &MODES,
            "one step of the shell: no code of a driver runs, and it lasts no time",
        );
        self.not(&["adopt"], &FAULTS, &["split", "drain"], "nothing is left to adopt in this mode");
        self.not(&["finish_update"], &["error"], &MODES, "queue_run returns nothing");
        self.not(&["unload"], &["error"], &MODES, "release returns nothing");
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (p, phase) in PHASES.iter().enumerate() {
            for (f, fault) in FAULTS.iter().enumerate() {
                for (m, mode) in MODES.iter().enumerate() {
                    if !self.cells.contains_key(&(p, f, m)) {
                        missing.push(format!("{phase} x {fault} x {mode}"));
                    }
                }
            }
        }
        missing
    }

    pub(crate) fn print(&self) {
        let run = self.cells.values().filter(|c| !c.starts_with('-')).count();
        let all = self.cells.len();
        println!("\n{all} cells on {} queue(s): {run} were run, {} cannot exist", self.queues, all - run);
        println!("{:<14} {:<14} {:<13} {:<13} {:<13}", "phase", "fault", MODES[0], MODES[1], MODES[2]);
        for (p, phase) in PHASES.iter().enumerate() {
            for (f, fault) in FAULTS.iter().enumerate() {
                let cell = |m: usize| self.cells.get(&(p, f, m)).map_or("?", String::as_str);
                println!("{phase:<14} {fault:<14} {:<13} {:<13} {:<13}", cell(0), cell(1), cell(2));
            }
        }
        for (number, why) in self.reasons.iter().enumerate() {
            println!("({}) {why}", number + 1);
        }
    }
}
