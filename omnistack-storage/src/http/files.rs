//! The routes for files of a tenant.

use std::{collections::BTreeMap, time::Duration};

use ::http::{HeaderMap, StatusCode};
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    http::{
        CursorPage, Error, FieldError, Freshness, HeaderValue, Json, MAX_PAGE_SIZE, PageRequest, Path, Preconditions,
        Query, Validators, header,
    },
    identity::Identity,
    module::Api,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{content, direct_uploads, not_modified, range, upload};
use crate::{
    ErrorKind, File, FileId, FileService, NewFile, PresignRequest, PresignedRequest, StorageUsage, UploadResult,
    content_disposition::content_disposition, sniff,
};

/// Returns the routes that transfer bytes. They have longer timeouts and larger bodies.
pub(crate) fn transfer_api() -> Api<FileService> {
    Api::new().routes(routes!(upload_file)).routes(routes!(download))
}

/// Returns the routes for metadata of files.
pub(crate) fn api() -> Api<FileService> {
    Api::new()
        .routes(routes!(list))
        .routes(routes!(usage))
        .routes(routes!(direct_uploads::create_direct_upload))
        .routes(routes!(get, delete))
        .routes(routes!(direct_uploads::complete_direct_upload))
        .routes(routes!(restore))
        .routes(routes!(link))
        .routes(routes!(tag))
}

/// The name, the checksum and the tags of a file.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct UploadQuery {
    /// The name of the file: 1 to 255 bytes, without slashes, backslashes and control characters. In a form, the
    /// name of the form's file by default.
    #[garde(skip)]
    #[param(max_length = 255)]
    name: Option<String>,
    /// The SHA-256 of the file, as 64 hexadecimal digits. An upload with another checksum fails.
    #[garde(skip)]
    #[param(pattern = "^[0-9a-fA-F]{64}$")]
    sha256: Option<String>,
    /// The tags, separated by commas: at most 10, each of 1 to 50 characters of `a-z`, `0-9`, `-`, `_` and `.`.
    #[garde(skip)]
    tags: Option<String>,
}

/// A form with a file as its only field.
#[derive(ToSchema)]
#[schema(as = FileUploadForm)]
#[expect(dead_code, reason = "a description: the form is read field by field")]
struct UploadForm {
    /// The file, with its name.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

pub(super) fn checksum(text: Option<&str>) -> Result<Option<Sha256>, Error> {
    let wrong = |_| Error::invalid([FieldError::new("sha256", "must be 64 hexadecimal digits")]);
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

/// Upload a file
///
/// The body is the file, and `name` is in the query; or it is a form with the single field `file`. The media type
/// of the file is detected from its first bytes. Needs `files:write`.
#[utoipa::path(post, path = "/",
    params(UploadQuery, ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        description = "A key that the client generates. A repeated request with the same key and file does not store \
        the file again.")),
    request_body(description = "The file.", content(
        (Vec<u8> = "application/octet-stream"), (UploadForm = "multipart/form-data"))), responses(
    (status = 201, description = "The file.", body = File),
    (status = 400, description = "`UPLOAD_INTERRUPTED`: the body ended early; `MALFORMED_MULTIPART`: the form can't be \
        read; or `IDEMPOTENCY_KEY_INVALID`: the `Idempotency-Key` is malformed."),
    (status = 402, description = "`PLAN_LIMIT_REACHED`: the file exceeds the limit `storage_bytes` of the plan."),
    (status = 404, description = "`NOT_FOUND`: the file that was stored with this `Idempotency-Key` has been purged."),
    (status = 408, description = "`UPLOAD_STALLED`: no bytes arrived for a while; or `UPLOAD_TIMEOUT`: the upload took \
        too long."),
    (status = 409, description = "`IDEMPOTENCY_KEY_REUSED`: the `Idempotency-Key` was used for another file."),
    (status = 413, description = "`FILE_TOO_LARGE`: the file is too large; or `PAYLOAD_TOO_LARGE`: the body is larger \
        than the largest file with its form."),
    (status = 415, description = "`FILE_TYPE_REFUSED`: files of this type are not accepted; `FILE_TYPE_MISMATCH`: the \
        file is not of the declared type; or `UNSUPPORTED_MEDIA_TYPE`: the body is a form of another type than \
        `multipart/form-data`."),
    (status = 422, description = "`VALIDATION_FAILED`: the name, type, checksum, tags or form are invalid; \
        `CONTENT_MISMATCH`: the size or checksum differs from the declared one; or `FILE_REFUSED`: the scanner refuses \
        the file."),
    (status = 429, description = "`TOO_MANY_UPLOADS`: the tenant has too many unfinished uploads."),
    (status = 503, description = "`SCANNER_UNAVAILABLE`: the file can't be scanned now; or `STORAGE_UNAVAILABLE`: the \
        storage is not available. Nothing is stored; try again later."),
    (status = 507, description = "`STORAGE_FULL`: the storage has no space left.")))]
async fn upload_file(
    State(files): State<FileService>,
    caller: Identity,
    Query(query): Query<UploadQuery>,
    request: Request,
) -> Result<Response, Error> {
    let sha256 = checksum(query.sha256.as_deref())?;
    let tags = query.tags.as_deref().filter(|tags| !tags.is_empty()).map(|tags| tags.split(',').map(str::trim));
    let said = NewFile { sha256, ..NewFile::new(query.name.unwrap_or_default()).tags(tags.into_iter().flatten()) };
    let UploadResult { file, replayed, .. } = upload::store_request_body(&files, &caller, said, request).await?;
    let mut response = (StatusCode::CREATED, Json(file)).into_response();
    if replayed {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Returns the validators of a file. They never change, because its bytes never do.
fn validators(file: &File) -> Validators {
    Validators::etag(format!("\"{}\"", file.id)).last_modified(file.created_at)
}

/// Checks the preconditions of a request that changes a file. Fails with 412 if they do not hold.
async fn check_preconditions(
    files: &FileService,
    caller: &Identity,
    id: FileId,
    preconditions: &Preconditions,
) -> Result<(), Error> {
    if !preconditions.is_empty() {
        preconditions.check(&validators(&files.get_readable(caller, id).await?))?;
    }
    Ok(())
}

/// Options of a download.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct DownloadQuery {
    /// Whether browsers display the file instead of saving it. Applies to images, audio, video, plain text and
    /// PDF only.
    #[serde(default)]
    #[garde(skip)]
    inline: bool,
}

/// Download a file
///
/// With `Range`, returns a part of the file. With `If-None-Match`, returns 304 if the client has the file. With
/// `If-Match`, fails with 412 if the file is another one. Needs `files:read`.
#[utoipa::path(get, path = "/{id}/content", operation_id = "download_file",
    params(("id" = String, Path, format = Uuid, description = "The file."), DownloadQuery), responses(
    (status = 200, description = "The file.", body = Vec<u8>, content_type = "*/*"),
    (status = 206, description = "The requested part of the file.", body = Vec<u8>, content_type = "*/*"),
    (status = 304, description = "The client has the current file."),
    (status = 404, description = "`NOT_FOUND`: the tenant has no such file."),
    (status = 409, description = "`FILE_ARCHIVED`: the file is archived and must be restored first."),
    (status = 412, description = "`PRECONDITION_FAILED`: the file does not match `If-Match`."),
    (status = 416, description = "`RANGE_NOT_SATISFIABLE`: the range begins after the end of the file."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available; try again later.")))]
async fn download(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
    Query(query): Query<DownloadQuery>,
    preconditions: Preconditions,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let file = files.get_readable(&caller, id).await?;
    let (validators, embedded_by) = (validators(&file), files.0.embedding_origins.embedded_by(&headers));
    if preconditions.check(&validators)? == Freshness::NotModified {
        return Ok(not_modified(&validators, embedded_by));
    }
    let range = range(&headers).filter(|_| preconditions.allow_range(&validators));
    let object = match files.open(&caller, &file, range).await {
        Err(error) if error.kind() == ErrorKind::Range => {
            let all = HeaderValue::from_str(&format!("bytes */{}", file.size)).map_err(Error::internal)?;
            return Err(Error::from(error).with_header(header::CONTENT_RANGE, all));
        }
        object => object?,
    };
    let named = content_disposition(&file.name, query.inline && sniff::is_safe_inline(&file.content_type));
    Ok(content(object, &file.content_type, &validators, &named, range.is_some(), embedded_by))
}

/// The filter and the page of a list of files.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct FileQuery {
    /// Whether to list deleted files that can be restored, instead of the others.
    #[serde(default)]
    #[garde(skip)]
    deleted: bool,
    /// The largest number of files in the page: 1 to 100.
    #[garde(inner(range(min = 1, max = MAX_PAGE_SIZE)))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(skip)]
    cursor: Option<String>,
}

/// List files
///
/// Returns the files of the tenant, newest first. Needs `files:read`.
#[utoipa::path(get, path = "/", operation_id = "list_files", params(FileQuery),
    responses((status = 200, description = "The files.", body = CursorPage<File>),
    (status = 422, description = "`VALIDATION_FAILED`: the limit or the cursor is invalid.")))]
async fn list(
    State(files): State<FileService>,
    caller: Identity,
    Query(query): Query<FileQuery>,
) -> Result<Json<CursorPage<File>>, Error> {
    let wrong = |_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a page of this list")]);
    let after = query.cursor.as_deref().map(|cursor| cursor.parse().map_err(wrong)).transpose()?;
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(files.list(&caller, query.deleted, after, limit).await?))
}

/// Get the storage usage
///
/// Returns how many bytes the tenant stores and how many its plan allows. Deleted files count until they are
/// purged. Needs `files:read`.
#[utoipa::path(get, path = "/usage", operation_id = "get_storage_usage",
    responses((status = 200, description = "The storage usage.", body = StorageUsage)))]
async fn usage(State(files): State<FileService>, caller: Identity) -> Result<Json<StorageUsage>, Error> {
    Ok(Json(files.usage(&caller).await?))
}

/// A presigned request. The client sends it as it is, without the credentials of the app.
#[derive(Serialize, ToSchema)]
#[schema(as = FileLink)]
pub(super) struct SignedUrl {
    /// The method.
    method: String,
    /// The signed URL. Every client that has it can use it until it expires, so keep it secret.
    url: String,
    /// The headers the request must have.
    headers: BTreeMap<String, String>,
    /// When the signed URL expires.
    expires_at: Timestamp,
}

impl From<PresignedRequest> for SignedUrl {
    fn from(signed: PresignedRequest) -> Self {
        let PresignedRequest { method, url, headers, expires_at } = signed;
        Self { method: method.to_string(), url, headers, expires_at }
    }
}

/// Get a file
///
/// Returns the metadata of the file. Needs `files:read`.
#[utoipa::path(get, path = "/{id}", operation_id = "get_file",
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 200, description = "The file.", body = File),
    (status = 404, description = "`NOT_FOUND`: the tenant has no such file.")))]
async fn get(State(files): State<FileService>, caller: Identity, Path(id): Path<FileId>) -> Result<Json<File>, Error> {
    Ok(Json(files.get(&caller, id).await?))
}

/// Delete a file
///
/// The file can be restored for a while. A direct upload that is not complete is removed at once. Needs
/// `files:write`.
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_file",
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 204, description = "Deleted."),
    (status = 404, description = "`NOT_FOUND`: the tenant has no such file."),
    (status = 412, description = "`PRECONDITION_FAILED`: the file does not match `If-Match`."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available; try again later.")))]
async fn delete(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
    preconditions: Preconditions,
) -> Result<StatusCode, Error> {
    check_preconditions(&files, &caller, id, &preconditions).await?;
    files.delete(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restore a file
///
/// Restores a deleted file, unless it was deleted too long ago. Needs `files:write`.
#[utoipa::path(post, path = "/{id}/restore", operation_id = "restore_file",
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 200, description = "The file.", body = File),
    (status = 404, description = "`NOT_FOUND`: the tenant has no such deleted file, or it was deleted too long ago.")))]
async fn restore(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
) -> Result<Json<File>, Error> {
    Ok(Json(files.restore(&caller, id).await?))
}

/// The tags of a file.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FileTags)]
struct SetTags {
    /// The tags: at most 10, each of 1 to 50 characters of `a-z`, `0-9`, `-`, `_` and `.`.
    #[garde(skip)]
    #[schema(max_items = 10)]
    tags: Vec<String>,
}

/// Set the tags of a file
///
/// Replaces the tags. Needs `files:write`.
#[utoipa::path(put, path = "/{id}/tags", operation_id = "set_file_tags", request_body = SetTags,
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 200, description = "The file.", body = File),
    (status = 404, description = "`NOT_FOUND`: the tenant has no such file."),
    (status = 412, description = "`PRECONDITION_FAILED`: the file does not match `If-Match`."),
    (status = 422, description = "`VALIDATION_FAILED`: there are too many tags, or one is invalid.")))]
async fn tag(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
    preconditions: Preconditions,
    Json(new): Json<SetTags>,
) -> Result<Json<File>, Error> {
    check_preconditions(&files, &caller, id, &preconditions).await?;
    Ok(Json(files.set_tags(&caller, id, &new.tags).await?))
}

/// Options of a signed URL.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLink {
    /// Number of seconds for which the signed URL is valid: 1 to 604,800 (7 days). The app's setting by default.
    #[garde(inner(range(min = 1, max = PresignRequest::MAX_EXPIRY.as_secs())))]
    #[schema(minimum = 1, maximum = 604_800)]
    expires_in_seconds: Option<u64>,
    /// Whether browsers display the file instead of saving it. Applies to images, audio, video, plain text and
    /// PDF only.
    #[serde(default)]
    #[garde(skip)]
    inline: bool,
}

/// Create a signed URL of a file
///
/// Every client that has the URL can read the file until it expires. The URL can't be revoked. Needs
/// `files:write`.
#[utoipa::path(post, path = "/{id}/link", operation_id = "create_file_link", request_body = NewLink,
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 200, description = "The signed URL.", body = SignedUrl),
    (status = 403, description = "`FORBIDDEN`: the caller lacks the permission; or `IMPERSONATION_REFUSED`: the caller \
        is an operator who impersonates a user."),
    (status = 404, description = "`NOT_FOUND`: the tenant has no such file."),
    (status = 409, description = "`FILE_ARCHIVED`: the file is archived and must be restored first; or `UNSUPPORTED`: \
        the storage of this app has no signed URLs."),
    (status = 422, description = "`VALIDATION_FAILED`: the duration is not 1 second to 7 days."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available; try again later.")))]
async fn link(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
    Json(new): Json<NewLink>,
) -> Result<Json<SignedUrl>, Error> {
    let expires_in = new.expires_in_seconds.map(Duration::from_secs);
    Ok(Json(files.create_signed_url(&caller, id, expires_in, new.inline).await?.into()))
}
