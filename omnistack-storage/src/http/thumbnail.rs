//! The route for thumbnails.

use ::http::HeaderMap;
use axum::{extract::State, response::Response};
use garde::Validate;
use omnistack_core::{
    http::{Error, Freshness, Path, Preconditions, Query, Validators},
    identity::Identity,
    module::Api,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{content, not_modified};
use crate::{FileId, FileService};

pub(crate) fn api() -> Api<FileService> {
    Api::new().routes(routes!(thumbnail))
}

/// Options of a thumbnail.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct ThumbnailQuery {
    /// The name of a declared size; the first declared size by default.
    #[garde(inner(length(bytes, min = 1, max = 50)))]
    #[param(min_length = 1, max_length = 50)]
    size: Option<String>,
}

/// Get a thumbnail
///
/// Returns a thumbnail of a PNG, JPEG, GIF or WebP image, and creates it at the first request. Needs
/// `files:read`.
#[utoipa::path(get, path = "/{id}/thumbnail", operation_id = "get_file_thumbnail",
    params(("id" = String, Path, format = Uuid, description = "The file."), ThumbnailQuery), responses(
    (status = 200, description = "The thumbnail: JPEG, or PNG if the image has transparency.", content(
        (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"))),
    (status = 304, description = "The client has the current thumbnail."),
    (status = 404, description = "`NOT_FOUND`: the tenant has no such file."),
    (status = 409, description = "`FILE_ARCHIVED`: the file is archived and has no thumbnail of this size yet."),
    (status = 412, description = "`PRECONDITION_FAILED`: the thumbnail does not match `If-Match`."),
    (status = 422, description = "`VALIDATION_FAILED`: the size is not declared; `NO_THUMBNAIL`: the file is not a \
        PNG, JPEG, GIF or WebP image; `IMAGE_INVALID`: the image is broken; or `IMAGE_TOO_LARGE`: it has too many bytes \
        or pixels."),
    (status = 503, description = "`THUMBNAILS_BUSY`: too many thumbnails are being created; or \
        `STORAGE_UNAVAILABLE`: the storage is not available. Try again later.")))]
async fn thumbnail(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
    Query(query): Query<ThumbnailQuery>,
    preconditions: Preconditions,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let (object, etag) = files.thumbnail(&caller, id, query.size.as_deref()).await?;
    let (validators, embedded_by) = (Validators::etag(etag), files.0.embedding_origins.embedded_by(&headers));
    if preconditions.check(&validators)? == Freshness::NotModified {
        return Ok(not_modified(&validators, embedded_by));
    }
    let content_type = object.info.content_type.clone().unwrap_or_else(|| "image/jpeg".into());
    Ok(content(object, &content_type, &validators, "inline", false, embedded_by))
}
