//! The paths. Each handler's description is also its entry in the OpenAPI document.

use super::peer::Admin;
use super::reply::{Failed, blocking, not_stopping, update_status};
use crate::http::{Control, clients, events, param_files, params, ports, profiles, receipts, revert};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use steadfast_api::{
    CheckReport, CheckRequest, Device, DeviceState, Drivers, Health, ParamsReport, ParamsRequest, Problem,
    ProblemKind, Shadow, UpdateRequest, schema,
};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[derive(OpenApi)]
#[openapi(info(
    title = "Steadfast control API",
    description = "Devices stay in service while their drivers are replaced. Served on the daemon's Unix \
                   socket; the kernel's peer credentials decide who may change things.",
    license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
))]
struct Document;

/// All of version 1, and the document that describes it.
pub(super) fn router() -> Router<Control> {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health))
        .routes(routes!(devices))
        .routes(routes!(device))
        .routes(routes!(state))
        .routes(routes!(update))
        .routes(routes!(end_trial))
        .routes(routes!(revert::revert))
        .routes(routes!(params))
        .routes(routes!(receipts::list))
        .routes(routes!(receipts::one))
        .routes(routes!(drivers))
        .routes(routes!(check))
        .routes(routes!(events::all))
        .routes(routes!(events::one))
        .merge(clients::router())
        .merge(ports::router())
        .merge(params::router())
        .merge(profiles::router())
        .merge(param_files::router())
        .split_for_parts();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    router.route("/openapi.json", axum::routing::get(|| async { Json(document) })).fallback(unknown)
}

async fn unknown(uri: axum::http::Uri) -> Failed {
    let message = format!("there is no `{}` that can be asked for so", uri.path());
    Failed(Problem::new(ProblemKind::NotFound, message).hint("GET /openapi.json describes the API"))
}

/// The daemon, in a few numbers.
#[utoipa::path(get, path = "/v1/health", responses((status = 200, body = Health)))]
async fn health(State(control): State<Control>) -> Result<Json<Health>, Failed> {
    Ok(Json(blocking(&control, |app| app.health()).await?))
}

/// All devices, those among them that are defined and could not come up.
#[utoipa::path(get, path = "/v1/devices", responses((status = 200, body = [Device])))]
async fn devices(State(control): State<Control>) -> Result<Json<Vec<Device>>, Failed> {
    Ok(Json(blocking(&control, |app| app.all_devices()).await?))
}

/// One device.
#[utoipa::path(get, path = "/v1/devices/{name}", params(("name" = String, description = "Device")),
    responses((status = 200, body = Device), (status = 404, body = Problem)))]
async fn device(State(control): State<Control>, Path(name): Path<String>) -> Result<Json<Device>, Failed> {
    Ok(Json(blocking(&control, move |app| app.device(&name)).await??))
}

/// The state that the device's driver would leave for its successor now. Requests are held while it is
/// written.
#[utoipa::path(get, path = "/v1/devices/{name}/state", params(("name" = String, description = "Device")),
    responses(
        (status = 200, body = DeviceState),
        (status = 400, description = "The driver cannot write its state while it serves", body = Problem),
        (status = 403, description = "The peer may not hold requests", body = Problem),
        (status = 404, body = Problem),
        (status = 409, description = "An update is under way", body = Problem),
    ))]
async fn state(
    State(control): State<Control>,
    _admin: Admin,
    Path(name): Path<String>,
) -> Result<Json<DeviceState>, Failed> {
    Ok(Json(blocking(&control, move |app| app.state(&name)).await??))
}

/// Replaces the driver of the device's port. The answer is a receipt, whatever the outcome, once the
/// module could be read and the device was found.
#[utoipa::path(post, path = "/v1/devices/{name}/update", params(("name" = String, description = "Device")),
    request_body = UpdateRequest,
    responses(
        (status = 200, description = "Done", body = schema::Receipt),
        (status = 409, description = "Busy, nothing was touched", body = schema::Receipt),
        (status = 422, description = "Refused or rolled back, the old driver serves", body = schema::Receipt),
        (status = 500, description = "Stranded, neither driver works", body = schema::Receipt),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such device or driver", body = Problem),
    ))]
async fn update(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<UpdateRequest>, JsonRejection>,
) -> Result<Response, Failed> {
    let Json(request) = request?;
    sound(&request)?;
    not_stopping(&control)?;
    // When the client goes away the server drops what it waits for, and with it this.
    let client = Client(Arc::default());
    let unwanted = Arc::clone(&client.0);
    let receipt = blocking(&control, move |app| app.update(&name, &request, who, unwanted)).await??;
    Ok((update_status(&receipt), Json(receipt)).into_response())
}

/// Whoever waits for an answer. With it goes the wish for a trial, not for a change that has begun.
struct Client(Arc<AtomicBool>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ends the trial of a module beside the device's driver; nothing is replaced, and the receipt says so. The
/// answer is the trial as it was then.
#[utoipa::path(post, path = "/v1/devices/{name}/end-trial", params(("name" = String, description = "Device")),
    responses(
        (status = 200, description = "It ends", body = Shadow),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such device, or no trial", body = Problem),
    ))]
async fn end_trial(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
) -> Result<Json<Shadow>, Failed> {
    Ok(Json(blocking(&control, move |app| app.end_trial(&name, &who)).await??))
}

/// A request may not ask for what would be ignored.
pub(super) fn sound(request: &UpdateRequest) -> Result<(), Problem> {
    if request.shadow.as_ref().is_some_and(|shadow| shadow.only) {
        let given = [(request.probation.is_some(), "probation"), (request.end_probation, "end_probation")];
        if let Some((_, name)) = given.iter().find(|(given, _)| *given) {
            let message = format!("{name}: a trial with `only` replaces nothing, so there is none");
            return Err(Problem::new(ProblemKind::BadRequest, message));
        }
    }
    Ok(())
}

/// Changes live parameters of the device's port while it runs: all of those named, or none.
#[utoipa::path(post, path = "/v1/devices/{name}/params", params(("name" = String, description = "Device")),
    request_body = ParamsRequest,
    responses(
        (status = 200, description = "Changed", body = ParamsReport),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such device", body = Problem),
        (status = 409, description = "Busy, nothing was touched", body = Problem),
        (status = 422, description = "Refused, nothing was changed", body = Problem),
    ))]
async fn params(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<ParamsRequest>, JsonRejection>,
) -> Result<Json<ParamsReport>, Failed> {
    let Json(request) = request?;
    not_stopping(&control)?;
    Ok(Json(blocking(&control, move |app| app.set_params(&name, &request, &who)).await??))
}

/// The driver modules on the search path.
#[utoipa::path(get, path = "/v1/drivers", responses((status = 200, body = Drivers)))]
async fn drivers(State(control): State<Control>) -> Result<Json<Drivers>, Failed> {
    Ok(Json(blocking(&control, |app| app.drivers()).await?))
}

/// Says whether a module could replace the driver of a device. Changes nothing, runs nothing of it.
#[utoipa::path(post, path = "/v1/drivers/check", request_body = CheckRequest,
    responses(
        (status = 200, description = "What was found, good or bad", body = CheckReport),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not have modules read", body = Problem),
        (status = 404, description = "No such device or driver", body = Problem),
        (status = 422, description = "Not a module", body = Problem),
    ))]
async fn check(
    State(control): State<Control>,
    _admin: Admin,
    request: Result<Json<CheckRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<CheckReport>), Failed> {
    let Json(request) = request?;
    let report = blocking(&control, move |app| app.check(&request)).await??;
    Ok((StatusCode::OK, Json(report)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_alone_takes_no_probation() {
        let request = |more: serde_json::Value| {
            let mut whole =
                serde_json::json!({ "module": "file", "shadow": { "duration_ms": 1000, "only": true } });
            whole.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            serde_json::from_value::<UpdateRequest>(whole).expect("a request")
        };
        assert!(sound(&request(serde_json::json!({}))).is_ok());
        for more in [
            serde_json::json!({ "probation": { "duration_ms": 1000 } }),
            serde_json::json!({ "end_probation": true }),
        ] {
            let problem = sound(&request(more)).expect_err("it would be ignored");
            assert!(
                problem.kind == ProblemKind::BadRequest && problem.message.contains("probation"),
                "{problem:?}"
            );
        }
    }
}
