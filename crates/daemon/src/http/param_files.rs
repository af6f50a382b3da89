//! Files of parameters: examined, imported, exported.

use super::Control;
use super::peer::Admin;
use super::reply::{Failed, blocking, change};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use serde::Deserialize;
use steadfast_api::{Exported, ImportReport, ImportRequest, LintReport, LintRequest, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn router() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(lint)).routes(routes!(import)).routes(routes!(export))
}

/// Examines the parameters folder, or a text as if it were in there. Changes nothing.
#[utoipa::path(post, path = "/v1/config/lint", request_body = LintRequest,
    responses((status = 200, description = "What was found, good or bad", body = LintReport),
        (status = 400, description = "Not a request", body = Problem)))]
async fn lint(
    State(control): State<Control>,
    request: Result<Json<LintRequest>, JsonRejection>,
) -> Result<Json<LintReport>, Failed> {
    let Json(request) = request?;
    Ok(Json(blocking(&control, move |app| app.lint(&request)).await?))
}

/// Takes a file in the classic form into a driver's file: all of it, or nothing. Live parameters take effect
/// at once.
#[utoipa::path(post, path = "/v1/config/import", request_body = ImportRequest,
    responses(
        (status = 200, description = "Saved, or what would be", body = ImportReport),
        (status = 400, description = "Not a request", body = Problem),
        (status = 403, description = "The peer may not change things", body = Problem),
        (status = 404, description = "No such driver", body = Problem),
        (status = 409, description = "Busy, nothing was changed", body = Problem),
        (status = 422, description = "Refused, nothing was changed: every fault with its line", body = Problem),
    ))]
async fn import(
    State(control): State<Control>,
    Admin(who): Admin,
    request: Result<Json<ImportRequest>, JsonRejection>,
) -> Result<Json<ImportReport>, Failed> {
    let Json(request) = request?;
    Ok(Json(change(&control, move |app| app.import(&request, &who)).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct What {
    driver: String,
    #[serde(default)]
    classic: bool,
}

/// What is saved for a driver, as a text.
#[utoipa::path(get, path = "/v1/config/export",
    params(("driver" = String, Query, description = "Driver"),
        ("classic" = Option<bool>, Query, description = "In the classic form")),
    responses((status = 200, body = Exported), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 422, description = "Something is wrong with its file", body = Problem)))]
async fn export(
    State(control): State<Control>,
    what: Result<Query<What>, QueryRejection>,
) -> Result<Json<Exported>, Failed> {
    let What { driver, classic } = what?.0;
    Ok(Json(blocking(&control, move |app| app.export(&driver, classic)).await??))
}
