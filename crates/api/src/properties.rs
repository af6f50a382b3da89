use crate::{Receipt, Release, schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// One parameter of a port: what is in force, what is saved, and whether that is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Property {
    /// Name.
    pub name: String,
    /// Value in force; missing where it is undefined.
    pub current: Option<String>,
    /// Where that was said; missing for a default.
    pub source: Option<String>,
    /// The layer that it comes from: `default`, `load-time` or `driver`.
    pub layer: String,
    /// Value that is saved, and that an activation or the next start would put in force.
    pub saved: Option<String>,
    /// Where that was said; missing for a default.
    pub saved_source: Option<String>,
    /// What is saved differs, as a value, from what is in force.
    pub pending: bool,
    /// What is in force was set by a command and never saved: an activation undoes it.
    #[serde(default)]
    pub undone: bool,
    /// Value when the driver attached at start, where it was defined then.
    pub load_time: Option<String>,
    /// The default; missing where there is none.
    pub default: Option<String>,
    /// Kind of its values.
    pub kind: String,
    /// What is allowed, for people.
    pub allowed: String,
    /// Unit, for people; may be empty.
    pub unit: String,
    /// What a change takes: `live`, `reinit` or `reload`.
    pub class: String,
    /// What one value is for: `port` (each has its own), `own` (the same, and it names what is behind the port, so
    /// no other can have it), `adapter` (all of its ports share it), `module` (all ports that run it do).
    #[serde(default)]
    pub scope: String,
    /// Who carries it out: `shell` or `driver`.
    pub by: String,
    /// One line for people; may be empty.
    pub help: String,
}

/// The parameters of a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Properties {
    /// Port.
    pub port: String,
    /// The driver that runs, or is to once the port comes up.
    #[schema(value_type = Option<schema::Release>)]
    pub driver: Option<Release>,
    /// Count of the port's attaches.
    pub generation: u64,
    /// Every parameter.
    pub properties: Vec<Property>,
    /// What is saved could be read. If not, `saved` is missing for every parameter and `pending` says nothing;
    /// `faults` says why.
    #[serde(default = "known")]
    pub saved_known: bool,
    /// What is wrong with the saved set: none of it can be activated before that is mended.
    pub faults: Vec<String>,
    /// The file that parameters are saved in.
    pub file: String,
}

/// For an answer that does not say it.
fn known() -> bool {
    true
}

/// Asks for saved values to change: all of those named, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveRequest {
    /// New values.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Values that are not said here any more: what is below shows.
    #[serde(default)]
    pub unset: Vec<String>,
    /// Values that the driver's default is to show for, whatever is below.
    #[serde(default)]
    pub undefine: Vec<String>,
    /// For every port of the driver, where the port itself says nothing.
    #[serde(default)]
    pub global: bool,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a change of saved values did to one parameter of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Saved {
    /// Port.
    pub port: String,
    /// Parameter.
    pub name: String,
    /// Saved value before; missing where it was undefined.
    pub before: Option<String>,
    /// Saved value since.
    pub after: Option<String>,
    /// What a change takes: `live`, `reinit` or `reload`.
    pub class: String,
    /// It is in force.
    pub in_force: bool,
    /// What it waits for; empty when it is in force.
    pub waits_for: String,
}

/// What a change of saved values has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SaveReport {
    /// The file that was changed.
    pub file: String,
    /// It was only said what would be done.
    pub dry_run: bool,
    /// Values that differ from before, or were put in force.
    pub changed: Vec<Saved>,
    /// What the file says since that it did not say before, an entry each: also what changes no value.
    #[serde(default)]
    pub written: Vec<String>,
}

/// Asks for a port to be initialised anew with what is saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateRequest {
    /// Only when no I/O flows; otherwise it is held.
    #[serde(default)]
    pub idle_only: bool,
    /// Time to let pass first, milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Longest wait for requests in flight, milliseconds; as the port's `drain_timeout` says when missing.
    #[serde(default)]
    pub drain_timeout_ms: Option<u64>,
    /// Go back unless it is confirmed within so many milliseconds.
    #[serde(default)]
    pub confirm_within_ms: Option<u64>,
    /// Answer when it is over, also where there is a delay.
    #[serde(default)]
    pub wait: bool,
    /// Where it takes the port down (`admin_state`): also when clients use it, whose requests then end with an
    /// error. Where it puts other contents behind the port (another file): also under clients, which find them
    /// from one request to the next.
    #[serde(default)]
    pub force: bool,
    /// Writes to what is behind the port that were acknowledged may be lost, as the daemon has told; go on with
    /// it as it is. Flushes succeed again. With clients this takes `force`: they may not have heard of it.
    #[serde(default)]
    pub accept_loss: bool,
    /// Put the running driver away even if it does not let go, does not return from a call or does not finish what it
    /// has in time: its state is lost, what it has not answered fails, and its module stays in memory.
    #[serde(default)]
    pub abandon: bool,
    /// Only if the port is still as it was when this was made: see [`Plan`].
    #[serde(default)]
    pub fingerprint: Option<String>,
}

/// Asks for every port that runs a port's module to be initialised anew with what is saved for it, one after
/// the other. A failure takes those already done back, the last one first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// As for an activation, of each.
    #[serde(default)]
    pub idle_only: bool,
    /// As for an activation, of each.
    #[serde(default)]
    pub drain_timeout_ms: Option<u64>,
    /// As for an activation, of each.
    #[serde(default)]
    pub force: bool,
}

/// The answer to an activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Activating {
    /// Port.
    pub port: String,
    /// How long to wait until it is over at the latest, milliseconds; 0 when it is.
    pub wait_ms: u64,
    /// When it will most likely be over, milliseconds from now; missing when it is. An estimate for people: programs
    /// wait for `wait_ms`.
    #[serde(default)]
    pub estimate_ms: Option<u64>,
    /// How it went; missing while it is under way.
    #[schema(value_type = Option<schema::Receipt>)]
    pub receipt: Option<Receipt>,
    /// What would change; where only that was asked for.
    #[serde(default)]
    pub would: Option<PortPlan>,
}

/// One value that an activation would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedChange {
    /// Parameter.
    pub name: String,
    /// Value in force.
    pub current: Option<String>,
    /// Value that is saved.
    pub saved: Option<String>,
    /// Where that was said; empty for a default.
    pub source: String,
    /// What a change takes: `live`, `reinit` or `reload`.
    pub class: String,
    /// What happens, for people.
    pub effect: String,
    /// The value in force was set by a command and never saved: the activation undoes it.
    #[serde(default)]
    pub undone: bool,
}

/// What an activation of one port would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortPlan {
    /// Port.
    pub port: String,
    /// Of the port as it is and of what is saved: another one means that the plan is stale.
    pub fingerprint: String,
    /// Count of the port's attaches.
    pub generation: u64,
    /// Values that would change.
    pub changes: Vec<PlannedChange>,
    /// Why an activation is refused unless it is forced, whatever changes: the file was replaced, moved or removed.
    #[serde(default)]
    pub refusals: Vec<String>,
}

/// What activations of ports would do; can be kept in a file and carried out later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Form of this document: 1.
    pub version: u32,
    /// Port by port.
    pub ports: Vec<PortPlan>,
}

impl Plan {
    /// The form that is written and read.
    pub const VERSION: u32 = 1;
}

/// Asks for what is in force and saved to go back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// To what was in force after this receipt; when missing, to what was before the last activation that
    /// was done.
    #[serde(default)]
    pub to: Option<u64>,
    /// As for an activation.
    #[serde(default)]
    pub idle_only: bool,
    /// As for an activation.
    #[serde(default)]
    pub drain_timeout_ms: Option<u64>,
    /// As for an activation, for taking the port down; other contents that come back need none.
    #[serde(default)]
    pub force: bool,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}
