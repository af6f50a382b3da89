//! Profiles: named sets of values.

use super::Control;
use super::peer::Admin;
use super::reply::{Failed, blocking, change};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use steadfast_api::{
    Problem, Profile, ProfileApplied, ProfileApplyRequest, ProfileDiff, ProfileSaveRequest, ProfileSaved,
    Profiles,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn router() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, save))
        .routes(routes!(diff))
        .routes(routes!(apply))
}

/// All profiles, also those that something is wrong with.
#[utoipa::path(get, path = "/v1/profiles",
    responses((status = 200, body = Profiles), (status = 422, description = "Their folder cannot be read", body = Problem)))]
async fn list(State(control): State<Control>) -> Result<Json<Profiles>, Failed> {
    Ok(Json(blocking(&control, |app| app.profiles()).await??))
}

/// One profile, with all that it has from those that it extends.
#[utoipa::path(get, path = "/v1/profiles/{name}", params(("name" = String, description = "Profile")),
    responses((status = 200, body = Profile), (status = 404, body = Problem),
        (status = 422, description = "Something is wrong with it", body = Problem)))]
async fn show(State(control): State<Control>, Path(name): Path<String>) -> Result<Json<Profile>, Failed> {
    Ok(Json(blocking(&control, move |app| app.profile(&name)).await??))
}

/// Makes a profile of what is saved for a port.
#[utoipa::path(post, path = "/v1/profiles/{name}", params(("name" = String, description = "Profile")),
    request_body = ProfileSaveRequest,
    responses(
        (status = 200, body = ProfileSaved),
        (status = 400, description = "Not a request, or no name for a profile", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such port", body = Problem),
        (status = 422, description = "Refused, nothing was written", body = Problem),
    ))]
async fn save(
    State(control): State<Control>,
    _admin: Admin,
    Path(name): Path<String>,
    request: Result<Json<ProfileSaveRequest>, JsonRejection>,
) -> Result<Json<ProfileSaved>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.save_profile(&name, &request)).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Of {
    port: String,
}

/// What applying a profile would change on a port.
#[utoipa::path(get, path = "/v1/profiles/{name}/diff",
    params(("name" = String, description = "Profile"), ("port" = String, Query, description = "Port")),
    responses((status = 200, body = ProfileDiff), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "Nobody serves the port", body = Problem),
        (status = 422, description = "Something is wrong with the profile", body = Problem)))]
async fn diff(
    State(control): State<Control>,
    Path(name): Path<String>,
    of: Result<Query<Of>, QueryRejection>,
) -> Result<Json<ProfileDiff>, Failed> {
    let port = of?.0.port;
    Ok(Json(blocking(&control, move |app| app.profile_diff(&name, &port)).await??))
}

/// Saves a profile's values for ports: for all of those named, or for none. Live parameters take effect at
/// once.
#[utoipa::path(post, path = "/v1/profiles/{name}/apply", params(("name" = String, description = "Profile")),
    request_body = ProfileApplyRequest,
    responses(
        (status = 200, description = "Saved, or what would be", body = ProfileApplied),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such profile or port", body = Problem),
        (status = 409, description = "Busy, nothing was changed", body = Problem),
        (status = 422, description = "Refused, nothing was changed", body = Problem),
    ))]
async fn apply(
    State(control): State<Control>,
    Admin(who): Admin,
    Path(name): Path<String>,
    request: Result<Json<ProfileApplyRequest>, JsonRejection>,
) -> Result<Json<ProfileApplied>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.apply_profile(&name, &request, &who)).await?))
}
