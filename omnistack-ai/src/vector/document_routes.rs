//! The routes of documents: `/api/v1/app/vector/{collection}/documents`.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, Json, Path, Query, StatusCode},
    identity::Identity,
    module::Api,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    documents::VectorDocument,
    handle::{Vectors, caller_of},
    ingest::{DEFAULT_CHUNK_CHARACTERS, DEFAULT_OVERLAP_CHARACTERS, MAX_DOCUMENT_BYTES, NewVectorDocument},
    routes::VectorPageQuery,
};

/// Returns the routes of documents.
pub(super) fn documents() -> Api<Vectors> {
    Api::new().routes(routes!(list_documents, add_document)).routes(routes!(get_document, delete_document))
}

/// List documents
///
/// The documents are in the order of their ids.
#[utoipa::path(get, path = "/{collection}/documents", operation_id = "list_vector_documents",
    params(("collection" = String, Path, description = "The name of the collection."), VectorPageQuery), responses(
    (status = 200, body = CursorPage<VectorDocument>),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
))]
async fn list_documents(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path(collection): Path<String>,
    Query(query): Query<VectorPageQuery>,
) -> Result<Json<CursorPage<VectorDocument>>, Error> {
    let (cursor, limit) = query.parts();
    Ok(Json(vectors.documents(caller.require_tenant()?, &collection, cursor.as_deref(), limit).await?))
}

/// A document to store.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct AddVectorDocument {
    /// The id, which is unique in the collection.
    #[garde(length(chars, min = 1, max = 180))]
    #[schema(min_length = 1, max_length = 180)]
    id: String,
    /// The text.
    #[garde(length(bytes, min = 1, max = MAX_DOCUMENT_BYTES))]
    #[schema(min_length = 1, max_length = 8_388_608)]
    text: String,
    /// The metadata of all its points. The fields `document` and `chunk` are added.
    #[garde(skip)]
    #[schema(value_type = Object)]
    #[serde(default)]
    metadata: Map<String, Value>,
    /// The largest size of a chunk in characters. Default: 1,200.
    #[garde(range(min = 100, max = 8000))]
    #[schema(minimum = 100, maximum = 8000)]
    #[serde(default)]
    chunk_size: Option<u32>,
    /// The characters of the previous chunk that a chunk repeats, at most a quarter of its size. Default: 150.
    #[garde(range(max = 2000))]
    #[schema(minimum = 0, maximum = 2000)]
    #[serde(default)]
    overlap: Option<u32>,
}

/// Store a document
///
/// It is divided into chunks, whose vectors are created and stored in the background. A document with the same id is
/// replaced. Ask for it to see its progress and its cost.
#[utoipa::path(post, path = "/{collection}/documents", operation_id = "add_vector_document",
    params(("collection" = String, Path, description = "The name of the collection.")),
    request_body = AddVectorDocument, responses(
    (status = 202, body = VectorDocument),
    (status = 402, body = ErrorEnvelope, description = "A budget is used up."),
    (status = 404, body = ErrorEnvelope, description = "There is no such collection."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "The model or the vector engine is not available."),
))]
async fn add_document(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path(collection): Path<String>,
    Json(body): Json<AddVectorDocument>,
) -> Result<(StatusCode, Json<VectorDocument>), Error> {
    let AddVectorDocument { id, text, metadata, chunk_size, overlap } = body;
    let chunk_size = chunk_size.unwrap_or(DEFAULT_CHUNK_CHARACTERS);
    let overlap = overlap.unwrap_or(DEFAULT_OVERLAP_CHARACTERS);
    let new = NewVectorDocument { id, text, metadata, chunk_size, overlap };
    let stored = vectors.add_document(caller_of(&caller)?, &collection, new).await?;
    Ok((StatusCode::ACCEPTED, Json(stored)))
}

/// Get a document
///
/// The response has the progress and the cost of the document, but not its text.
#[utoipa::path(get, path = "/{collection}/documents/{id}", operation_id = "get_vector_document",
    params(
        ("collection" = String, Path, description = "The name of the collection."),
        ("id" = String, Path, description = "The id of the document."),
    ), responses(
    (status = 200, body = VectorDocument),
    (status = 404, body = ErrorEnvelope),
))]
async fn get_document(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path((collection, id)): Path<(String, String)>,
) -> Result<Json<VectorDocument>, Error> {
    Ok(Json(vectors.document(caller.require_tenant()?, &collection, &id).await?))
}

/// Delete a document
///
/// Its points are deleted too.
#[utoipa::path(delete, path = "/{collection}/documents/{id}", operation_id = "delete_vector_document",
    params(
        ("collection" = String, Path, description = "The name of the collection."),
        ("id" = String, Path, description = "The id of the document."),
    ), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "The vector engine is not available."),
))]
async fn delete_document(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path((collection, id)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    vectors.delete_document(caller.require_tenant()?, &collection, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
