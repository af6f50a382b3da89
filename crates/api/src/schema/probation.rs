//! What a probation leaves, and the policy for newer modules.

use utoipa::ToSchema;

/// What a device does when a newer module is there.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum AutoUpdate {
    /// Nothing.
    Off,
    /// It says so.
    Notify,
    /// It takes it, on probation.
    Auto,
}

/// How a probation ended, or that it runs.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ProbationOutcome {
    /// It is not over.
    Running,
    /// The new driver stays.
    Passed,
    /// There was too little to judge it by; the new driver stays.
    Unjudged,
    /// The new driver was worse; the one before serves again.
    Reverted,
    /// The new driver was worse, and the way back failed.
    NotReverted,
    /// Somebody changed the driver, or took the device away, before it was over.
    Ended,
    /// The daemon was asked to stop before it was over.
    Stopped,
    /// The daemon ended without a stop before it was over.
    Killed,
}

/// What a port did in some time.
#[derive(ToSchema)]
pub struct Observed {
    /// How long, milliseconds.
    pub ms: u64,
    /// Requests completed.
    pub requests: u64,
    /// Of those, failed.
    pub errors: u64,
    /// Rules of the driver interface that the driver broke.
    pub faults: u64,
    /// Errors and faults by requests, 0 to 1.
    pub error_rate: f64,
    /// Mean latency, nanoseconds.
    pub mean_ns: u64,
    /// 99 of 100 requests took at most this long, nanoseconds.
    pub p99_ns: u64,
    /// The longest, nanoseconds.
    pub max_ns: u64,
}

/// What was allowed.
#[derive(ToSchema)]
pub struct Limits {
    /// Errors and faults by requests, 0 to 1.
    pub error_rate: f64,
    /// Mean latency, nanoseconds; missing where it was not judged.
    pub mean_ns: Option<u64>,
    /// Latency of 99 of 100 requests, nanoseconds; missing where it was not judged.
    pub p99_ns: Option<u64>,
    /// How long a request may stay without an end, or the port without an answer, nanoseconds.
    pub patience_ns: u64,
}

/// What was watched after an update, against what, and what came of it.
#[derive(ToSchema)]
pub struct ProbationReport {
    /// How it ended.
    pub outcome: ProbationOutcome,
    /// In which way it was worse, or why it ended; empty when there is nothing to say.
    pub reason: String,
    /// How long it was to last, milliseconds.
    pub length_ms: u64,
    /// How long it has lasted, milliseconds.
    pub elapsed_ms: u64,
    /// The driver before.
    pub baseline: Observed,
    /// The new driver: all of the time, or the last 30 s of it when it was worse.
    pub observed: Observed,
    /// What was allowed.
    pub limits: Limits,
    /// On the receipt of the way back: the update that was on probation.
    pub of_receipt: Option<u64>,
    /// On the receipt of the update: the way back.
    pub revert_receipt: Option<u64>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use utoipa::PartialSchema;

    fn described(schema: &impl serde::Serialize) -> BTreeSet<String> {
        let schema = serde_json::to_value(schema).expect("a schema is JSON");
        schema["properties"].as_object().expect("an object schema").keys().cloned().collect()
    }

    fn sent(value: &impl serde::Serialize) -> BTreeSet<String> {
        let value = serde_json::to_value(value).expect("JSON");
        value.as_object().expect("an object").keys().cloned().collect()
    }

    #[test]
    fn a_probation_is_as_the_document_says() {
        let report = crate::ProbationReport::default();
        assert_eq!(described(&super::ProbationReport::schema()), sent(&report));
        assert_eq!(described(&super::Observed::schema()), sent(&report.observed));
        assert_eq!(described(&super::Limits::schema()), sent(&report.limits));
        let names = |schema: &serde_json::Value| schema["enum"].as_array().expect("an enum").clone();
        let outcomes = serde_json::to_value(super::ProbationOutcome::schema()).expect("JSON");
        for name in names(&outcomes) {
            serde_json::from_value::<crate::ProbationOutcome>(name).expect("an outcome");
        }
        let policies = serde_json::to_value(super::AutoUpdate::schema()).expect("JSON");
        for name in names(&policies) {
            serde_json::from_value::<crate::AutoUpdate>(name).expect("a policy");
        }
    }
}
