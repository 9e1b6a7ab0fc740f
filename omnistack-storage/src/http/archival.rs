//! The routes for archived files, for operators.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, FieldError, Json, Query},
    identity::Identity,
    module::Api,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::{
    FileId, RestoreTier,
    archival::{Archival, FileArchiveState, StorageClassUsage},
};

pub(crate) fn api() -> Api<Archival> {
    Api::new().routes(routes!(archive)).routes(routes!(restore)).routes(routes!(status))
}

/// The files to archive.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ArchiveRequest {
    /// The file; without it, all files that match a rule.
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = Uuid)]
    file_id: Option<FileId>,
}

/// The result of archiving.
#[derive(Serialize, ToSchema)]
#[schema(as = FilesMoved)]
struct ArchiveResult {
    /// The number of files that were archived.
    moved: usize,
    /// The archive state of the file in the request; `null` if the request names none.
    #[schema(required)]
    file: Option<FileArchiveState>,
}

/// Archive files
///
/// Archives one file, or all files that match a rule. The latter may take long; a job also does it every night.
#[utoipa::path(post, path = "/archive", operation_id = "archive_files", request_body = ArchiveRequest, responses(
    (status = 200, description = "The number of archived files, and the state of the requested one.", body = ArchiveResult),
    (status = 404, description = "`NOT_FOUND`: there is no such file."),
    (status = 409, description = "`UNSUPPORTED`: the storage of this app can't change storage classes."),
    (status = 422, description = "`VALIDATION_FAILED`: the body is invalid; or `CONTENT_MISMATCH`: the bytes that were \
        copied to the external archive have another size or checksum than the file."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available; try again later."),
    (status = 507, description = "`STORAGE_FULL`: the external archive has no space left.")))]
async fn archive(
    State(archival): State<Archival>,
    _: Identity,
    Json(what): Json<ArchiveRequest>,
) -> Result<Json<ArchiveResult>, Error> {
    Ok(Json(match what.file_id {
        Some(id) => ArchiveResult { file: Some(archival.archive(id).await?), moved: 1 },
        None => ArchiveResult { moved: archival.run().await?, file: None },
    }))
}

/// The file to restore, and for how long.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct RestoreRequest {
    /// The file.
    #[garde(skip)]
    #[schema(value_type = String, format = Uuid)]
    file_id: FileId,
    /// The number of days for which the file can be read: 1 to 365; `ARCHIVAL_RESTORE_DAYS` by default.
    #[garde(inner(range(min = 1, max = 365)))]
    #[schema(minimum = 1, maximum = 365)]
    days: Option<u32>,
    /// The speed of the restoration.
    #[serde(default)]
    #[garde(skip)]
    tier: RestoreTier,
}

/// Restore an archived file
///
/// The file can be read once its state is `restored`, for the requested number of days.
#[utoipa::path(post, path = "/restore", operation_id = "restore_archived_file", request_body = RestoreRequest, responses(
    (status = 200, description = "The archive state of the file.", body = FileArchiveState),
    (status = 404, description = "`NOT_FOUND`: there is no such file."),
    (status = 409, description = "`NOT_ARCHIVED`: the file can be read without being restored; or `UNSUPPORTED`: the \
        storage of this app can't restore objects."),
    (status = 422, description = "`VALIDATION_FAILED`: the number of days is not 1 to 365."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available, or the copy of the file is being \
        deleted; try again later.")))]
async fn restore(
    State(archival): State<Archival>,
    _: Identity,
    Json(what): Json<RestoreRequest>,
) -> Result<Json<FileArchiveState>, Error> {
    Ok(Json(archival.restore(what.file_id, what.days, what.tier).await?))
}

/// Options of the archive status.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct StatusQuery {
    /// A file whose archive state is returned as well.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Uuid)]
    file_id: Option<String>,
}

/// The archive status of all files.
#[derive(Serialize, ToSchema)]
struct ArchivalStatus {
    /// The age in seconds at which files are archived; `null` if there is no rule.
    #[schema(required)]
    after_seconds: Option<u64>,
    /// The number of files and bytes in each storage class.
    classes: Vec<StorageClassUsage>,
    /// The archive state of the file in the request; `null` if the request names none.
    #[schema(required)]
    file: Option<FileArchiveState>,
}

/// Get the archive status
///
/// Returns how many files and bytes each storage class has. With `file_id`, also returns the archive state of
/// that file.
#[utoipa::path(get, path = "/status", operation_id = "get_archival_status", params(StatusQuery), responses(
    (status = 200, description = "The archive status.", body = ArchivalStatus),
    (status = 404, description = "`NOT_FOUND`: there is no such file."),
    (status = 422, description = "`VALIDATION_FAILED`: the id of the file is invalid."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available; try again later.")))]
async fn status(
    State(archival): State<Archival>,
    _: Identity,
    Query(query): Query<StatusQuery>,
) -> Result<Json<ArchivalStatus>, Error> {
    let wrong = |_| Error::invalid([FieldError::new("file_id", "must be the id of a file")]);
    let id = query.file_id.as_deref().map(|id| id.parse().map_err(wrong)).transpose()?;
    let file = match id {
        Some(id) => Some(archival.state(id).await?),
        None => None,
    };
    let after_seconds = archival.min_age().map(|after| after.as_secs());
    Ok(Json(ArchivalStatus { after_seconds, classes: archival.usage_by_class().await?, file }))
}
