//! Adapters, ports and devices: what there is, what comes, what goes; and updates of several ports.

use super::Control;
use super::peer::Admin;
use super::reply::{Failed, blocking, change, not_stopping, rolling_status};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use steadfast_api::{
    Adapter, AdapterAddRequest, DeviceAddRequest, LoadRequest, Port, PortAddRequest, Problem, ProblemKind,
    Receipt, RemoveRequest, RescanReport, RescanRequest, RollingReport, RollingRequest, TopologyReport,
    UnloadRequest, schema,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn router() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(adapters))
        .routes(routes!(adapter))
        .routes(routes!(ports))
        .routes(routes!(port))
        .routes(routes!(add_device))
        .routes(routes!(add_adapter))
        .routes(routes!(add_port))
        .routes(routes!(remove_device))
        .routes(routes!(remove_port))
        .routes(routes!(remove_adapter))
        .routes(routes!(rescan))
        .routes(routes!(load_driver))
        .routes(routes!(unload_driver))
        .routes(routes!(update_several))
}

/// All adapters, with their ports.
#[utoipa::path(get, path = "/v1/adapters", responses((status = 200, body = [Adapter])))]
async fn adapters(State(control): State<Control>) -> Result<Json<Vec<Adapter>>, Failed> {
    Ok(Json(blocking(&control, |app| app.adapters()).await?))
}

/// One adapter.
#[utoipa::path(get, path = "/v1/adapters/{name}", params(("name" = String, description = "Adapter")),
    responses((status = 200, body = Adapter), (status = 404, body = Problem)))]
async fn adapter(State(control): State<Control>, Path(name): Path<String>) -> Result<Json<Adapter>, Failed> {
    Ok(Json(blocking(&control, move |app| app.adapter(&name)).await??))
}

/// All ports, also those without a device.
#[utoipa::path(get, path = "/v1/ports", responses((status = 200, body = [Port])))]
async fn ports(State(control): State<Control>) -> Result<Json<Vec<Port>>, Failed> {
    Ok(Json(blocking(&control, |app| app.ports()).await?))
}

/// One port.
#[utoipa::path(get, path = "/v1/ports/{name}", params(("name" = String, description = "Port")),
    responses((status = 200, body = Port), (status = 404, body = Problem)))]
async fn port(State(control): State<Control>, Path(name): Path<String>) -> Result<Json<Port>, Failed> {
    Ok(Json(blocking(&control, move |app| app.port(&name)).await??))
}

/// Attaches a device, and keeps it for the next start unless it is temporary.
#[utoipa::path(post, path = "/v1/devices", request_body = DeviceAddRequest,
    responses(
        (status = 200, description = "It is there, and reachable", body = TopologyReport),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 422, description = "Refused, nothing was changed", body = Problem),
    ))]
async fn add_device(
    State(control): State<Control>,
    Admin(who): Admin,
    request: Result<Json<DeviceAddRequest>, JsonRejection>,
) -> Result<Json<TopologyReport>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.add_device(&request, who)).await?))
}

/// Attaches an adapter with its ports: all of them, or none.
#[utoipa::path(post, path = "/v1/adapters", request_body = AdapterAddRequest,
    responses(
        (status = 200, description = "All of its ports are there", body = TopologyReport),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 422, description = "Refused, no port was added", body = Problem),
    ))]
async fn add_adapter(
    State(control): State<Control>,
    Admin(who): Admin,
    request: Result<Json<AdapterAddRequest>, JsonRejection>,
) -> Result<Json<TopologyReport>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.add_adapter(&request, who)).await?))
}

/// Attaches one more port of an adapter.
#[utoipa::path(post, path = "/v1/adapters/{name}/ports", request_body = PortAddRequest,
    params(("name" = String, description = "Adapter")),
    responses(
        (status = 200, description = "It is there, and reachable", body = TopologyReport),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such adapter", body = Problem),
        (status = 422, description = "Refused, nothing was changed", body = Problem),
    ))]
async fn add_port(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<PortAddRequest>, JsonRejection>,
) -> Result<Json<TopologyReport>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.add_port(&name, &request, who)).await?))
}

/// Takes a device's port away.
#[utoipa::path(post, path = "/v1/devices/{name}/remove", request_body = RemoveRequest,
    params(("name" = String, description = "Device")),
    responses(
        (status = 200, description = "It is gone", body = TopologyReport),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such device", body = Problem),
        (status = 409, description = "In use; nothing was changed", body = Problem),
        (status = 422, description = "Refused, it is still there", body = Problem),
    ))]
async fn remove_device(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<RemoveRequest>, JsonRejection>,
) -> Result<Json<TopologyReport>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.remove_device(&name, &request, who)).await?))
}

/// Takes a port away.
#[utoipa::path(post, path = "/v1/ports/{name}/remove", request_body = RemoveRequest,
    params(("name" = String, description = "Port")),
    responses(
        (status = 200, description = "It is gone", body = TopologyReport),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such port", body = Problem),
        (status = 409, description = "In use; nothing was changed", body = Problem),
        (status = 422, description = "Refused, it is still there", body = Problem),
    ))]
async fn remove_port(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<RemoveRequest>, JsonRejection>,
) -> Result<Json<TopologyReport>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.remove_port(&name, &request, who)).await?))
}

/// Takes an adapter away, with all of its ports.
#[utoipa::path(post, path = "/v1/adapters/{name}/remove", request_body = RemoveRequest,
    params(("name" = String, description = "Adapter")),
    responses(
        (status = 200, description = "It is gone", body = TopologyReport),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such adapter", body = Problem),
        (status = 409, description = "A port is in use; nothing was changed", body = Problem),
        (status = 422, description = "Refused; the message says what is still there", body = Problem),
    ))]
async fn remove_adapter(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<RemoveRequest>, JsonRejection>,
) -> Result<Json<TopologyReport>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.remove_adapter(&name, &request, who)).await?))
}

/// Reads the configuration again and attaches what is new; announces what has grown.
#[utoipa::path(post, path = "/v1/rescan", request_body = RescanRequest,
    responses(
        (status = 200, description = "What was found", body = RescanReport),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such port", body = Problem),
    ))]
async fn rescan(
    State(control): State<Control>,
    Admin(who): Admin,
    request: Result<Json<RescanRequest>, JsonRejection>,
) -> Result<Json<RescanReport>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.rescan(&request, who)).await?))
}

/// Maps a driver module, which then stays in memory without a port.
#[utoipa::path(post, path = "/v1/drivers/load", request_body = LoadRequest,
    responses(
        (status = 200, description = "It is in memory", body = schema::Receipt),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such driver", body = Problem),
        (status = 422, description = "Not a module that can be used", body = Problem),
    ))]
async fn load_driver(
    State(control): State<Control>,
    Admin(who): Admin,
    request: Result<Json<LoadRequest>, JsonRejection>,
) -> Result<Json<Receipt>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.load_driver(&request, who)).await?))
}

/// Lets a driver module go that no port uses.
#[utoipa::path(post, path = "/v1/drivers/unload", request_body = UnloadRequest,
    responses(
        (status = 200, description = "It was let go; `unload` says whether it left memory", body = schema::Receipt),
        (status = 400, description = "Several are meant", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such driver is loaded", body = Problem),
        (status = 409, description = "Ports use it; nothing was changed", body = Problem),
    ))]
async fn unload_driver(
    State(control): State<Control>,
    Admin(who): Admin,
    request: Result<Json<UnloadRequest>, JsonRejection>,
) -> Result<Json<Receipt>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.unload_driver(&request, who)).await?))
}

/// Replaces the drivers of several ports, one port after the other, each until its probation is over.
#[utoipa::path(post, path = "/v1/update", request_body = RollingRequest,
    responses(
        (status = 200, description = "Every port runs the new driver", body = RollingReport),
        (status = 409, description = "Busy, nothing was touched", body = RollingReport),
        (status = 422, description = "Refused, gone back, or stopped: the report says what was done to each",
            body = RollingReport),
        (status = 500, description = "A port could not be taken back", body = RollingReport),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such device, adapter or driver", body = Problem),
    ))]
async fn update_several(
    State(control): State<Control>,
    Admin(who): Admin,
    request: Result<Json<RollingRequest>, JsonRejection>,
) -> Result<Response, Failed> {
    let Json(request) = request?;
    super::routes::sound(&request.update)?;
    if request.update.shadow.as_ref().is_some_and(|shadow| shadow.only) {
        let message = "a trial alone replaces nothing, so there is no order to do it in";
        return Err(Failed(Problem::new(ProblemKind::BadRequest, message)));
    }
    not_stopping(&control)?;
    // Each update counts by itself: a daemon that stops does not wait for probations.
    let report = blocking(&control, move |app| app.update_several(&request, who)).await??;
    Ok((rolling_status(report.outcome), Json(report)).into_response())
}
