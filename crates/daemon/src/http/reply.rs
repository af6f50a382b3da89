//! Answers: documents, problems, and receipts with the status that fits them.

use super::Control;
use crate::app::App;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use steadfast_api::{Outcome, Problem, ProblemKind, Receipt, RollingOutcome};
use tokio::task;

/// A [`Problem`] as an answer.
pub(crate) struct Failed(pub(crate) Problem);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Failed {
        Failed(problem)
    }
}

impl From<JsonRejection> for Failed {
    fn from(e: JsonRejection) -> Failed {
        Failed(Problem::new(ProblemKind::BadRequest, e.body_text()))
    }
}

impl From<QueryRejection> for Failed {
    fn from(e: QueryRejection) -> Failed {
        Failed(Problem::new(ProblemKind::BadRequest, e.body_text()))
    }
}

/// Runs `work`, which may block, beside the control API's own thread.
pub(crate) async fn blocking<T: Send + 'static>(
    control: &Control,
    work: impl FnOnce(&Arc<App>) -> T + Send + 'static,
) -> Result<T, Failed> {
    let app = Arc::clone(&control.app);
    task::spawn_blocking(move || work(&app)).await.map_err(|e| {
        let message =
            if e.is_panic() { "a fault of the daemon; its log says more" } else { "the daemon stops" };
        Failed(Problem::new(ProblemKind::Internal, message))
    })
}

/// # Errors
/// `Stopping`: nothing new begins.
pub(crate) fn not_stopping(control: &Control) -> Result<(), Failed> {
    match *control.stop.borrow() {
        true => Err(Failed(Problem::new(ProblemKind::Stopping, "the daemon stops"))),
        false => Ok(()),
    }
}

/// Does something that changes what there is; not any more when the daemon stops.
pub(crate) async fn change<T: Send + 'static>(
    control: &Control,
    work: impl FnOnce(&Arc<App>) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Failed> {
    not_stopping(control)?;
    Ok(blocking(control, move |app| app.counting(|| work(app))).await??)
}

/// The status of an update: every outcome but *done* is an error to a program that looks no further.
pub(crate) fn update_status(receipt: &Receipt) -> StatusCode {
    match receipt.outcome {
        // Only a trial was asked for: what it was asked for, it has done.
        Outcome::Done | Outcome::Tried => StatusCode::OK,
        Outcome::Busy => StatusCode::CONFLICT,
        Outcome::Refused | Outcome::RolledBack => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::Stranded | Outcome::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of an answer about several ports.
pub(crate) fn rolling_status(outcome: RollingOutcome) -> StatusCode {
    match outcome {
        RollingOutcome::Done => StatusCode::OK,
        RollingOutcome::Busy => StatusCode::CONFLICT,
        RollingOutcome::Refused | RollingOutcome::RolledBack | RollingOutcome::Stopped => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        RollingOutcome::Mixed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
