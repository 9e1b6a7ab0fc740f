//! Archives, for operators.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    app::Api,
    http::{Error, FieldProblem, Json, Query},
    identity::Identity,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::{
    FileId, RestoreTier,
    archival::{Archival, ArchivedFile, ClassUsed},
};

pub(crate) fn api() -> Api<Archival> {
    Api::new().routes(routes!(archive)).routes(routes!(restore)).routes(routes!(status))
}

/// What to archive.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToArchive {
    /// One file; without it, all the policy says.
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = Uuid)]
    file_id: Option<FileId>,
}

/// What was archived.
#[derive(Serialize, ToSchema)]
#[schema(as = FilesMoved)]
struct Moved {
    /// How many files.
    moved: usize,
    /// Where the one is that was named.
    #[schema(required)]
    file: Option<ArchivedFile>,
}

/// Archive files
///
/// One now, or all that `ARCHIVAL_AFTER` says; the latter may take long, and goes on by itself every night.
#[utoipa::path(post, path = "/archive", operation_id = "archive_files", request_body = ToArchive, responses(
    (status = 200, description = "What was archived.", body = Moved),
    (status = 404, description = "There is no such file."),
    (status = 409, description = "`UNSUPPORTED`: the app's storage has no classes.")))]
async fn archive(
    State(archival): State<Archival>,
    _: Identity,
    Json(what): Json<ToArchive>,
) -> Result<Json<Moved>, Error> {
    Ok(Json(match what.file_id {
        Some(id) => Moved { file: Some(archival.archive(id).await?), moved: 1 },
        None => Moved { moved: archival.run().await?, file: None },
    }))
}

/// What to restore.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToRestore {
    /// The file.
    #[garde(skip)]
    #[schema(value_type = String, format = Uuid)]
    file_id: FileId,
    /// For how many days; `ARCHIVAL_RESTORE_DAYS` unless said.
    #[garde(inner(range(min = 1, max = 365)))]
    #[schema(minimum = 1, maximum = 365)]
    days: Option<u32>,
    /// How soon it is wanted.
    #[serde(default)]
    #[garde(skip)]
    tier: RestoreTier,
}

/// Restore an archived file
///
/// It can be read once its state is `restored`, for so many days.
#[utoipa::path(post, path = "/restore", operation_id = "restore_archived_file", request_body = ToRestore, responses(
    (status = 200, description = "Where it is.", body = ArchivedFile),
    (status = 404, description = "There is no such file."),
    (status = 409, description = "It can be read as it is.")))]
async fn restore(
    State(archival): State<Archival>,
    _: Identity,
    Json(what): Json<ToRestore>,
) -> Result<Json<ArchivedFile>, Error> {
    Ok(Json(archival.restore(what.file_id, what.days, what.tier).await?))
}

/// Of what.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct StatusQuery {
    /// One file, too.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Uuid)]
    file_id: Option<String>,
}

/// How much is where.
#[derive(Serialize, ToSchema)]
struct ArchivalStatus {
    /// Files older than so many seconds are archived; absent without a policy.
    #[schema(required)]
    after_seconds: Option<u64>,
    /// By storage class.
    classes: Vec<ClassUsed>,
    /// Where the one is that was asked for.
    #[schema(required)]
    file: Option<ArchivedFile>,
}

/// Get the state of archives
///
/// With `file_id` also where one file is.
#[utoipa::path(get, path = "/status", operation_id = "get_archival_status", params(StatusQuery), responses(
    (status = 200, description = "How much is where.", body = ArchivalStatus),
    (status = 404, description = "There is no such file.")))]
async fn status(
    State(archival): State<Archival>,
    _: Identity,
    Query(query): Query<StatusQuery>,
) -> Result<Json<ArchivalStatus>, Error> {
    let wrong = |_| Error::invalid([FieldProblem::new("file_id", "is no id")]);
    let id = query.file_id.as_deref().map(|id| id.parse().map_err(wrong)).transpose()?;
    let file = match id {
        Some(id) => Some(archival.state(id).await?),
        None => None,
    };
    let after_seconds = archival.after().map(|after| after.as_secs());
    Ok(Json(ArchivalStatus { after_seconds, classes: archival.classes().await?, file }))
}
