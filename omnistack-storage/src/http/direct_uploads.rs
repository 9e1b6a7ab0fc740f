//! The routes for direct uploads.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, Json, Path},
    identity::Identity,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::files::{SignedUrl, checksum};
use crate::{File, FileId, FileService, NewFile};

/// The declared properties of a file that the client sends by a direct upload.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewFile)]
pub(super) struct CreateDirectUpload {
    /// The name of the file: 1 to 255 bytes, without slashes, backslashes and control characters.
    #[garde(length(bytes, min = 1, max = 255))]
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// The media type of the file, e.g. `image/png`. It must match the bytes.
    #[garde(length(bytes, min = 3, max = 255))]
    #[schema(min_length = 3, max_length = 255)]
    content_type: String,
    /// The size of the file in bytes.
    #[garde(skip)]
    size: u64,
    /// The SHA-256 of the file, as 64 hexadecimal digits. An upload with another checksum fails.
    #[garde(skip)]
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    sha256: Option<String>,
    /// The tags: at most 10, each of 1 to 50 characters of `a-z`, `0-9`, `-`, `_` and `.`.
    #[serde(default)]
    #[garde(skip)]
    #[schema(max_items = 10)]
    tags: Vec<String>,
}

/// A direct upload that was created.
#[derive(Serialize, ToSchema)]
#[schema(as = FileAwaited)]
pub(super) struct DirectUpload {
    /// The file. Its state is `awaited` until the upload is completed.
    file: File,
    /// The request with which the client sends the bytes.
    upload: SignedUrl,
}

/// Create a direct upload
///
/// The bytes go from the client to the storage without passing through the app: send them with the request in
/// `upload` within an hour, then complete the upload within two hours. Needs `files:write`.
#[utoipa::path(post, path = "/uploads", operation_id = "announce_upload", request_body = CreateDirectUpload, responses(
    (status = 201, description = "The file, and the request with which the client sends it.", body = DirectUpload),
    (status = 402, description = "`PLAN_LIMIT_REACHED`: the file exceeds the limit `storage_bytes` of the plan."),
    (status = 409, description = "`UNSUPPORTED`: the storage of this app has no direct uploads."),
    (status = 413, description = "`FILE_TOO_LARGE`: the file is too large."),
    (status = 422, description = "`VALIDATION_FAILED`: the name, type, checksum or tags are invalid."),
    (status = 429, description = "`TOO_MANY_UPLOADS`: the tenant has too many unfinished uploads."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available; try again later.")))]
pub(super) async fn create_direct_upload(
    State(files): State<FileService>,
    caller: Identity,
    Json(new): Json<CreateDirectUpload>,
) -> Result<(StatusCode, Json<DirectUpload>), Error> {
    let sha256 = checksum(new.sha256.as_deref())?;
    let CreateDirectUpload { name, content_type, size, tags, .. } = new;
    let new = NewFile { name, content_type: Some(content_type), size: Some(size), sha256, tags };
    let (file, signed) = files.create_direct_upload(&caller, new).await?;
    Ok((StatusCode::CREATED, Json(DirectUpload { file, upload: signed.into() })))
}

/// Complete a direct upload
///
/// Called after the bytes were sent. Checks them and makes the file readable. Needs `files:write`.
#[utoipa::path(post, path = "/{id}/confirm", operation_id = "confirm_upload",
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 200, description = "The file.", body = File),
    (status = 404, description = "`NOT_FOUND`: the tenant has no such direct upload."),
    (status = 409, description = "`NOT_UPLOADED`: no bytes have arrived."),
    (status = 415, description = "`FILE_TYPE_REFUSED`: files of this type are not accepted; or `FILE_TYPE_MISMATCH`: \
        the file is not of the declared type."),
    (status = 422, description = "`CONTENT_MISMATCH`: the size or checksum differs from the declared one; or \
        `FILE_REFUSED`: the scanner refuses the file."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available; complete the upload again later. \
        Or `SCANNER_UNAVAILABLE`: the file can't be scanned now; the direct upload is deleted, so create a new one."),
    (status = 507, description = "`STORAGE_FULL`: the storage has no space left.")))]
pub(super) async fn complete_direct_upload(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
) -> Result<Json<File>, Error> {
    Ok(Json(files.complete_direct_upload(&caller, id).await?))
}
