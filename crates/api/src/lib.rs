//! The control API's types, version 1: JSON over HTTP on the daemon's Unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/health` | [`Health`] |
//! | `GET /v1/devices` | list of [`Device`] |
//! | `GET /v1/devices/{name}` | [`Device`] |
//! | `GET /v1/devices/{name}/state` | [`DeviceState`] |
//! | `GET /v1/events`, `GET /v1/devices/{name}/events` | server-sent events: `device` with a [`Device`], `receipt` with a [`Receipt`] |
//! | `POST /v1/devices/{name}/update` with an [`UpdateRequest`] | [`Receipt`] |
//! | `POST /v1/devices/{name}/revert` with a [`RevertRequest`] | [`Receipt`] |
//! | `POST /v1/devices/{name}/params` with a [`ParamsRequest`] | [`ParamsReport`] |
//! | `GET /v1/receipts?device=&outcome=&since=&limit=` | list of [`Receipt`], the newest last |
//! | `GET /v1/receipts/{id}` | [`Receipt`] |
//! | `GET /v1/drivers` | list of [`Driver`] |
//! | `POST /v1/drivers/check` with a [`CheckRequest`] | [`CheckReport`] |
//! | `GET /v1/adapters`, `GET /v1/adapters/{name}` | list of [`Adapter`], [`Adapter`] |
//! | `GET /v1/ports`, `GET /v1/ports/{name}` | list of [`Port`], [`Port`] |
//! | `POST /v1/devices` with a [`DeviceAddRequest`], `POST /v1/adapters` with an [`AdapterAddRequest`], `POST /v1/adapters/{name}/ports` with a [`PortAddRequest`] | [`TopologyReport`] |
//! | `POST /v1/devices/{name}/remove`, `POST /v1/ports/{name}/remove`, `POST /v1/adapters/{name}/remove` with a [`RemoveRequest`] | [`TopologyReport`] |
//! | `POST /v1/rescan` with a [`RescanRequest`] | [`RescanReport`] |
//! | `POST /v1/update` with a [`RollingRequest`] | [`RollingReport`] |
//! | `POST /v1/activate` with an [`ActivateSeveralRequest`] | [`RollingReport`] |
//! | `POST /v1/drivers/load` with a [`LoadRequest`], `POST /v1/drivers/unload` with an [`UnloadRequest`] | [`Receipt`] |
//! | `GET /v1/profiles`, `GET /v1/profiles/{name}` | [`Profiles`], [`Profile`] |
//! | `GET /v1/profiles/{name}/diff?port=` | [`ProfileDiff`] |
//! | `POST /v1/profiles/{name}/apply` with a [`ProfileApplyRequest`] | [`ProfileApplied`] |
//! | `POST /v1/profiles/{name}` with a [`ProfileSaveRequest`] | [`ProfileSaved`] |
//! | `POST /v1/config/lint` with a [`LintRequest`] | [`LintReport`] |
//! | `POST /v1/config/import` with an [`ImportRequest`] | [`ImportReport`] |
//! | `GET /v1/config/export?driver=&classic=` | [`Exported`] |
//! | `GET /v1/clients?device=`, `GET /v1/clients/{id}` | list of [`Client`], [`Client`] |
//! | `POST /v1/clients/{id}/disconnect` with a [`DisconnectRequest`] | [`Disconnected`] |
//! | `GET /openapi.json` | this API as an OpenAPI document |
//!
//! Whatever fails is answered with a [`Problem`]. Within version 1 fields are only ever added: a
//! client passes over fields that it does not know, and the daemon refuses unknown fields in a
//! request, so that a misspelt one is never silent.

#![forbid(unsafe_code)]

mod available;
mod clients;
mod device;
mod driver;
mod files;
mod health;
mod probation;
mod problem;
mod profiles;
mod properties;
mod rolling;
pub mod schema;
mod socket;
mod state;
pub mod suggest;
mod topology;
mod trial;
mod trouble;
mod update;

pub use available::Available;
pub use clients::{Client, DisconnectRequest, Disconnected};
pub use device::{
    Abandoned, Absent, Device, Latency, Memory, Param, ParamChange, ParamSource, ParamsReport, ParamsRequest,
    PortState,
};
pub use driver::{CheckReport, CheckRequest, CheckRow, Driver, DriverProblem, Drivers};
pub use files::{
    Exported, Finding, ImportReport, ImportRequest, LintFile, LintReport, LintRequest, Severity,
};
pub use health::{Health, HistoryHealth, LogHealth};
pub use probation::{Probation, ProbationRequest, RevertRequest};
pub use problem::{Problem, ProblemKind};
pub use profiles::{
    Profile, ProfileApplied, ProfileApplyRequest, ProfileChange, ProfileDiff, ProfileMissing, ProfileParam,
    ProfileSaveRequest, ProfileSaved, ProfileSummary, Profiles,
};
pub use properties::{
    ActivateRequest, Activating, Plan, PlannedChange, PortPlan, Properties, Property, ReloadRequest,
    RollbackRequest, SaveReport, SaveRequest, Saved,
};
pub use rolling::{
    ActivateSeveralRequest, PortFate, RolledPort, RollingOutcome, RollingReport, RollingRequest,
};
pub use socket::default_socket;
pub use state::{DeviceState, SchemaState};
pub use steadfast_shell::auto::AutoUpdate;
pub use steadfast_shell::probation::{Limits, Observed, ProbationOutcome, ProbationReport};
pub use steadfast_shell::quote::quoted;
pub use steadfast_shell::receipt::{
    CallTimes, Cause, Kind, Mode, Outcome, Phase, PhaseTime, Receipt, Reduced, Release, Requester, Unload,
    ValueChange,
};
pub use steadfast_shell::shadow::{Difference, ShadowReport};
pub use topology::{
    Adapter, AdapterAddRequest, Delayed, DeviceAddRequest, Found, LoadRequest, LoadedDriver, Missed, Port,
    PortAddRequest, RemoveRequest, RescanReport, RescanRequest, Rescanned, TopologyReport, Unconfirmed,
    UnloadRequest,
};
pub use trial::{Shadow, ShadowRequest};
pub use trouble::{Trouble, TroubleCode};
pub use update::{IfBusy, UpdateRequest};

/// What every path of this version begins with.
pub const PREFIX: &str = "/v1";

/// Names of server-sent events.
pub mod event {
    /// The data is a [`Device`](crate::Device) as it is now.
    pub const DEVICE: &str = "device";
    /// The data is the [`Receipt`](crate::Receipt) of an update that has just ended.
    pub const RECEIPT: &str = "receipt";
    /// The data is the name of a device that is no longer there, as a JSON string.
    pub const REMOVED: &str = "removed";
    /// Receipts were not told, because there were too many or it is too long ago; the data says where they are.
    pub const MISSED: &str = "missed";
}
