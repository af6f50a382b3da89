//! What every driver must do, as a suite that drives a module through the real runtime.
//!
//! [`run`] loads a module, attaches it to ports of an engine of its own, and plays a client: random
//! requests against a naive model, many at a time, at the edges of the device, and all of it again
//! while the driver is replaced by itself, by a copy that fails, and by another release.
//!
//! The suite destroys the contents of the device that it is given.

mod cases;
mod client;
mod load;
mod model;
mod nbd;
mod rig;
mod rng;
mod sabotage;

use rig::Rig;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What to test with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Parameters of the driver. A required `path` that is not given is a scratch file.
    pub params: BTreeMap<String, String>,
    /// Where the random numbers begin; the same seed repeats the same requests.
    pub seed: u64,
    /// Another release, to update from and back to.
    pub from: Option<PathBuf>,
    /// Only the cases whose name contains this.
    pub only: Option<String>,
    /// How often a driver is replaced in each case that does it under load.
    pub swaps: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { params: BTreeMap::new(), seed: 1, from: None, only: None, swaps: 8 }
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "detail")]
pub enum Outcome {
    /// The driver does what is asked.
    Passed,
    /// It does not; how that showed.
    Failed(String),
    /// Not asked of this driver; why.
    Skipped(String),
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseResult {
    /// Its short name.
    pub name: &'static str,
    /// What it shows, in one sentence.
    pub what: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Figures worth knowing, such as how many requests in flight were adopted; often empty.
    pub note: String,
    /// How long it took.
    pub took: Duration,
}

impl CaseResult {
    /// The driver did not pass.
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

/// Why a case did not pass.
pub(crate) enum Stop {
    Fail(String),
    Skip(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Stop {
        Stop::Fail(why)
    }
}

/// A note, or why not.
pub(crate) type Verdict = Result<String, Stop>;

/// Runs the suite on `module`; `after` is told of each case as it ends.
pub fn run(module: &Path, options: &Options, after: &mut dyn FnMut(&CaseResult)) -> Vec<CaseResult> {
    let mut results = Vec::new();
    let mut keep = |name, what, outcome, note, took| {
        let result = CaseResult { name, what, outcome, note, took };
        after(&result);
        results.push(result);
    };
    let begin = Instant::now();
    let rig = Rig::new(module, options);
    let what = "The module is read, checked and loaded.";
    let rig = match rig {
        Ok(rig) => {
            keep("load", what, Outcome::Passed, rig.describe(), begin.elapsed());
            rig
        }
        Err(why) => {
            keep("load", what, Outcome::Failed(why), String::new(), begin.elapsed());
            return results;
        }
    };
    for case in cases::ALL {
        if options.only.as_ref().is_some_and(|only| !case.name.contains(only.as_str())) {
            continue;
        }
        let begin = Instant::now();
        let (outcome, note) = match (case.run)(&rig) {
            Ok(note) => (Outcome::Passed, note),
            Err(Stop::Fail(why)) => (Outcome::Failed(why), String::new()),
            Err(Stop::Skip(why)) => (Outcome::Skipped(why), String::new()),
        };
        keep(case.name, case.what, outcome, note, begin.elapsed());
    }
    rig.stop();
    results
}
