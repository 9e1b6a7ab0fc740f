//! Files of a tenant.

use std::{collections::BTreeMap, time::Duration};

use ::http::{HeaderMap, StatusCode};
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use garde::Validate;
use omnistack_core::{
    app::Api,
    clock::Timestamp,
    crypto::Sha256,
    http::{
        Error, FieldProblem, Freshness, HeaderValue, Json, MAX_PAGE_SIZE, Page, PageRequest, Path, Preconditions,
        Query, Validators, header,
    },
    identity::Identity,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{ShownBy, content, disposition, not_modified, range, upload};
use crate::{ErrorKind, File, FileId, FileService, NewFile, SignRequest, SignedRequest, StorageUsed, Uploaded, sniff};

/// What takes and gives bytes.
pub(crate) fn bytes() -> Api<FileService> {
    Api::new().routes(routes!(upload_file)).routes(routes!(download))
}

/// What is said about files.
pub(crate) fn api() -> Api<FileService> {
    Api::new()
        .routes(routes!(list))
        .routes(routes!(used))
        .routes(routes!(announce))
        .routes(routes!(get, delete))
        .routes(routes!(confirm))
        .routes(routes!(restore))
        .routes(routes!(link))
        .routes(routes!(tag))
}

/// What a file is called, and its checksum.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct UploadQuery {
    /// What it is called; of a form, the name its file has unless given.
    #[garde(skip)]
    #[param(max_length = 255)]
    name: Option<String>,
    /// The SHA-256 of its bytes in hexadecimal digits: other bytes are refused.
    #[garde(skip)]
    #[param(pattern = "^[0-9a-fA-F]{64}$")]
    sha256: Option<String>,
    /// What it is marked with, with commas between: at most 10, each of 1 to 50 of `a-z`, `0-9`, `-`, `_`, `.`.
    #[garde(skip)]
    tags: Option<String>,
}

/// A form with a file.
#[derive(ToSchema)]
#[schema(as = FileUploadForm)]
#[expect(dead_code, reason = "a description: the form is read field by field")]
struct UploadForm {
    /// The file, with its name.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

fn checksum(text: Option<&str>) -> Result<Option<Sha256>, Error> {
    let wrong = |_| Error::invalid([FieldProblem::new("sha256", "is not 64 hexadecimal digits")]);
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

/// Upload a file
///
/// The body is the file, with `name` in the query; or a form of one field, `file`. Needs `files:write`.
#[utoipa::path(post, path = "/",
    params(UploadQuery, ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        description = "A key of the client's making. The same file sent again with it is stored once.")),
    request_body(description = "The file.", content(
        (Vec<u8> = "application/octet-stream"), (UploadForm = "multipart/form-data"))), responses(
    (status = 201, description = "The file.", body = File),
    (status = 408, description = "No bytes came for a while, or the upload took too long."),
    (status = 409, description = "The plan's storage is used up, or the `Idempotency-Key` was used for another file."),
    (status = 413, description = "It is too large."),
    (status = 415, description = "Files of its type are not taken, or it is not what it is said to be."),
    (status = 422, description = "It has no name, other bytes than announced, or is refused."),
    (status = 429, description = "Too many uploads of the tenant are not finished.")))]
async fn upload_file(
    State(files): State<FileService>,
    caller: Identity,
    Query(query): Query<UploadQuery>,
    request: Request,
) -> Result<Response, Error> {
    let sha256 = checksum(query.sha256.as_deref())?;
    let tags = query.tags.as_deref().filter(|tags| !tags.is_empty()).map(|tags| tags.split(',').map(str::trim));
    let said = NewFile { sha256, ..NewFile::named(query.name.unwrap_or_default()).tags(tags.into_iter().flatten()) };
    let Uploaded { file, replayed, .. } = upload::take(&files, &caller, said, request).await?;
    let mut response = (StatusCode::CREATED, Json(file)).into_response();
    if replayed {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Returns what tells a file from another: its bytes never change.
fn validators(file: &File) -> Validators {
    Validators::etag(format!("\"{}\"", file.id)).last_modified(file.created_at)
}

/// Checks the preconditions of a change to a file.
async fn check(files: &FileService, caller: &Identity, id: FileId, preconditions: &Preconditions) -> Result<(), Error> {
    if !preconditions.is_empty() {
        preconditions.check(&validators(&files.readable(caller, id).await?))?;
    }
    Ok(())
}

/// How a file is wanted.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct DownloadQuery {
    /// Whether a browser may show it in place of saving it; pictures, films, music, plain text and PDF only.
    #[serde(default)]
    #[garde(skip)]
    inline: bool,
}

/// Download a file
///
/// With `Range` a part of it, with `If-None-Match` only if it is not known, with `If-Match` only if it is the same. Needs
/// `files:read`.
#[utoipa::path(get, path = "/{id}/content", operation_id = "download_file",
    params(("id" = String, Path, format = Uuid, description = "The file."), DownloadQuery), responses(
    (status = 200, description = "The file.", body = Vec<u8>, content_type = "*/*"),
    (status = 206, description = "The part asked for.", body = Vec<u8>, content_type = "*/*"),
    (status = 304, description = "It is known."),
    (status = 404, description = "The tenant has no such file."),
    (status = 409, description = "It is in an archive."),
    (status = 412, description = "It is not the one `If-Match` names."),
    (status = 416, description = "The part is behind its end.")))]
async fn download(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
    Query(query): Query<DownloadQuery>,
    preconditions: Preconditions,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let file = files.readable(&caller, id).await?;
    let validators = validators(&file);
    if preconditions.check(&validators)? == Freshness::NotModified {
        return Ok(not_modified(&validators));
    }
    let range = range(&headers).filter(|_| preconditions.allow_range(&validators));
    let object = match files.open(&file, range).await {
        Err(error) if error.kind() == ErrorKind::Range => {
            let all = HeaderValue::from_str(&format!("bytes */{}", file.size)).map_err(Error::internal)?;
            return Err(Error::from(error).header(header::CONTENT_RANGE, all));
        }
        object => object?,
    };
    let named = disposition(&file.name, query.inline && sniff::may_be_shown(&file.content_type));
    Ok(content(object, &file.content_type, &validators, &named, range.is_some(), ShownBy::App))
}

/// Which files, and which part of the list.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct FileQuery {
    /// Those that are deleted and can be restored, in place of the others.
    #[serde(default)]
    #[garde(skip)]
    deleted: bool,
    /// At most this many.
    #[garde(inner(range(min = 1, max = MAX_PAGE_SIZE)))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(skip)]
    cursor: Option<String>,
}

/// List files
///
/// Those of the tenant, the latest first. Needs `files:read`.
#[utoipa::path(get, path = "/", operation_id = "list_files", params(FileQuery),
    responses((status = 200, description = "The files.", body = Page<File>)))]
async fn list(
    State(files): State<FileService>,
    caller: Identity,
    Query(query): Query<FileQuery>,
) -> Result<Json<Page<File>>, Error> {
    let wrong = |_| Error::invalid([FieldProblem::new("cursor", "is no cursor of this list")]);
    let after = query.cursor.as_deref().map(|cursor| cursor.parse().map_err(wrong)).transpose()?;
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(files.list(&caller, query.deleted, after, limit).await?))
}

/// Get the storage that is used
///
/// By the tenant's files, deleted ones included until they are removed for good. Needs `files:read`.
#[utoipa::path(get, path = "/usage", operation_id = "get_storage_usage",
    responses((status = 200, description = "How much there is.", body = StorageUsed)))]
async fn used(State(files): State<FileService>, caller: Identity) -> Result<Json<StorageUsed>, Error> {
    Ok(Json(files.used(&caller).await?))
}

/// A file to be.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewFile)]
struct Announced {
    /// What it is called.
    #[garde(length(bytes, min = 1, max = 255))]
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// What it is.
    #[garde(length(bytes, min = 3, max = 255))]
    #[schema(min_length = 3, max_length = 255)]
    content_type: String,
    /// Its bytes.
    #[garde(skip)]
    size: u64,
    /// The SHA-256 of its bytes in hexadecimal digits: other bytes are refused.
    #[garde(skip)]
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    sha256: Option<String>,
    /// What it is marked with: at most 10, each of 1 to 50 of `a-z`, `0-9`, `-`, `_`, `.`.
    #[serde(default)]
    #[garde(skip)]
    #[schema(max_items = 10)]
    tags: Vec<String>,
}

/// A request to be made as it is, without the app's credentials.
#[derive(Serialize, ToSchema)]
#[schema(as = FileLink)]
struct Signed {
    /// Its method.
    method: String,
    /// Its address. Who has it may use it.
    url: String,
    /// Headers it has to have.
    headers: BTreeMap<String, String>,
    /// Until when it is good.
    expires_at: Timestamp,
}

impl From<SignedRequest> for Signed {
    fn from(signed: SignedRequest) -> Self {
        let SignedRequest { method, url, headers, expires_at } = signed;
        Self { method: method.to_string(), url, headers, expires_at }
    }
}

/// A file that is awaited, and how to send it.
#[derive(Serialize, ToSchema)]
#[schema(as = FileAwaited)]
struct Awaited {
    /// The file.
    file: File,
    /// How to send its bytes.
    upload: Signed,
}

/// Announce a file
///
/// For bytes that go to the storage by themselves: send them as `upload` says, then confirm. Needs `files:write`.
#[utoipa::path(post, path = "/uploads", operation_id = "announce_upload", request_body = Announced, responses(
    (status = 201, description = "The file, and how to send it.", body = Awaited),
    (status = 409, description = "The plan's storage is used up; or `UNSUPPORTED`: the app's storage takes none by itself."),
    (status = 413, description = "It is too large."),
    (status = 429, description = "Too many uploads of the tenant are not finished.")))]
async fn announce(
    State(files): State<FileService>,
    caller: Identity,
    Json(new): Json<Announced>,
) -> Result<(StatusCode, Json<Awaited>), Error> {
    let sha256 = checksum(new.sha256.as_deref())?;
    let Announced { name, content_type, size, tags, .. } = new;
    let new = NewFile { name, content_type: Some(content_type), size: Some(size), sha256, tags };
    let (file, signed) = files.announce(&caller, new).await?;
    Ok((StatusCode::CREATED, Json(Awaited { file, upload: signed.into() })))
}

/// Confirm a file
///
/// Once its bytes are sent. Needs `files:write`.
#[utoipa::path(post, path = "/{id}/confirm", operation_id = "confirm_upload",
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 200, description = "The file.", body = File),
    (status = 404, description = "The tenant awaits no such file."),
    (status = 409, description = "Nothing has arrived."),
    (status = 415, description = "Files of its type are not taken, or it is not what it is said to be."),
    (status = 422, description = "It has other bytes than announced, or is refused.")))]
async fn confirm(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
) -> Result<Json<File>, Error> {
    Ok(Json(files.confirm(&caller, id).await?))
}

/// Get a file
///
/// What is known of it. Needs `files:read`.
#[utoipa::path(get, path = "/{id}", operation_id = "get_file",
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 200, description = "The file.", body = File),
    (status = 404, description = "The tenant has no such file.")))]
async fn get(State(files): State<FileService>, caller: Identity, Path(id): Path<FileId>) -> Result<Json<File>, Error> {
    Ok(Json(files.get(&caller, id).await?))
}

/// Delete a file
///
/// For a while it can be restored; one that is announced can't. Needs `files:write`.
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_file",
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 204, description = "Deleted."),
    (status = 404, description = "The tenant has no such file."),
    (status = 412, description = "It is not the one `If-Match` names.")))]
async fn delete(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
    preconditions: Preconditions,
) -> Result<StatusCode, Error> {
    check(&files, &caller, id, &preconditions).await?;
    files.delete(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restore a file
///
/// One that is deleted, and not for too long. Needs `files:write`.
#[utoipa::path(post, path = "/{id}/restore", operation_id = "restore_file",
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 200, description = "The file.", body = File),
    (status = 404, description = "The tenant has no such file that is deleted.")))]
async fn restore(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
) -> Result<Json<File>, Error> {
    Ok(Json(files.restore(&caller, id).await?))
}

/// What a file is marked with.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FileTags)]
struct Tags {
    /// At most 10, each of 1 to 50 of `a-z`, `0-9`, `-`, `_`, `.`.
    #[garde(skip)]
    #[schema(max_items = 10)]
    tags: Vec<String>,
}

/// Mark a file
///
/// With these, in place of those before. Needs `files:write`.
#[utoipa::path(put, path = "/{id}/tags", operation_id = "set_file_tags", request_body = Tags,
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 200, description = "The file.", body = File),
    (status = 404, description = "The tenant has no such file."),
    (status = 412, description = "It is not the one `If-Match` names.")))]
async fn tag(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
    preconditions: Preconditions,
    Json(new): Json<Tags>,
) -> Result<Json<File>, Error> {
    check(&files, &caller, id, &preconditions).await?;
    Ok(Json(files.tag(&caller, id, &new.tags).await?))
}

/// What a link is for.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLink {
    /// How long it is good, at most seven days.
    #[garde(inner(range(min = 1, max = SignRequest::LONGEST.as_secs())))]
    #[schema(minimum = 1, maximum = 604_800)]
    expires_in_seconds: Option<u64>,
    /// Whether a browser may show the file in place of saving it; pictures, films, music, plain text and PDF only.
    #[serde(default)]
    #[garde(skip)]
    inline: bool,
}

/// Make a link to a file
///
/// With it anybody can read the file for a while. It can't be taken back. Needs `files:write`.
#[utoipa::path(post, path = "/{id}/link", operation_id = "create_file_link", request_body = NewLink,
    params(("id" = String, Path, format = Uuid, description = "The file.")), responses(
    (status = 200, description = "The link.", body = Signed),
    (status = 404, description = "The tenant has no such file."),
    (status = 409, description = "`UNSUPPORTED`: the app's storage makes no links.")))]
async fn link(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
    Json(new): Json<NewLink>,
) -> Result<Json<Signed>, Error> {
    let expires_in = new.expires_in_seconds.map(Duration::from_secs);
    Ok(Json(files.link(&caller, id, expires_in, new.inline).await?.into()))
}
