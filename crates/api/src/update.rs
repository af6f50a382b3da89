use crate::{Mode, ProbationRequest, ShadowRequest, schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Asks for the driver of a device's port to be replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRequest {
    /// Absolute path of a module, or a driver name such as `file` or `file@1.1.0`.
    pub module: String,
    /// How requests in flight are treated; the least disruptive that both drivers can do when
    /// missing.
    #[serde(default)]
    #[schema(value_type = Option<schema::Mode>)]
    pub mode: Option<Mode>,
    /// How long the update may wait for requests in flight, milliseconds; as the port's `drain_timeout` says
    /// when missing.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// What to do when requests are in flight that must be drained.
    #[serde(default)]
    pub if_busy: IfBusy,
    /// An older version is all right.
    #[serde(default)]
    pub allow_older: bool,
    /// A driver of another name is all right, although the state of the running one is lost with it.
    #[serde(default)]
    pub allow_other: bool,
    /// Releases may be skipped that the module wants to come from, where the state can be handed on.
    #[serde(default)]
    pub allow_skip: bool,
    /// The driver may be replaced again although policy allows it once per start.
    #[serde(default)]
    pub allow_again: bool,
    /// Where `params` put other contents behind the port (another file): also under clients, which find them
    /// from one request to the next.
    #[serde(default)]
    pub force: bool,
    /// Put the running driver away even if it does not let go, does not return from a call or does not finish what it
    /// has by the deadline: its state is lost, what it has not answered fails unless the next one can take it over,
    /// and its module stays in memory.
    #[serde(default)]
    pub abandon: bool,
    /// Parameters that change together with the driver, and only if it comes to serve; `null` makes one
    /// undefined.
    #[serde(default)]
    pub params: BTreeMap<String, Option<String>>,
    /// Watch the new driver afterwards, and put the one before back if it is worse.
    #[serde(default)]
    pub probation: Option<ProbationRequest>,
    /// End the probation that the running driver is on; without this it is in the way.
    #[serde(default)]
    pub end_probation: bool,
    /// Make the configuration name the new driver, in its file, once it is done and its probation is passed.
    #[serde(default)]
    pub save: bool,
    /// Try the module first, beside the driver that serves.
    #[serde(default)]
    pub shadow: Option<ShadowRequest>,
    /// BLAKE3 of the module, 64 hexadecimal digits: a file with other contents is not taken.
    #[serde(default)]
    pub hash: Option<String>,
    /// It is a developer's build that is watched, and the receipt says so.
    #[serde(default)]
    pub watch: bool,
}

impl UpdateRequest {
    /// An update to `module` with every choice left to the daemon.
    pub fn new(module: impl Into<String>) -> UpdateRequest {
        UpdateRequest {
            module: module.into(),
            mode: None,
            deadline_ms: None,
            if_busy: IfBusy::default(),
            allow_older: false,
            allow_other: false,
            allow_skip: false,
            allow_again: false,
            force: false,
            abandon: false,
            params: BTreeMap::new(),
            probation: None,
            end_probation: false,
            save: false,
            shadow: None,
            hash: None,
            watch: false,
        }
    }
}

/// What an update does when requests are in flight that it would have to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfBusy {
    /// Waits for them, at most until the deadline.
    #[default]
    Wait,
    /// Changes nothing and answers *busy*.
    Fail,
}
