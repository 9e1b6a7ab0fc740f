//! Small pictures.

use axum::{extract::State, response::Response};
use garde::Validate;
use omnistack_core::{
    app::Api,
    http::{Error, Freshness, Path, Preconditions, Query, Validators},
    identity::Identity,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{ShownBy, content, not_modified};
use crate::{FileId, FileService};

pub(crate) fn api() -> Api<FileService> {
    Api::new().routes(routes!(thumbnail))
}

/// Which one.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct ThumbnailQuery {
    /// The name of its size; the first the app declares unless said.
    #[garde(inner(length(bytes, min = 1, max = 50)))]
    #[param(min_length = 1, max_length = 50)]
    size: Option<String>,
}

/// Get a thumbnail
///
/// Of a picture: PNG, JPEG, GIF or WebP. It is made when it is first asked for. Needs `files:read`.
#[utoipa::path(get, path = "/{id}/thumbnail", operation_id = "get_file_thumbnail",
    params(("id" = String, Path, format = Uuid, description = "The file."), ThumbnailQuery), responses(
    (status = 200, description = "The thumbnail, JPEG or, with transparency, PNG.", content(
        (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"))),
    (status = 304, description = "It is known."),
    (status = 404, description = "The tenant has no such file."),
    (status = 409, description = "The file is in an archive, and has no thumbnail of this size yet."),
    (status = 412, description = "It is not the one `If-Match` names."),
    (status = 422, description = "There is no such size, or the file is no picture, a broken one or too large."),
    (status = 503, description = "Too many are being made.")))]
async fn thumbnail(
    State(files): State<FileService>,
    caller: Identity,
    Path(id): Path<FileId>,
    Query(query): Query<ThumbnailQuery>,
    preconditions: Preconditions,
) -> Result<Response, Error> {
    let (object, etag) = files.thumbnail(&caller, id, query.size.as_deref()).await?;
    let validators = Validators::etag(etag);
    if preconditions.check(&validators)? == Freshness::NotModified {
        return Ok(not_modified(&validators));
    }
    let content_type = object.info.content_type.clone().unwrap_or_else(|| "image/jpeg".into());
    Ok(content(object, &content_type, &validators, "inline", false, ShownBy::App))
}
