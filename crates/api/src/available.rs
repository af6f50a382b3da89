use crate::{AutoUpdate, Release, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A newer module for a device lies in a watched folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Available {
    /// What it is.
    #[schema(value_type = schema::Release)]
    pub module: Release,
    /// The file.
    pub path: String,
    /// What the device does about newer modules.
    #[schema(value_type = schema::AutoUpdate)]
    pub policy: AutoUpdate,
    /// Why it is not taken; empty where it is, or where nothing is to be taken without being asked.
    pub not_taken: String,
}
