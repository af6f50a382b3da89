use crate::{Receipt, UpdateRequest, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for the drivers of several ports to be replaced, one port after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollingRequest {
    /// Devices, in this order. One of the three has to be given.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Every port of this adapter, by number.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Every port that runs this driver, by name.
    #[serde(default)]
    pub all_of: Option<String>,
    /// Stop at the first failure and take those already updated back, the last one first. Otherwise
    /// stop at the first failure and leave them.
    #[serde(default)]
    pub rolling: bool,
    /// What is done to each, probation included.
    pub update: UpdateRequest,
}

/// Asks for several ports to be initialised anew with what is saved for each, one port after the other. Everything
/// that can be known before is looked at for all of them before the first one is touched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateSeveralRequest {
    /// Ports, in this order. One of the three has to be given.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Every port of this adapter, by number.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Every port that runs this driver, by name.
    #[serde(default)]
    pub all_of: Option<String>,
    /// Stop at the first failure and take those already activated back, the last one first. Otherwise
    /// stop at the first failure and leave them.
    #[serde(default)]
    pub rolling: bool,
    /// As for an activation, of each.
    #[serde(default)]
    pub idle_only: bool,
    /// As for an activation, of each.
    #[serde(default)]
    pub drain_timeout_ms: Option<u64>,
    /// As for an activation, of each.
    #[serde(default)]
    pub force: bool,
    /// As for an activation, of each.
    #[serde(default)]
    pub accept_loss: bool,
    /// As for an activation, of each.
    #[serde(default)]
    pub abandon: bool,
}

/// How an update, or an activation, of several ports ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RollingOutcome {
    /// Every port runs the new driver; for an activation: it has what is saved for it.
    Done,
    /// Nothing was touched.
    Refused,
    /// Nothing was touched: a port is busy.
    Busy,
    /// A port failed; every port runs what it ran before, as it did.
    RolledBack,
    /// A port failed; those before it run the new driver, as it was not to go back.
    Stopped,
    /// A port failed, and not every port could be taken back.
    Mixed,
}

/// What an update, or an activation, of several ports has done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RollingReport {
    /// How it ended.
    pub outcome: RollingOutcome,
    /// Why it did not go through; empty when it did.
    pub reason: String,
    /// What joins its receipts: each has it in its `source`.
    pub name: String,
    /// Ports, in the order in which it took them.
    pub ports: Vec<RolledPort>,
}

/// What it has done to one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolledPort {
    /// Port.
    pub port: String,
    /// What became of it.
    pub fate: PortFate,
    /// The update or activation, where it came to that.
    #[schema(value_type = Option<schema::Receipt>)]
    pub receipt: Option<Receipt>,
    /// The way back, where there was one.
    #[schema(value_type = Option<schema::Receipt>)]
    pub back: Option<Receipt>,
}

/// What became of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortFate {
    /// It was not touched.
    Untouched,
    /// It runs the new driver, or has what is saved for it.
    Updated,
    /// Its update failed; it runs what it ran before.
    Failed,
    /// It was updated and taken back: it runs what it ran before.
    TakenBack,
    /// It could not be taken back.
    NotTakenBack,
    /// Its update left it without a driver that works.
    Stranded,
}

impl PortFate {
    /// Its name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            PortFate::Untouched => "untouched",
            PortFate::Updated => "updated",
            PortFate::Failed => "failed",
            PortFate::TakenBack => "taken back",
            PortFate::NotTakenBack => "NOT TAKEN BACK",
            PortFate::Stranded => "STRANDED",
        }
    }
}
