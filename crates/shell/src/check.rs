//! The check before an update: the candidate's manifest against the shell, the hardware, the running
//! driver, the live properties and policy. Pure comparison; no code of the candidate has run yet.
//!
//! [`check`] reports every row, also those that passed, so that a refusal lists all its reasons and a
//! receipt shows what was looked at. What only a running driver can tell (sizes of its devices) is
//! checked when it announces them.

mod libraries;
mod memory;
mod mode;
mod port;
mod rows;
mod signature;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;
use crate::params::ShellDefaults;
use crate::receipt::Mode;
pub use libraries::{ALLOWED as ALLOWED_LIBRARIES, Libraries};
pub use memory::{Granted, Left, ShortOf};
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
    /// Queues of the port.
    pub queues: u64,
    /// Arenas up to this size are kept ready, bytes.
    pub ready: u64,
    /// What the process can still have; none where nobody looked.
    pub left: Option<Left>,
}

impl Limits {
    /// No limit: everything fits.
    pub const NONE: Limits = Limits {
        pdu_bytes: u32::MAX,
        port_bytes: u64::MAX,
        queue_bytes: u64::MAX,
        queues: 1,
        ready: 0,
        left: None,
    };
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// A driver older than the running one may take over.
    pub allow_older: bool,
    /// A driver of another name may take over although no state can be handed on.
    pub allow_other: bool,
    /// A candidate may skip releases that it wants to come from, where the state can be handed on.
    pub allow_skip: bool,
    /// The driver of a port may be replaced once between two starts of the daemon.
    pub once_per_start: bool,
    /// It may be replaced again all the same.
    pub allow_again: bool,
    /// A device may become smaller, unless clients use it.
    pub allow_smaller: bool,
    /// A candidate must say the oldest version that it can update from.
    pub require_min_from: bool,
}

/// A device of the port, as far as it matters for its next driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSide {
    /// Name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Smallest unit of a request, bytes.
    pub block_size: u32,
    /// Clients that use it.
    pub clients: u32,
    /// Bytes that the candidate would find behind it, where these are fewer than it has.
    pub shrinks_to: Option<u64>,
}

/// The port, beside its driver and its properties.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortSide<'a> {
    /// How often its driver was replaced since the daemon started.
    pub swaps: u64,
    /// Its devices.
    pub devices: &'a [DeviceSide],
    /// What its devices contain; none where it has had no driver.
    pub contents: Option<ContentsSide<'a>>,
    /// How requests in flight could be treated; none while nobody serves the port.
    pub pending: Option<PendingSide>,
}

/// What there is to know of requests in flight, beside the manifests.
#[derive(Clone, Copy, Debug, Default)]
pub struct PendingSide {
    /// Whether the running driver can hand back requests that it has not begun.
    pub hands_back: bool,
    /// How they are to be treated; the least disruptive way when none.
    pub wanted: Option<Mode>,
}

/// What is known of what a device would contain under a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// The same.
    Same,
    /// It is held against what the candidate asks for once that is prepared.
    Later,
    /// Something else.
    Other,
    /// Nothing says what.
    Unknown,
}

/// The contents of a port's devices, now and under a candidate.
#[derive(Clone, Copy, Debug)]
pub struct ContentsSide<'a> {
    /// What is known.
    pub known: Contents,
    /// Both sides, for people.
    pub what: &'a str,
    /// Clients that have devices of the port open.
    pub clients: u32,
    /// The same for people, with the port's name.
    pub used: &'a str,
    /// Other contents under clients are what is wanted.
    pub forced: bool,
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
    /// Defaults of the parameters that the shell carries out under every driver.
    pub shell: ShellDefaults,
    /// The hardware; none where the port has none that could be named yet.
    pub hardware: Option<Hardware<'a>>,
    /// The port; left at its default for a first driver.
    pub port: PortSide<'a>,
    /// The candidate's signature, and the file it is about; none where the module is loaded already.
    pub signature: Option<(&'a Signed, &'a Path)>,
    /// What it would have loaded beside itself; none where it is loaded already.
    pub libraries: Option<&'a Libraries>,
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
    rows.push(rows::hardware(candidate, input.hardware));
    rows.extend(input.signature.map(|(signed, file)| signed.row(file)));
    rows.extend(input.libraries.map(Libraries::row));
    if let Some(running) = input.running {
        rows.extend([
            rows::class(running.manifest, candidate),
            rows::driver(running, input.candidate, input.policy),
            rows::state(running.manifest, candidate, input.policy),
            rows::version(running.manifest, candidate, input.policy),
            rows::min_from(running.manifest, candidate, input.policy),
            port::once(input.port.swaps, input.policy),
            port::size(input.candidate, input.port.devices, input.policy),
        ]);
        rows.extend(input.port.contents.map(port::contents));
        rows.push(port::pending(running, input.candidate, input.port.pending));
    }
    rows.push(rows::features(candidate, input.offered_features));
    rows.push(rows::pdu(candidate, input.limits.pdu_bytes));
    rows.extend(memory::rows(candidate, &input.limits));
    rows.push(rows::parameters(candidate, input.properties, input.shell));
    rows
}

/// The comparison with the hardware alone: for a port whose first driver has just found out what there
/// is.
pub fn hardware(candidate: &Manifest, hardware: Hardware<'_>) -> CheckRow {
    rows::hardware(candidate, Some(hardware))
}

/// Whether every row allows the update.
pub fn passed(rows: &[CheckRow]) -> bool {
    rows.iter().all(|row| row.ok)
}

/// Whether nothing but its clients keeps an update from being done: it can be done once they have gone.
pub fn waits_for_clients(rows: &[CheckRow]) -> bool {
    let mut refusing = rows.iter().filter(|row| !row.ok).peekable();
    refusing.peek().is_some() && refusing.all(|row| row.name == port::CONTENTS)
}

/// The reasons of a refusal, in one line; empty when all passed.
pub fn refusals(rows: &[CheckRow]) -> String {
    let reasons: Vec<String> =
        rows.iter().filter(|row| !row.ok).map(|row| format!("{}: {}", row.name, row.detail)).collect();
    reasons.join("; ")
}
