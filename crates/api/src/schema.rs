//! How the shell's own types look in the OpenAPI document.
//!
//! The shell knows nothing of OpenAPI, so its types are described here once more; a test holds the
//! description against what is really sent.

mod probation;
mod properties;

pub use probation::{AutoUpdate, Limits, Observed, ProbationOutcome, ProbationReport};
pub use properties::{Definition, PropertiesReport, Source, Stamp, Step, StepTime, ValueChange};

use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A driver release.
#[derive(ToSchema)]
pub struct Release {
    /// Driver name.
    pub driver: String,
    /// Semantic version.
    pub version: String,
    /// BLAKE3 of the module file, 64 hexadecimal digits.
    pub hash: String,
}

/// What is done with the requests that the old driver has in flight.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Mode {
    /// The new driver takes them over; nothing is waited for.
    Adopt,
    /// The old driver finishes what it has begun; the rest goes to the new one.
    Split,
    /// The old driver finishes all it has.
    Drain,
}

/// How an update ended.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Outcome {
    /// The new driver serves.
    Done,
    /// Nothing was touched; the old driver serves.
    Refused,
    /// The port is busy; nothing was touched.
    Busy,
    /// The new driver failed or the deadline passed; the old driver serves again.
    RolledBack,
    /// Neither driver could be connected.
    Stranded,
    /// Only a trial was asked for, and nothing speaks against the candidate.
    Tried,
    /// The daemon ended in the midst of it.
    Interrupted,
}

/// A phase of an update.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the shell's type of the same name says what each is")]
pub enum Phase {
    Stage,
    Check,
    Load,
    Prepare,
    StartUpdate,
    Pending,
    Disconnect,
    Transfer,
    Connect,
    FinishUpdate,
    CancelUpdate,
    Unload,
}

/// Time spent in one phase.
#[derive(ToSchema)]
pub struct PhaseTime {
    /// Which phase.
    pub phase: Phase,
    /// Nanoseconds.
    pub ns: u64,
}

/// Whether the module that is not needed any more left memory.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Unload {
    /// No mapping of it is left.
    Unloaded,
    /// Mappings remain.
    Pinned,
    /// Another port runs the same loaded module.
    InUse,
    /// There was nothing to unload.
    None,
}

/// The record of one update.
#[derive(ToSchema)]
pub struct Receipt {
    /// Number within the daemon's life, from 1.
    pub id: u64,
    /// Port.
    pub port: String,
    /// Wall clock at the start, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// What ran before.
    pub from: Release,
    /// What was to run; missing when the file could not be read as a module.
    pub to: Option<Release>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused or went back; empty when done.
    pub reason: String,
    /// How requests in flight were treated.
    pub mode: Option<Mode>,
    /// Phases that were gone through, in order.
    pub phases: Vec<PhaseTime>,
    /// Requests held while the port was between drivers.
    pub held: u32,
    /// Requests in flight that the old driver finished.
    pub drained: u32,
    /// Requests in flight that the new driver took over.
    pub adopted: u32,
    /// Nanoseconds during which no driver could be entered.
    pub pause_ns: u64,
    /// Longest time that any one request was kept from a driver, nanoseconds.
    pub longest_stall_ns: u64,
    /// Generation of the port before.
    pub generation_before: u64,
    /// Generation of the port after.
    pub generation_after: u64,
    /// The old module after success, the new one after failure.
    pub unload: Unload,
    /// Who asked for it, and why.
    pub by: Requester,
    /// The module as it was asked for: a path, or a driver's name.
    pub source: String,
    /// Requests that the old driver had not begun and handed back; they are among those held.
    pub handed_back: u32,
    /// Features that the new driver leaves out because memory is short.
    pub reduced: Vec<Reduced>,
    /// Why the driver before was put away although it did not let go, where it was: its state is lost, and its module
    /// stays in memory.
    pub abandoned: Option<String>,
    /// Every check that was made.
    pub checks: Vec<crate::CheckRow>,
    /// The trial before it, if there was one.
    pub shadow: Option<ShadowReport>,
    /// The probation after it, if there was one.
    pub probation: Option<ProbationReport>,
    /// Parameters that changed with it, as they were; missing values were the driver's defaults.
    pub params_before: BTreeMap<String, Option<String>>,
    /// What it is of.
    pub kind: Kind,
    /// What was done about properties, where that is what it is of.
    pub properties: Option<PropertiesReport>,
    /// When it was over, no driver served the port.
    pub nobody_serves: bool,
    /// It is a way back that nobody asked for.
    pub by_itself: bool,
    /// What holds beyond that, a sentence each.
    pub notes: Vec<String>,
    /// What the calls between the drivers took, by which a later daemon knows which of them are quick.
    pub calls: Vec<CallTimes>,
}

/// What the last calls of a driver took.
#[derive(ToSchema)]
pub struct CallTimes {
    /// The driver: its module's hash, and a digest of the values that it had.
    pub driver: String,
    /// `connect`, nanoseconds; missing where it is not known, or a call since then was not quick.
    pub connect_ns: Option<u64>,
    /// `disconnect`, likewise.
    pub disconnect_ns: Option<u64>,
}

/// What a receipt is of.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Kind {
    /// A port's driver was to be replaced.
    Update,
    /// A port was to be initialised anew with other properties.
    Activation,
    /// Live parameters of a port were to change.
    Live,
    /// A port was to come.
    Attach,
    /// A port was to go.
    Detach,
}

/// What started an update.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the shell's type of the same name says what each is")]
pub enum Cause {
    Operator,
    Folder,
    Probation,
    Revert,
    Watch,
    Unconfirmed,
    Rollback,
    Start,
}

/// Who asked for an update, and why.
#[derive(ToSchema)]
pub struct Requester {
    /// What started it.
    pub cause: Cause,
    /// Who, as the control socket knows it; empty when it was the daemon itself.
    pub who: String,
}

/// A feature that a driver leaves out until the next start, because memory is short.
#[derive(ToSchema)]
pub struct Reduced {
    /// The feature, in the driver's words.
    pub feature: String,
    /// What is missing.
    pub why: String,
}

/// What a trial beside the live driver found.
#[derive(ToSchema)]
pub struct ShadowReport {
    /// The candidate.
    pub candidate: Option<Release>,
    /// Only a trial was asked for, and no update.
    pub only: bool,
    /// Nothing speaks against it.
    pub equal: bool,
    /// Everything that does.
    pub against: Vec<String>,
    /// Why it ended before its time, where somebody ended it; empty otherwise.
    pub cut_short: String,
    /// How long reads were copied, milliseconds.
    pub duration_ms: u64,
    /// Reads that the device answered meanwhile.
    pub reads: u64,
    /// Of those, how many were compared.
    pub compared: u64,
    /// Compared and not the same.
    pub differ: u64,
    /// Not judged, because the range was changed in between.
    pub overlapped: u64,
    /// Not tried, because the candidate was busy.
    pub skipped: u64,
    /// Not tried, by the sampling rate.
    pub passed: u64,
    /// Failed by the candidate, although the driver that serves did not.
    pub failed: u64,
    /// Never answered by the candidate.
    pub unanswered: u64,
    /// Operations of the candidate that would have changed something; each was refused.
    pub changes_refused: u64,
    /// Flushes of the candidate, which had nothing to make durable.
    pub flushes_swallowed: u64,
    /// Rules of the driver interface that the candidate broke.
    pub faults: u64,
    /// The first difference.
    pub first_difference: Option<Difference>,
    /// The first failure, in words; empty when there is none.
    pub first_failure: String,
    /// Half of the compared reads took the driver that serves at most that long, nanoseconds.
    pub live_p50_ns: u64,
    /// 99 of 100 did.
    pub live_p99_ns: u64,
    /// The same of the candidate.
    pub candidate_p50_ns: u64,
    /// The same of the candidate.
    pub candidate_p99_ns: u64,
    /// Whether the module left memory after the trial.
    pub unload: Unload,
}

/// The first read that a candidate on trial answered with other data.
#[derive(ToSchema)]
pub struct Difference {
    /// Device within the port.
    pub device: u32,
    /// First byte that differs, on the device.
    pub offset: u64,
    /// First byte of the read.
    pub read_offset: u64,
    /// Bytes of the read.
    pub read_length: u64,
    /// Checksum of what the driver that serves read: BLAKE3, its first 16 hexadecimal digits.
    pub live_sum: String,
    /// Checksum of what the candidate read.
    pub candidate_sum: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use std::collections::BTreeSet;
    use utoipa::PartialSchema;

    fn properties(schema: &impl serde::Serialize) -> BTreeSet<String> {
        let schema = serde_json::to_value(schema).expect("a schema is JSON");
        schema["properties"].as_object().expect("an object schema").keys().cloned().collect()
    }

    fn names(schema: &impl serde::Serialize) -> Vec<Value> {
        let schema = serde_json::to_value(schema).expect("a schema is JSON");
        schema["enum"].as_array().expect("an enum schema").clone()
    }

    #[test]
    fn a_receipt_is_as_the_document_says() {
        let text = json!({
            "id": 1, "port": "vol0", "started_unix_ms": 1,
            "from": {"driver": "file", "version": "1.0.0", "hash": ""}, "to": null,
            "outcome": "done", "reason": "", "mode": "adopt",
            "phases": [{"phase": "stage", "ns": 1}],
            "held": 0, "drained": 0, "adopted": 0, "pause_ns": 0, "longest_stall_ns": 0,
            "generation_before": 1, "generation_after": 2, "unload": "unloaded"
        });
        let receipt: crate::Receipt = serde_json::from_value(text).expect("a receipt");
        let sent = serde_json::to_value(&receipt).expect("JSON");
        let keys = |v: &Value| v.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&sent), properties(&super::Receipt::schema()));
        assert_eq!(keys(&sent["from"]), properties(&super::Release::schema()));
        assert_eq!(keys(&sent["phases"][0]), properties(&super::PhaseTime::schema()));
    }

    #[test]
    fn what_is_said_of_properties_is_as_the_document_says() {
        let report = steadfast_shell::receipt::PropertiesReport::default();
        let sent = serde_json::to_value(&report).expect("JSON");
        let keys = |v: &Value| v.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&sent), properties(&super::PropertiesReport::schema()));
        assert_eq!(keys(&sent["stamp_before"]), properties(&super::Stamp::schema()));
    }

    #[test]
    fn every_name_in_the_document_is_understood() {
        for name in names(&super::Phase::schema()) {
            serde_json::from_value::<crate::Phase>(name).expect("a phase");
        }
        for name in names(&super::Outcome::schema()) {
            serde_json::from_value::<crate::Outcome>(name).expect("an outcome");
        }
        for name in names(&super::Mode::schema()) {
            serde_json::from_value::<crate::Mode>(name).expect("a mode");
        }
        for name in names(&super::Cause::schema()) {
            serde_json::from_value::<steadfast_shell::receipt::Cause>(name).expect("a cause");
        }
        for name in names(&super::Kind::schema()) {
            serde_json::from_value::<crate::Kind>(name).expect("a kind");
        }
        for name in names(&super::Step::schema()) {
            serde_json::from_value::<steadfast_shell::activation::Step>(name).expect("a step");
        }
        for name in names(&super::Unload::schema()) {
            serde_json::from_value::<crate::Unload>(name).expect("an unload");
        }
    }
}
