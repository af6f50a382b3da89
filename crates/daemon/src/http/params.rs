//! Parameters of ports, saved and in force; plans, activations and the way back.

use super::Control;
use super::peer::Admin;
use super::reply::{Failed, blocking, change, rolling_status, update_status};
use crate::app::App;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;
use steadfast_api::{
    ActivateRequest, ActivateSeveralRequest, Activating, PortPlan, Problem, Properties, Receipt,
    ReloadRequest, RollbackRequest, RollingReport, SaveReport, SaveRequest, schema,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn router() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(show, save))
        .routes(routes!(plan))
        .routes(routes!(activate, call_off))
        .routes(routes!(reload))
        .routes(routes!(activate_several))
        .routes(routes!(confirm))
        .routes(routes!(rollback))
        .routes(routes!(history))
}

fn answer(activating: Activating) -> Response {
    let without = if activating.would.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let status = activating.receipt.as_ref().map_or(without, update_status);
    (status, Json(activating)).into_response()
}

/// Every parameter of a port: in force, saved, and whether that is the same.
#[utoipa::path(get, path = "/v1/ports/{name}/params", params(("name" = String, description = "Port")),
    responses((status = 200, body = Properties), (status = 404, body = Problem),
        (status = 422, description = "Nobody serves the port", body = Problem)))]
async fn show(State(control): State<Control>, Path(name): Path<String>) -> Result<Json<Properties>, Failed> {
    Ok(Json(blocking(&control, move |app| app.properties(&name)).await??))
}

/// Changes what is saved: all of those named, or none. Live parameters take effect at once.
#[utoipa::path(post, path = "/v1/ports/{name}/params", params(("name" = String, description = "Port")),
    request_body = SaveRequest,
    responses(
        (status = 200, description = "Saved, or what would be", body = SaveReport),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such port", body = Problem),
        (status = 409, description = "Busy, nothing was touched", body = Problem),
        (status = 422, description = "Refused, nothing was changed", body = Problem),
    ))]
async fn save(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<SaveRequest>, JsonRejection>,
) -> Result<Json<SaveReport>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.save_params(&name, &request, &who)).await?))
}

/// What an activation would change.
#[utoipa::path(get, path = "/v1/ports/{name}/plan", params(("name" = String, description = "Port")),
    responses((status = 200, body = PortPlan), (status = 404, body = Problem),
        (status = 422, description = "What is saved will not do", body = Problem)))]
async fn plan(State(control): State<Control>, Path(name): Path<String>) -> Result<Json<PortPlan>, Failed> {
    Ok(Json(blocking(&control, move |app| app.plan(&name)).await??))
}

/// Initialises a port anew with what is saved. With a delay the answer says how long to wait.
#[utoipa::path(post, path = "/v1/ports/{name}/activate", params(("name" = String, description = "Port")),
    request_body = ActivateRequest,
    responses(
        (status = 200, description = "Done", body = Activating),
        (status = 202, description = "Under way: it says how long to wait", body = Activating),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such port", body = Problem),
        (status = 409, description = "Busy, or a stale plan; nothing was touched", body = Activating),
        (status = 422, description = "Refused, or the previous set is in force again", body = Activating),
        (status = 500, description = "Stranded, neither set works", body = Activating),
    ))]
async fn activate(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<ActivateRequest>, JsonRejection>,
) -> Result<Response, Failed> {
    let Json(request) = request?;
    Ok(answer(change(&control, move |app| app.activate(&name, &request, who)).await?))
}

/// Calls off the activation that is to come after its delay.
#[utoipa::path(delete, path = "/v1/ports/{name}/activate", params(("name" = String, description = "Port")),
    responses(
        (status = 200, description = "Its receipt, which says that it was called off", body = Activating),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such port", body = Problem),
        (status = 409, description = "It had begun already", body = Problem),
        (status = 422, description = "None is to come", body = Problem),
    ))]
async fn call_off(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
) -> Result<Json<Activating>, Failed> {
    Ok(Json(change(&control, move |app| app.call_off(&name, &who)).await?))
}

/// Initialises every port that runs this port's module anew, one after the other: all of them or none.
#[utoipa::path(post, path = "/v1/ports/{name}/reload", params(("name" = String, description = "Port")),
    request_body = ReloadRequest,
    responses(
        (status = 200, description = "Every port has what is saved for it", body = RollingReport),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such port", body = Problem),
        (status = 409, description = "Busy, nothing was touched", body = RollingReport),
        (status = 422, description = "Refused, or every port has what it had before again", body = RollingReport),
        (status = 500, description = "A port could not be taken back", body = RollingReport),
    ))]
async fn reload(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<ReloadRequest>, JsonRejection>,
) -> Result<Response, Failed> {
    let Json(request) = request?;
    let report = change(&control, move |app| app.reload(&name, &request, who)).await?;
    Ok((rolling_status(report.outcome), Json(report)).into_response())
}

/// Initialises several ports anew with what is saved for each, one after the other, all of them looked at first.
#[utoipa::path(post, path = "/v1/activate", request_body = ActivateSeveralRequest,
    responses(
        (status = 200, description = "Every port has what is saved for it", body = RollingReport),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such port, adapter or driver", body = Problem),
        (status = 409, description = "Busy, nothing was touched", body = RollingReport),
        (status = 422, description = "Refused, gone back, or stopped: the report says what was done to each",
            body = RollingReport),
        (status = 500, description = "A port could not be taken back", body = RollingReport),
    ))]
async fn activate_several(
    State(control): State<Control>,
    Admin(who): Admin,
    request: Result<Json<ActivateSeveralRequest>, JsonRejection>,
) -> Result<Response, Failed> {
    let Json(request) = request?;
    let report = change(&control, move |app| app.activate_several(&request, who)).await?;
    Ok((rolling_status(report.outcome), Json(report)).into_response())
}

/// Keeps what was activated and would go back by itself.
#[utoipa::path(post, path = "/v1/ports/{name}/confirm", params(("name" = String, description = "Port")),
    responses((status = 200, body = schema::Receipt), (status = 404, body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 422, description = "Nothing waits to be confirmed", body = Problem)))]
async fn confirm(
    State(control): State<Control>,
    _admin: Admin,
    Path(name): Path<String>,
) -> Result<Json<Receipt>, Failed> {
    Ok(Json(change(&control, move |app| app.confirm(&name)).await?))
}

/// Goes back to what was in force before.
#[utoipa::path(post, path = "/v1/ports/{name}/rollback", params(("name" = String, description = "Port")),
    request_body = RollbackRequest,
    responses(
        (status = 200, description = "Done", body = Activating),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such port", body = Problem),
        (status = 409, description = "Busy, nothing was touched", body = Activating),
        (status = 422, description = "Refused, or nothing to go back to", body = Activating),
        (status = 500, description = "Stranded, neither set works", body = Activating),
    ))]
async fn rollback(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<RollbackRequest>, JsonRejection>,
) -> Result<Response, Failed> {
    let Json(request) = request?;
    Ok(answer(change(&control, move |app| app.rollback(&name, &request, who)).await?))
}

#[derive(Debug, Deserialize)]
struct Limit {
    #[serde(default = "some")]
    limit: u32,
}

fn some() -> u32 {
    20
}

/// What was done about the parameters of a port, the newest last. Of a port that is not there any more, what was done
/// while it was, and that it went.
#[utoipa::path(get, path = "/v1/ports/{name}/history",
    params(("name" = String, description = "Port"), ("limit" = Option<u32>, Query, description = "At most so many; 20")),
    responses((status = 200, body = [schema::Receipt]), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn history(
    State(control): State<Control>,
    Path(name): Path<String>,
    limit: Result<Query<Limit>, QueryRejection>,
) -> Result<Json<Vec<Receipt>>, Failed> {
    let limit = limit?.0.limit as usize;
    let found = move |app: &Arc<App>| app.history_of_one(&name, limit);
    Ok(Json(blocking(&control, found).await??))
}
