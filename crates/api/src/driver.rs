use crate::{LoadedDriver, Mode, Release, schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The modules of the daemon's search path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Drivers {
    /// Folders that are searched, the first one first.
    pub search_path: Vec<String>,
    /// Modules found, by name and version.
    pub drivers: Vec<Driver>,
    /// Modules that are in memory, by name and version.
    #[serde(default)]
    pub loaded: Vec<LoadedDriver>,
    /// Files that look like modules and are not.
    pub problems: Vec<DriverProblem>,
}

/// One driver module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Driver {
    /// Driver name.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Device class: `block`.
    pub class: String,
    /// One line for people.
    pub about: String,
    /// ABI it was built against, `MAJOR.MINOR`.
    pub abi: String,
    /// The module file.
    pub path: String,
    /// Features that it can offer.
    pub features: Vec<String>,
    /// Its parameters, each as one line: name, kind, range, default.
    pub params: Vec<String>,
    /// Ports that run this driver in this version.
    pub ports: Vec<String>,
}

/// A file in the search path that is not a usable module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverProblem {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Asks whether a module could replace the driver of a device. Nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// Absolute path of a module, or a driver name such as `file` or `file@1.1.0`.
    pub module: String,
    /// Device whose driver it would replace.
    pub device: String,
    /// An older version is all right.
    #[serde(default)]
    pub allow_older: bool,
    /// A driver of another name is all right.
    #[serde(default)]
    pub allow_other: bool,
    /// Releases may be skipped that the module wants to come from, where the state can be handed on.
    #[serde(default)]
    pub allow_skip: bool,
    /// The driver may be replaced again although policy allows it once per start.
    #[serde(default)]
    pub allow_again: bool,
    /// Other contents under clients are what is wanted.
    #[serde(default)]
    pub force: bool,
    /// How requests in flight would be to be treated; the least disruptive way when missing.
    #[serde(default)]
    #[schema(value_type = Option<schema::Mode>)]
    pub mode: Option<Mode>,
    /// Parameters that would change together with the driver; `null` goes back to the driver's default.
    #[serde(default)]
    pub params: BTreeMap<String, Option<String>>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckReport {
    /// What was checked.
    #[schema(value_type = schema::Release)]
    pub module: Release,
    /// What runs now; missing when the module was checked by itself.
    #[schema(value_type = Option<schema::Release>)]
    pub running: Option<Release>,
    /// Every row passed.
    pub ok: bool,
    /// How an update would treat requests in flight; missing when it would be refused.
    #[schema(value_type = Option<schema::Mode>)]
    pub mode: Option<Mode>,
    /// Every row, also those that passed.
    pub rows: Vec<CheckRow>,
}

/// One row of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckRow {
    /// What was compared.
    pub name: String,
    /// It is all right.
    pub ok: bool,
    /// Both sides of the comparison.
    pub detail: String,
}
