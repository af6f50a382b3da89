//! Asking for receipts.

#![allow(unused_qualifications, reason = "what utoipa makes of parameters in a query is qualified")]

use super::Control;
use super::reply::{Failed, blocking};
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use steadfast_api::{Outcome, Problem, ProblemKind, Receipt, schema};
use steadfast_history::Filter;
use utoipa::IntoParams;

/// How many receipts are shown when nobody says.
const LIMIT: usize = 100;
/// How many are shown at most: all that are kept would be many megabytes, made in one piece.
const MOST: usize = 1000;

/// Which receipts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptsQuery {
    /// Only those of this device's port.
    device: Option<String>,
    /// Only those of this port.
    port: Option<String>,
    /// Only those that ended so.
    #[param(value_type = Option<schema::Outcome>)]
    outcome: Option<Outcome>,
    /// Only those that began then or later, milliseconds since 1970.
    since: Option<u64>,
    /// At most so many, the newest ones; 100 when missing, 1,000 at most.
    #[param(maximum = 1000)]
    limit: Option<usize>,
}

/// Receipts, also those of earlier runs of the daemon, the newest last.
#[utoipa::path(get, path = "/v1/receipts", params(ReceiptsQuery),
    responses((status = 200, body = [schema::Receipt]), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(control): State<Control>,
    query: Result<Query<ReceiptsQuery>, QueryRejection>,
) -> Result<Json<Vec<Receipt>>, Failed> {
    let Query(query) = query?;
    let limit = query.limit.unwrap_or(LIMIT);
    if limit > MOST {
        let message = format!("limit: {limit} is not allowed (0 to {MOST})");
        return Err(Failed(Problem::new(ProblemKind::BadRequest, message)));
    }
    let list = blocking(&control, move |app| {
        let port = query.port.or_else(|| query.device.map(|device| app.port_of(&device)));
        let since_unix_ms = query.since;
        app.receipts.list(&Filter {
            port,
            outcome: query.outcome,
            kinds: Vec::new(),
            since_unix_ms,
            limit: Some(limit),
            ..Filter::default()
        })
    });
    Ok(Json(list.await?))
}

/// One receipt.
#[utoipa::path(get, path = "/v1/receipts/{id}", params(("id" = u64, description = "Its number")),
    responses((status = 200, body = schema::Receipt), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(control): State<Control>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Receipt>, Failed> {
    let Path(id) =
        id.map_err(|e| Failed(Problem::new(ProblemKind::BadRequest, format!("receipt: {}", e.body_text()))))?;
    let (receipt, last) =
        blocking(&control, move |app| (app.receipts.get(id), app.receipts.last_id())).await?;
    receipt.map(Json).ok_or_else(|| {
        let problem = Problem::new(ProblemKind::NotFound, format!("no receipt {id}"));
        Failed(problem.hint(match last {
            0 => "nothing was updated yet".to_owned(),
            last => format!("the last one is {last}; the oldest are dropped when there are too many"),
        }))
    })
}
