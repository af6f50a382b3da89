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
pub(crate) const FAULTS: [&str; 6] = ["error", "panic", "hang", "client loss", "second update", "stop"];

/// What happens beside the driver: it needs a phase that lasts, so that it can be met.
pub(crate) const OUTSIDE: [&str; 3] = ["client loss", "second update", "stop"];

type Key = (usize, usize);

/// The cells of one mode.
pub(crate) struct Table {
    mode: &'static str,
    queues: u32,
    cells: BTreeMap<Key, String>,
    reasons: Vec<&'static str>,
}

fn at(list: &[&str], name: &str) -> usize {
    list.iter().position(|n| *n == name).unwrap_or_else(|| panic!("{name} is not in {list:?}"))
}

impl Table {
    /// With the cells that cannot exist.
    pub(crate) fn new(mode: &'static str, queues: u32) -> Table {
        let mut table = Table { mode, queues, cells: BTreeMap::new(), reasons: Vec::new() };
        table.impossible();
        table
    }

    /// A cell was run and ended as promised: in this way.
    pub(crate) fn ran(&mut self, phase: &str, fault: &str, ended: &str) {
        self.cells.insert((at(&PHASES, phase), at(&FAULTS, fault)), ended.to_owned());
    }

    fn not(&mut self, phases: &[&str], faults: &[&str], why: &'static str) {
        self.reasons.push(why);
        let number = self.reasons.len();
        for phase in phases {
            for fault in faults {
                self.ran(phase, fault, &format!("- ({number})"));
            }
        }
    }

    fn impossible(&mut self) {
        self.not(&["stage", "check"], &["panic"], "no code of a driver runs in this phase");
        let outside = "the phase waits for nothing outside, so nothing can be made to fall into it";
        self.not(&["stage", "check"], &OUTSIDE, outside);
        self.not(&["check"], &["hang"], "the phase only compares what is in memory already");
        if self.mode == "drain" {
            self.not(&["start_update"], &FAULTS, "one step of the shell; other modes call hand_back here");
        } else {
            self.not(&["start_update"], &["error"], "the SDK's hand_back has no error, only panics");
        }
        let theirs = "only requests that the old driver finishes are waited for; its errors are theirs";
        self.not(&["pending"], &["error", "panic"], theirs);
        if self.mode == "adopt" {
            let rest = ["hang", "client loss", "second update", "stop"];
            self.not(&["pending"], &rest, "nothing is waited for in this mode");
        } else {
            self.not(&["adopt"], &FAULTS, "nothing is left to adopt in this mode");
        }
        let step = "one step of the shell: no code of a driver runs, and it lasts no time";
        self.not(&["transfer"], &FAULTS[1..], step);
        self.not(&["finish_update"], &["error"], "queue_run returns nothing");
        self.not(&["unload"], &["error"], "release returns nothing");
    }

    pub(crate) fn missing(&self) -> Vec<String> {
        let all = (0..PHASES.len()).flat_map(|p| (0..FAULTS.len()).map(move |f| (p, f)));
        let missing = all.filter(|key| !self.cells.contains_key(key));
        missing.map(|(p, f)| format!("{} x {}", PHASES[p], FAULTS[f])).collect()
    }

    pub(crate) fn print(&self) {
        let run = self.cells.values().filter(|c| !c.starts_with('-')).count();
        let (mode, queues, all) = (self.mode, self.queues, self.cells.len());
        println!("mode {mode}, {queues} queue(s): {all} cells, {run} run, {} cannot exist", all - run);
        print!("{:<14}", "phase");
        FAULTS.iter().for_each(|fault| print!(" {fault:<18}"));
        for (p, phase) in PHASES.iter().enumerate() {
            print!("\n{phase:<14}");
            let cell = |f: usize| self.cells.get(&(p, f)).map_or("?", String::as_str);
            (0..FAULTS.len()).for_each(|f| print!(" {:<18}", cell(f)));
        }
        println!();
        for (number, why) in self.reasons.iter().enumerate() {
            println!("({}) {why}", number + 1);
        }
    }
}
