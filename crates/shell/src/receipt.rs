//! The record of one update or activation: every phase's time, counts, reason, outcome.

use crate::activation::{Stamp, StepTime};
use crate::check::CheckRow;
pub use crate::earned::CallTimes;
use crate::params::ActivationClass;
pub use crate::probation::ProbationReport;
use crate::properties::Definitions;
pub use crate::shadow::ShadowReport;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The phases of an update, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Copy the module into the store.
    Stage,
    /// Compare the manifest with the shell, the hardware, the running driver and policy.
    Check,
    /// Map the module, resolve its entry points, probe.
    Load,
    /// The new driver gets ready while the old one serves.
    Prepare,
    /// Queues stop entering the old driver; new requests are held. The pause begins.
    StartUpdate,
    /// What the old driver has in flight is drained, split or adopted.
    Pending,
    /// The old driver lets go and leaves its state.
    Disconnect,
    /// State goes through a schema that both know.
    Transfer,
    /// The new driver takes over.
    Connect,
    /// Entry points are exchanged, held requests released. The pause ends.
    FinishUpdate,
    /// The old driver was put back instead: cancel_update and reconnect.
    CancelUpdate,
    /// The module that is not needed any more is unmapped.
    Unload,
}

impl Phase {
    /// The phase's name as receipts print it.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Stage => "stage",
            Phase::Check => "check",
            Phase::Load => "load",
            Phase::Prepare => "prepare",
            Phase::StartUpdate => "start_update",
            Phase::Pending => "pending",
            Phase::Disconnect => "disconnect",
            Phase::Transfer => "transfer",
            Phase::Connect => "connect",
            Phase::FinishUpdate => "finish_update",
            Phase::CancelUpdate => "cancel_update",
            Phase::Unload => "unload",
        }
    }
}

/// What is done with the requests that the old driver has in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The new driver takes operations in flight over; nothing is waited for.
    Adopt,
    /// The old driver finishes what it has begun; the rest goes to the new one.
    Split,
    /// The old driver finishes all it has.
    Drain,
}

impl Mode {
    /// The mode's name.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Adopt => "adopt",
            Mode::Split => "split",
            Mode::Drain => "drain",
        }
    }
}

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new driver serves.
    Done,
    /// Nothing was touched; the old driver serves.
    Refused,
    /// The port has requests in flight, or another update; nothing was touched.
    Busy,
    /// The new driver failed, or the deadline passed, within the pause; the old driver serves again.
    RolledBack,
    /// Neither driver could be connected; the port holds its requests until another update.
    Stranded,
    /// Only a trial was asked for, and nothing speaks against the candidate; the old driver serves.
    Tried,
    /// The daemon ended in the midst of it, or before its receipt could be kept: written at the next start.
    Interrupted,
}

/// Time spent in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Which phase.
    pub phase: Phase,
    /// Nanoseconds, monotonic clock.
    pub ns: u64,
}

/// A driver release, as receipts name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Driver name.
    pub driver: String,
    /// Semantic version.
    pub version: String,
    /// BLAKE3 of the module file, 64 hexadecimal digits.
    pub hash: String,
}

/// Whether the module that is not needed any more left memory, as `/proc/self/maps` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unload {
    /// No mapping of it is left.
    Unloaded,
    /// Mappings remain: something keeps it, or a call into it has not returned.
    Pinned,
    /// It is still in use: another port runs the same loaded module.
    InUse,
    /// There was nothing to unload.
    None,
}

/// What started an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody asked for it.
    #[default]
    Operator,
    /// A newer module appeared in the watched folder.
    Folder,
    /// The driver did worse than its probation allows.
    Probation,
    /// Somebody asked for the driver before.
    Revert,
    /// A developer's build was watched.
    Watch,
    /// An activation was not confirmed in time.
    Unconfirmed,
    /// Somebody asked for the properties before.
    Rollback,
    /// The daemon started, and another module, or another set of parameters, came up than the one that ran.
    Start,
}

impl Cause {
    /// It puts back what was there: that is not refused for what it puts back.
    pub const fn goes_back(self) -> bool {
        matches!(self, Cause::Probation | Cause::Revert | Cause::Unconfirmed | Cause::Rollback)
    }

    /// The cause's name.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Operator => "operator",
            Cause::Folder => "folder",
            Cause::Probation => "probation",
            Cause::Revert => "revert",
            Cause::Watch => "watch",
            Cause::Unconfirmed => "unconfirmed",
            Cause::Rollback => "rollback",
            Cause::Start => "start",
        }
    }
}

/// Who asked for an update, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// What started it.
    pub cause: Cause,
    /// Who, as the control socket knows it; empty when it was the daemon itself.
    pub who: String,
}

/// A feature that a driver leaves out until the next start, because memory is short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reduced {
    /// The feature, in the driver's words.
    pub feature: String,
    /// What is missing.
    pub why: String,
}

/// What a receipt is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A port's driver was to be replaced.
    #[default]
    Update,
    /// A port was to be initialised anew with other properties.
    Activation,
    /// Live parameters of a port were to change.
    Live,
    /// A port was to come, or its driver to attach for the first time.
    Attach,
    /// A port was to go.
    Detach,
}

impl Kind {
    /// The kind's name.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Update => "update",
            Kind::Activation => "activation",
            Kind::Live => "live",
            Kind::Attach => "attach",
            Kind::Detach => "detach",
        }
    }
}

/// One value that was to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueChange {
    /// Parameter.
    pub name: String,
    /// Value before; missing where it was undefined.
    pub before: Option<String>,
    /// Value that was wanted.
    pub after: Option<String>,
    /// What a change of it takes.
    pub class: ActivationClass,
}

/// What a receipt says of properties.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertiesReport {
    /// Values that were to change; none where all were the same already.
    pub changes: Vec<ValueChange>,
    /// Everything that was defined before.
    pub before: Definitions,
    /// Everything that was to be defined.
    pub after: Definitions,
    /// Generation and epoch before.
    pub stamp_before: Stamp,
    /// Generation and epoch after; newer means that the port was initialised anew.
    pub stamp_after: Stamp,
    /// Steps of an activation, in order.
    #[serde(default)]
    pub steps: Vec<StepTime>,
    /// It was to be done only if no I/O flowed.
    #[serde(default)]
    pub idle_only: bool,
    /// The time that was asked to pass first, milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Going back by itself: until when it had to be confirmed, milliseconds since 1970.
    #[serde(default)]
    pub confirm_until_unix_ms: Option<u64>,
    /// It was confirmed, or it was not and went back; missing while that is open or was not asked for.
    #[serde(default)]
    pub confirmed: Option<bool>,
}

/// The record of one update, or of another change to a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Number within the daemon's life, from 1.
    pub id: u64,
    /// Port.
    pub port: String,
    /// Wall clock at the start, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// What ran before.
    pub from: Release,
    /// What was to run; missing when the file could not even be read as a module.
    pub to: Option<Release>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused or went back; of a port that was added down, why nobody serves it; else empty.
    pub reason: String,
    /// How requests in flight were treated; missing when it did not come to that.
    pub mode: Option<Mode>,
    /// Phases that were gone through, in order.
    pub phases: Vec<PhaseTime>,
    /// Requests held while the port was between drivers.
    pub held: u32,
    /// Requests in flight that the old driver finished.
    pub drained: u32,
    /// Requests in flight that the new driver took over.
    pub adopted: u32,
    /// Nanoseconds from the moment new requests were held to the moment the first one could enter a
    /// driver again, the longest of all queues. 0 when the port was never held.
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
    #[serde(default)]
    pub by: Requester,
    /// The module as it was asked for: a path, or a driver's name.
    #[serde(default)]
    pub source: String,
    /// Requests that the old driver had not begun and handed back; they are among those held.
    #[serde(default)]
    pub handed_back: u32,
    /// Features that the new driver leaves out because memory is short.
    #[serde(default)]
    pub reduced: Vec<Reduced>,
    /// Every check that was made, also those that passed.
    #[serde(default)]
    pub checks: Vec<CheckRow>,
    /// The trial before it, if there was one.
    #[serde(default)]
    pub shadow: Option<ShadowReport>,
    /// The probation after it, if there was one.
    #[serde(default)]
    pub probation: Option<ProbationReport>,
    /// Parameters that changed with it, as they were; missing values were the driver's defaults.
    #[serde(default)]
    pub params_before: BTreeMap<String, Option<String>>,
    /// What it is of.
    #[serde(default)]
    pub kind: Kind,
    /// What was done about properties, where that is what it is of.
    #[serde(default)]
    pub properties: Option<PropertiesReport>,
    /// Why the driver before was put away although it did not let go, where it was: its state is lost, and its module
    /// stays in memory.
    #[serde(default)]
    pub abandoned: Option<String>,
    /// When it was over, no driver served the port: what it names as having run before does not.
    #[serde(default)]
    pub nobody_serves: bool,
    /// It is a way back that nobody asked for: from a driver on probation, from an activation that was not
    /// confirmed, or with others of an update of several ports.
    #[serde(default)]
    pub by_itself: bool,
    /// What holds beyond that, a sentence each: such as what the next start comes up with, where that is
    /// something else.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What the calls between the drivers took, by which a later daemon knows which of them are quick.
    #[serde(default)]
    pub calls: Vec<CallTimes>,
}

impl Receipt {
    /// A receipt of which nothing is known yet but the port and the time: *refused*, without a reason.
    pub fn blank(id: u64, port: &str, started_unix_ms: u64) -> Receipt {
        Receipt {
            id,
            port: port.to_owned(),
            started_unix_ms,
            from: Release { driver: String::new(), version: String::new(), hash: String::new() },
            to: None,
            outcome: Outcome::Refused,
            reason: String::new(),
            mode: None,
            phases: Vec::new(),
            held: 0,
            drained: 0,
            adopted: 0,
            pause_ns: 0,
            longest_stall_ns: 0,
            generation_before: 0,
            generation_after: 0,
            unload: Unload::None,
            by: Requester::default(),
            source: String::new(),
            handed_back: 0,
            reduced: Vec::new(),
            checks: Vec::new(),
            shadow: None,
            probation: None,
            params_before: BTreeMap::new(),
            kind: Kind::default(),
            properties: None,
            abandoned: None,
            nobody_serves: false,
            by_itself: false,
            notes: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Whether it went back without being asked to.
    pub fn went_back_by_itself(&self) -> bool {
        self.by_itself || matches!(self.by.cause, Cause::Probation | Cause::Unconfirmed)
    }

    /// Nanoseconds spent in `phase`, if it was gone through.
    pub fn phase_ns(&self, phase: Phase) -> Option<u64> {
        self.phases.iter().find(|p| p.phase == phase).map(|p| p.ns)
    }
}
