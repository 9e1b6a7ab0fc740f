//! The routes of the signed URLs that the app serves itself.

use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode};
use axum::{
    extract::{Request, State},
    response::Response,
};
use omnistack_core::{
    http::{Error, Freshness, Path, Preconditions, Validators},
    module::Api,
};
use utoipa_axum::routes;

use super::{content, not_modified, range, upload};
use crate::{
    FileService, PutOptions, Storage, UploadBody, UrlSigner, content_disposition::content_disposition,
    embedding::EmbeddedBy,
};

/// The state of the routes.
#[derive(Clone, Debug)]
pub(crate) struct SignedUrlRoutes {
    pub(crate) links: UrlSigner,
    pub(crate) storage: Storage,
    pub(crate) files: FileService,
    /// Time for which an upload may send no bytes before it fails.
    pub(crate) idle: Duration,
}

pub(crate) fn api() -> Api<SignedUrlRoutes> {
    Api::new().routes(routes!(read, write))
}

/// The same error for a URL that was changed, has expired or is for another method, and for a file that was
/// completed or deleted, so that a client can't tell these apart.
fn link_refused() -> Error {
    Error::new(StatusCode::FORBIDDEN, "LINK_REFUSED", "the link is invalid or has expired: request a new one")
}

/// Download a file by a signed URL
///
/// With `Range`, returns a part of the file.
#[utoipa::path(get, path = "/{link}", operation_id = "download_by_link",
    params(("link" = String, Path, description = "The encrypted token of the signed URL.")), responses(
    (status = 200, description = "The file.", body = Vec<u8>, content_type = "*/*"),
    (status = 206, description = "The requested part of the file.", body = Vec<u8>, content_type = "*/*"),
    (status = 304, description = "The client has the current file."),
    (status = 403, description = "`LINK_REFUSED`: the signed URL is invalid or has expired."),
    (status = 404, description = "`NOT_FOUND`: the file does not exist any more."),
    (status = 409, description = "`FILE_ARCHIVED`: the file is archived and must be restored first."),
    (status = 412, description = "`PRECONDITION_FAILED`: the file does not match `If-Match`."),
    (status = 416, description = "`RANGE_NOT_SATISFIABLE`: the range begins after the end of the file."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available; try again later.")))]
async fn read(
    State(served): State<SignedUrlRoutes>,
    Path(link): Path<String>,
    preconditions: Preconditions,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let allowed = served.links.verify(&link, &Method::GET).ok_or_else(link_refused)?;
    let key = allowed.key()?;
    let info = served.storage.head(&key).await?;
    let validators = info.etag.map_or_else(Validators::default, Validators::etag).last_modified(info.modified_at);
    if preconditions.check(&validators)? == Freshness::NotModified {
        return Ok(not_modified(&validators, EmbeddedBy::Everyone));
    }
    let range = range(&headers).filter(|_| preconditions.allow_range(&validators));
    let object = match range {
        Some(range) => served.storage.get_range(&key, range).await?,
        None => served.storage.get(&key).await?,
    };
    let name = key.as_str().rsplit('/').next().unwrap_or_default();
    let named = allowed.disposition.unwrap_or_else(|| content_disposition(name, false));
    let content_type = allowed.content_type.or_else(|| object.info.content_type.clone());
    let content_type = content_type.unwrap_or_else(|| "application/octet-stream".into());
    Ok(content(object, &content_type, &validators, &named, range.is_some(), EmbeddedBy::Everyone))
}

/// Upload a file by a signed URL
#[utoipa::path(put, path = "/{link}", operation_id = "upload_by_link",
    params(("link" = String, Path, description = "The encrypted token of the signed URL.")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file."), responses(
    (status = 204, description = "Stored."),
    (status = 400, description = "`UPLOAD_INTERRUPTED`: the body ended early."),
    (status = 403, description = "`LINK_REFUSED`: the signed URL is invalid, has expired or is for another media type; \
        or the upload was completed or deleted."),
    (status = 408, description = "`UPLOAD_STALLED`: no bytes arrived for a while."),
    (status = 409, description = "`ALREADY_EXISTS`: another object has the name of a folder of this one."),
    (status = 413, description = "`FILE_TOO_LARGE` or `PAYLOAD_TOO_LARGE`: the file is larger than declared, or than \
        the largest file."),
    (status = 422, description = "`CONTENT_MISMATCH`: the file is smaller than declared; or `VALIDATION_FAILED`: the \
        `Content-Type` is not ASCII."),
    (status = 503, description = "`STORAGE_UNAVAILABLE`: the storage is not available; try again later."),
    (status = 507, description = "`STORAGE_FULL`: the storage has no space left.")))]
async fn write(
    State(served): State<SignedUrlRoutes>,
    Path(link): Path<String>,
    request: Request,
) -> Result<StatusCode, Error> {
    let allowed = served.links.verify(&link, &Method::PUT).ok_or_else(link_refused)?;
    let content_type = upload::content_type(request.headers())?;
    if allowed.content_type.is_some() && allowed.content_type != content_type {
        return Err(link_refused());
    }
    let key = allowed.key()?;
    if !served.files.accepts_bytes(&key).await? {
        return Err(link_refused());
    }
    let said = upload::length(request.headers());
    let body = upload::body_stream(request.into_body(), served.idle);
    let mut upload = UploadBody::from_stream(body).max_size(served.files.max_size());
    if let Some(size) = allowed.size.or(said) {
        upload = upload.size(size).max_size(size);
    }
    let options = PutOptions { content_type, ..PutOptions::default() };
    served.storage.put_with(&key, upload, &options).await?;
    // The file may have been completed or deleted while its bytes arrived.
    if !served.files.accepts_bytes(&key).await? {
        served.storage.delete(&key).await?;
        return Err(link_refused());
    }
    Ok(StatusCode::NO_CONTENT)
}
