//! Trials, between the API's words and the engine's.

use crate::app::App;
use std::time::Duration;
use steadfast_api::{Problem, ProblemKind, Shadow, ShadowRequest, UpdateRequest};
use steadfast_runtime::ShadowInfo;
use steadfast_shell::shadow::Bounds;

/// What the engine is asked for.
pub(crate) fn asked(request: &ShadowRequest) -> steadfast_runtime::TrialOptions {
    steadfast_runtime::TrialOptions {
        duration: Duration::from_millis(request.duration_ms),
        sample: request.sample,
        bounds: Bounds { least_compared: request.least_compared, max_latency: request.max_latency },
        only: request.only,
    }
}

/// Whether the trial that is asked for, if one is, can be made at all.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn sound(request: &UpdateRequest) -> Result<(), Problem> {
    let Some(shadow) = &request.shadow else { return Ok(()) };
    asked(shadow).check().map_err(|why| Problem::new(ProblemKind::BadRequest, why))
}

impl App {
    /// Ends the trial on a device's port.
    ///
    /// # Errors
    /// `NotFound`: there is none.
    pub(crate) fn end_trial(&self, device: &str, who: &str) -> Result<Shadow, Problem> {
        let port = self.device_info(device)?.port;
        let by = if who.is_empty() { String::new() } else { format!(" ({who})") };
        let ended = self.engine.stop_trial(&port, &format!("somebody ended it{by}"));
        ended.as_ref().map(shown).ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, format!("device {device}: no trial is under way"))
        })
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
