use crate::{Release, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The trial before an update: the module answers a copy of the device's reads beside the driver that
/// serves, and changes nothing. The update goes on only when nothing speaks against it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowRequest {
    /// For how long, milliseconds: above 0, at most a day.
    pub duration_ms: u64,
    /// Part of the reads that is copied: above 0, at most 1.
    #[serde(default = "everything")]
    pub sample: f64,
    /// Most that the 99th percentile of its latency may be, as a multiple of that of the driver that
    /// serves; not judged when missing.
    #[serde(default)]
    pub max_latency: Option<f64>,
    /// Fewest reads that must have been compared.
    #[serde(default = "one")]
    pub least_compared: u64,
    /// Only report; never go on with the update.
    #[serde(default)]
    pub only: bool,
}

const fn everything() -> f64 {
    1.0
}

const fn one() -> u64 {
    1
}

impl ShadowRequest {
    /// A trial with every choice left to the daemon.
    pub fn new(duration_ms: u64) -> ShadowRequest {
        ShadowRequest {
            duration_ms,
            sample: everything(),
            max_latency: None,
            least_compared: one(),
            only: false,
        }
    }
}

/// A trial that is under way beside a device's driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shadow {
    /// The candidate.
    #[schema(value_type = schema::Release)]
    pub candidate: Release,
    /// Reads compared so far.
    pub compared: u64,
    /// Of those, how many differ.
    pub differ: u64,
    /// Reads that the candidate failed.
    pub failed: u64,
    /// Milliseconds until it ends.
    pub left_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_needs_no_more_than_its_length() {
        let request: ShadowRequest = serde_json::from_str(r#"{"duration_ms": 500}"#).expect("valid");
        assert_eq!(request, ShadowRequest::new(500));
        assert!(serde_json::from_str::<ShadowRequest>(r#"{"duration_ms": 5, "smaple": 1}"#).is_err());
    }
}
