//! The check before an update: the candidate's manifest against the shell, the hardware, the running
//! driver, the live properties and policy. Pure comparison; no code of the candidate has run yet.
//!
//! [`check`] reports every row, also those that passed, so that a refusal lists all its reasons and a
//! receipt shows what was looked at. What only a running driver can tell (sizes of its devices) is
//! checked when it announces them.

mod mode;
mod rows;
mod signature;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;
pub use mode::{choose_mode, common_state_schema};
pub use signature::{Signature, Signed};

/// One of the two modules that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What it says of itself.
    pub manifest: &'a Manifest,
    /// BLAKE3 of its file, 64 hexadecimal digits.
    pub hash: &'a str,
}

/// The hardware behind a port.
#[derive(Clone, Copy, Debug)]
pub struct Hardware<'a> {
    /// `bus:id`.
    pub hwid: &'a str,
    /// Revision; 0 where there is none.
    pub revision: u32,
}

/// Memory that the shell has for a driver of the port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Private bytes per request.
    pub pdu_bytes: u32,
    /// Arena per port, bytes.
    pub port_bytes: u64,
    /// Arena per queue, bytes.
    pub queue_bytes: u64,
}

impl Limits {
    /// No limit: everything fits.
    pub const NONE: Limits = Limits { pdu_bytes: u32::MAX, port_bytes: u64::MAX, queue_bytes: u64::MAX };
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// A driver older than the running one may take over.
    pub allow_older: bool,
    /// A driver of another name may take over although no state can be handed on.
    pub allow_other: bool,
    /// A candidate must say the oldest version that it can update from.
    pub require_min_from: bool,
}

/// All that is compared.
#[derive(Clone, Copy, Debug)]
pub struct CheckInput<'a> {
    /// The driver that serves the port; none when the port is attached for the first time, and then
    /// the rows that compare the two are left out.
    pub running: Option<Side<'a>>,
    /// The driver that is to serve it.
    pub candidate: Side<'a>,
    /// Features that clients rely on: bits of [`block_feature`](steadfast_abi::block_feature).
    pub offered_features: u64,
    /// Memory.
    pub limits: Limits,
    /// The port's properties, as they were given.
    pub properties: &'a BTreeMap<String, String>,
    /// The hardware; none where the port has none that could be named yet.
    pub hardware: Option<Hardware<'a>>,
    /// Policy.
    pub policy: Policy,
}

/// One comparison and how it came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRow {
    /// What was compared.
    pub name: String,
    /// Whether it allows the update.
    pub ok: bool,
    /// Both sides, for people.
    pub detail: String,
}

/// Makes every comparison.
pub fn check(input: &CheckInput<'_>) -> Vec<CheckRow> {
    let candidate = input.candidate.manifest;
    let mut rows = vec![rows::abi(candidate)];
    rows.extend(input.hardware.map(|hardware| rows::hardware(candidate, hardware)));
    if let Some(running) = input.running {
        rows.extend([
            rows::class(running.manifest, candidate),
            rows::driver(running, input.candidate, input.policy),
            rows::state(running.manifest, candidate, input.policy),
            rows::version(running.manifest, candidate, input.policy),
            rows::min_from(running.manifest, candidate, input.policy),
        ]);
    }
    rows.push(rows::features(candidate, input.offered_features));
    rows.push(rows::pdu(candidate, input.limits.pdu_bytes));
    rows.push(rows::memory("memory.port", candidate.memory_port, input.limits.port_bytes));
    rows.push(rows::memory("memory.queue", candidate.memory_queue, input.limits.queue_bytes));
    rows.push(rows::parameters(candidate, input.properties));
    rows
}

/// Whether every row allows the update.
pub fn passed(rows: &[CheckRow]) -> bool {
    rows.iter().all(|row| row.ok)
}

/// The reasons of a refusal, in one line; empty when all passed.
pub fn refusals(rows: &[CheckRow]) -> String {
    let reasons: Vec<String> =
        rows.iter().filter(|row| !row.ok).map(|row| format!("{}: {}", row.name, row.detail)).collect();
    reasons.join("; ")
}
