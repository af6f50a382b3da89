//! Going back.

use super::Control;
use super::peer::Admin;
use super::reply::{Failed, blocking, not_stopping, update_status};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use steadfast_api::{Problem, RevertRequest, schema};

/// Goes back to the module that ran before the one that runs now. It is an update like any other; a
/// probation that runs ends. Asked for once more, it goes forward again, but not to what has gone back by itself.
/// With `dry_run` the answer is a `CheckReport` with status 200, and nothing is touched.
#[utoipa::path(post, path = "/v1/devices/{name}/revert", params(("name" = String, description = "Device")),
    request_body = RevertRequest,
    responses(
        (status = 200, description = "Done", body = schema::Receipt),
        (status = 409, description = "Busy, nothing was touched", body = schema::Receipt),
        (status = 422, description = "Refused, nothing to go back to, or rolled back", body = schema::Receipt),
        (status = 500, description = "Stranded, neither driver works", body = schema::Receipt),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such device", body = Problem),
    ))]
pub(super) async fn revert(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<RevertRequest>, JsonRejection>,
) -> Result<Response, Failed> {
    let Json(request) = request?;
    not_stopping(&control)?;
    if request.dry_run {
        let report = blocking(&control, move |app| app.try_revert(&name, &request)).await??;
        return Ok(Json(report).into_response());
    }
    let receipt = blocking(&control, move |app| app.revert(&name, &request, who)).await??;
    Ok((update_status(&receipt), Json(receipt)).into_response())
}
