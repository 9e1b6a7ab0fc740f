//! The routes for exports of a tenant.

use std::time::Duration;

use ::http::StatusCode;
use axum::extract::State;
use omnistack_core::{
    http::{Error, Json, Path},
    identity::{Identity, Require},
    module::Api,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{ExportService, TenantExport, export::ExportId};

/// The permission for everything about exports: they contain all data of the tenant.
const MANAGE_EXPORTS: &str = "exports:manage";

/// The age up to which a sign-in is fresh. An archive outlives the session that requests or downloads it.
const MAX_FRESH_SIGN_IN_AGE: Duration = Duration::from_secs(10 * 60);

pub(crate) fn api() -> Api<ExportService> {
    let manage = || Require::permission(MANAGE_EXPORTS);
    let freshly = || manage().signed_in_within(MAX_FRESH_SIGN_IN_AGE);
    Api::new()
        .require(manage(), routes!(list_exports))
        .require(freshly(), routes!(request_export))
        .require(freshly(), routes!(get_export))
}

/// The newest exports of the tenant.
#[derive(Serialize, ToSchema)]
struct ExportList {
    /// The exports, newest first.
    items: Vec<TenantExport>,
}

/// An export, and where its archive can be downloaded.
#[derive(Serialize, ToSchema)]
struct ExportDetails {
    /// The export.
    export: TenantExport,
    /// The URL of the archive, which any client can read until it expires after some minutes; `null` if it is not ready.
    #[schema(required)]
    url: Option<String>,
}

/// Request an export of the tenant's data
///
/// A job creates a zip file with the rows of all modules as NDJSON and with the tenant's files, and mails the link to the
/// caller. Needs `exports:manage` and a sign-in of the last 10 minutes.
#[utoipa::path(post, path = "/", operation_id = "request_export", responses(
    (status = 202, description = "The export is being created.", body = TenantExport),
    (status = 409, description = "`EXPORT_IN_PROGRESS`: another export of the tenant is being created.")))]
async fn request_export(
    State(exports): State<ExportService>,
    caller: Identity,
) -> Result<(StatusCode, Json<TenantExport>), Error> {
    Ok((StatusCode::ACCEPTED, Json(exports.request(&caller).await?)))
}

/// List exports of the tenant's data
///
/// Returns the newest 100 exports. Needs `exports:manage`.
#[utoipa::path(get, path = "/", operation_id = "list_exports", responses(
    (status = 200, description = "The exports.", body = ExportList)))]
async fn list_exports(State(exports): State<ExportService>, caller: Identity) -> Result<Json<ExportList>, Error> {
    Ok(Json(ExportList { items: exports.list(&caller).await? }))
}

/// Get an export of the tenant's data
///
/// Returns the export, and a URL of its archive if it is ready. Needs `exports:manage` and a sign-in of the last 10
/// minutes.
#[utoipa::path(get, path = "/{id}", operation_id = "get_export",
    params(("id" = String, Path, format = Uuid, description = "The export.")), responses(
    (status = 200, description = "The export.", body = ExportDetails),
    (status = 404, description = "`NOT_FOUND`: the tenant has no such export."),
    (status = 409, description = "`UNSUPPORTED`: the storage of this app has no signed URLs."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available; try again later.")))]
async fn get_export(
    State(exports): State<ExportService>,
    caller: Identity,
    Path(id): Path<ExportId>,
) -> Result<Json<ExportDetails>, Error> {
    let (export, url) = exports.get(&caller, id).await?;
    Ok(Json(ExportDetails { export, url }))
}
