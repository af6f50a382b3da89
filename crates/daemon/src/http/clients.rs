//! Clients: who is connected, and who is to go.

#![allow(unused_qualifications, reason = "what utoipa makes of parameters in a query is qualified")]

use super::Control;
use super::peer::Admin;
use super::reply::{Failed, blocking};
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use steadfast_api::{Client, DisconnectRequest, Disconnected, Problem, ProblemKind};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn router() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(clients)).routes(routes!(client)).routes(routes!(disconnect))
}

/// Which clients.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ClientsQuery {
    /// Those of this device; of all when missing.
    device: Option<String>,
}

/// Clients that are connected, those in their handshake included.
#[utoipa::path(get, path = "/v1/clients", params(ClientsQuery),
    responses((status = 200, body = [Client]), (status = 404, description = "No such device", body = Problem)))]
async fn clients(
    State(control): State<Control>,
    query: Result<Query<ClientsQuery>, QueryRejection>,
) -> Result<Json<Vec<Client>>, Failed> {
    let Query(query) = query?;
    Ok(Json(blocking(&control, move |app| app.clients(query.device.as_deref())).await??))
}

/// One client.
#[utoipa::path(get, path = "/v1/clients/{id}", params(("id" = u64, description = "Client")),
    responses((status = 200, body = Client), (status = 404, body = Problem)))]
async fn client(
    State(control): State<Control>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Client>, Failed> {
    let id = number(id)?;
    Ok(Json(blocking(&control, move |app| app.client(id)).await??))
}

/// Disconnects a client. The answer comes when it has gone, or after 5 s.
#[utoipa::path(post, path = "/v1/clients/{id}/disconnect", params(("id" = u64, description = "Client")),
    request_body = DisconnectRequest,
    responses(
        (status = 200, description = "Its connection ends", body = Disconnected),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such client", body = Problem),
    ))]
async fn disconnect(
    State(control): State<Control>,
    Admin(who): Admin,
    id: Result<Path<u64>, PathRejection>,
    request: Result<Json<DisconnectRequest>, JsonRejection>,
) -> Result<Json<Disconnected>, Failed> {
    let id = number(id)?;
    let Json(request) = request?;
    Ok(Json(blocking(&control, move |app| app.disconnect(id, request.at_once, &who)).await??))
}

fn number(id: Result<Path<u64>, PathRejection>) -> Result<u64, Failed> {
    let wrong =
        |e: PathRejection| Problem::new(ProblemKind::BadRequest, format!("client: {}", e.body_text()));
    let Path(id) = id.map_err(wrong)?;
    Ok(id)
}
