use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state that a device's driver would leave for its successor now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceState {
    /// Device.
    pub device: String,
    /// The same state in every schema that the driver writes; empty when it keeps none.
    pub states: Vec<SchemaState>,
}

/// State of one schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SchemaState {
    /// `NAME/N`.
    pub schema: String,
    /// Bytes of it.
    pub bytes: u64,
    /// What it says; missing when it is not typed.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub value: Option<serde_json::Value>,
    /// State that is no map: its bytes, as hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}
