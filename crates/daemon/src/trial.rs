//! Trials, between the API's words and the engine's.

use std::time::Duration;
use steadfast_api::{Shadow, ShadowRequest};
use steadfast_runtime::ShadowInfo;
use steadfast_shell::shadow::Bounds;

/// What the engine is asked for.
pub(crate) fn asked(request: &ShadowRequest) -> steadfast_runtime::Shadow {
    steadfast_runtime::Shadow {
        duration: Duration::from_millis(request.duration_ms),
        sample: request.sample,
        bounds: Bounds { least_compared: request.least_compared, max_latency: request.max_latency },
        only: request.only,
    }
}

/// A trial that is under way.
pub(crate) fn shown(info: &ShadowInfo) -> Shadow {
    Shadow {
        candidate: info.candidate.clone(),
        compared: info.compared,
        differ: info.differ,
        failed: info.failed,
        left_ms: info.left_ms,
    }
}
