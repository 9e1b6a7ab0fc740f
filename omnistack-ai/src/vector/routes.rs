//! The routes of collections, points and searches: `/api/v1/app/vector`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query, StatusCode},
    identity::{Identity, Require},
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    checks::{MAX_COLLECTION_NAME_LENGTH, MAX_POINT_ID_LENGTH, MAX_POINT_TEXT_LENGTH},
    filter::MetadataFilter,
    handle::{MAX_POINTS_PER_CALL, Vectors, caller_of},
    input::{NewVectorCollection, NewVectorPoint, VectorSearch, VectorSearchMode},
    model::{MAX_VECTOR_DIMENSIONS, VectorCollection, VectorMatch, VectorPoint},
};

/// The permission to search and to read.
pub(super) const READ_PERMISSION: &str = "vectors:read";
/// Largest length of the name of a model, in characters.
const MAX_MODEL_NAME_LENGTH: usize = 200;
/// Largest length of the text of a search, in characters.
const MAX_QUERY_LENGTH: usize = 8_000;
/// Number of results of a search that sets none.
const DEFAULT_RESULTS: usize = 10;

/// Returns the routes that need `vectors:read` to read and `vectors:write` to write.
pub(super) fn collections() -> Api<Vectors> {
    Api::new()
        .routes(routes!(list_collections, create_collection))
        .routes(routes!(get_collection, delete_collection))
        .routes(routes!(put_points))
        .routes(routes!(get_point, delete_point))
        .routes(routes!(delete_points))
}

/// Returns the routes that search, with POST, and need `vectors:read`.
pub(super) fn searches() -> Api<Vectors> {
    Api::new()
        .require(Require::permission(READ_PERMISSION), routes!(search_default))
        .require(Require::permission(READ_PERMISSION), routes!(search))
}

/// A page of a list, after a name.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VectorPageQuery {
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 200))]
    #[param(max_length = 200)]
    cursor: Option<String>,
}

impl VectorPageQuery {
    pub(super) fn parts(self) -> (Option<String>, u32) {
        (self.cursor, self.limit.unwrap_or(PageRequest::DEFAULT_SIZE))
    }
}

/// List vector collections
///
/// The collections are in the order of their names.
#[utoipa::path(get, path = "/", operation_id = "list_vector_collections", params(VectorPageQuery), responses(
    (status = 200, body = CursorPage<VectorCollection>),
    (status = 422, body = ErrorEnvelope),
))]
async fn list_collections(
    State(vectors): State<Vectors>,
    caller: Identity,
    Query(query): Query<VectorPageQuery>,
) -> Result<Json<CursorPage<VectorCollection>>, Error> {
    let (cursor, limit) = query.parts();
    Ok(Json(vectors.list(caller.require_tenant()?, cursor.as_deref(), limit).await?))
}

/// A collection to create.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateVectorCollection {
    /// The name: small letters, digits, `_` or `-`.
    #[garde(length(chars, min = 1, max = MAX_COLLECTION_NAME_LENGTH))]
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// The length of the vectors. Default: that of the vectors of the model.
    #[garde(range(min = 1, max = MAX_VECTOR_DIMENSIONS))]
    #[schema(minimum = 1, maximum = 4096)]
    #[serde(default)]
    dimensions: Option<u32>,
    /// The model or alias that creates the vectors of texts. Default: that of `AI_VECTOR_MODEL`.
    #[garde(length(chars, min = 1, max = MAX_MODEL_NAME_LENGTH))]
    #[schema(min_length = 1, max_length = 200)]
    #[serde(default)]
    model: Option<String>,
}

/// Create a vector collection
#[utoipa::path(post, path = "/", operation_id = "create_vector_collection", request_body = CreateVectorCollection,
    responses(
    (status = 201, body = VectorCollection),
    (status = 402, body = ErrorEnvelope, description = "The plan does not allow another collection."),
    (status = 409, body = ErrorEnvelope, description = "The tenant has a collection with this name."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "The vector engine is not available."),
))]
async fn create_collection(
    State(vectors): State<Vectors>,
    caller: Identity,
    Json(body): Json<CreateVectorCollection>,
) -> Result<(StatusCode, Json<VectorCollection>), Error> {
    let CreateVectorCollection { name, dimensions, model } = body;
    let created = vectors.create(&caller, &NewVectorCollection { name, dimensions, model }).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Get a vector collection
#[utoipa::path(get, path = "/{collection}", operation_id = "get_vector_collection",
    params(("collection" = String, Path, description = "The name of the collection.")), responses(
    (status = 200, body = VectorCollection),
    (status = 404, body = ErrorEnvelope),
))]
async fn get_collection(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path(collection): Path<String>,
) -> Result<Json<VectorCollection>, Error> {
    Ok(Json(vectors.collection(caller.require_tenant()?, &collection).await?))
}

/// Delete a vector collection
///
/// Its points are deleted soon after.
#[utoipa::path(delete, path = "/{collection}", operation_id = "delete_vector_collection",
    params(("collection" = String, Path, description = "The name of the collection.")), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope),
))]
async fn delete_collection(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path(collection): Path<String>,
) -> Result<StatusCode, Error> {
    vectors.delete(&caller, &collection).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A point to store: a vector, or a text whose vector the model of the collection creates.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutVectorPoint {
    /// The id, which is unique in the collection.
    #[garde(length(chars, min = 1, max = MAX_POINT_ID_LENGTH))]
    #[schema(min_length = 1, max_length = 200)]
    id: String,
    /// The vector. It is scaled to the length 1.
    #[garde(length(max = 4096))]
    #[schema(max_items = 4096)]
    #[serde(default)]
    vector: Option<Vec<f32>>,
    /// The text.
    #[garde(length(chars, max = MAX_POINT_TEXT_LENGTH))]
    #[schema(max_length = 32768)]
    #[serde(default)]
    text: Option<String>,
    /// Fields that searches filter by: at most 64, with 16 KiB as JSON.
    #[garde(skip)]
    #[schema(value_type = Object)]
    #[serde(default)]
    metadata: Map<String, Value>,
}

/// Points to store.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutVectorPoints {
    /// The points.
    #[garde(length(min = 1, max = MAX_POINTS_PER_CALL), dive)]
    #[schema(min_items = 1, max_items = 1000)]
    points: Vec<PutVectorPoint>,
}

/// Store points
///
/// Points with the same ids are replaced. The default collection is created with its first point.
#[utoipa::path(put, path = "/{collection}/points", operation_id = "put_vector_points",
    params(("collection" = String, Path, description = "The name of the collection.")),
    request_body = PutVectorPoints, responses(
    (status = 204),
    (status = 402, body = ErrorEnvelope, description = "A budget is used up, or the plan does not allow more points."),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
    (status = 502, body = ErrorEnvelope, description = "The model or the vector engine has failed."),
    (status = 503, body = ErrorEnvelope, description = "The model or the vector engine is not available."),
))]
async fn put_points(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path(collection): Path<String>,
    Json(body): Json<PutVectorPoints>,
) -> Result<StatusCode, Error> {
    let point = |PutVectorPoint { id, vector, text, metadata }| NewVectorPoint { id, vector, text, metadata };
    let points = body.points.into_iter().map(point).collect();
    vectors.upsert(caller_of(&caller)?, &collection, points).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A point of a collection.
#[derive(Debug, Serialize, ToSchema)]
struct StoredVectorPoint {
    /// The id.
    id: String,
    /// The vector, with the length 1.
    vector: Vec<f32>,
    /// The text.
    #[schema(required)]
    text: Option<String>,
    /// The metadata.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

impl From<VectorPoint> for StoredVectorPoint {
    fn from(VectorPoint { id, vector, text, metadata }: VectorPoint) -> Self {
        Self { id, vector, text, metadata }
    }
}

/// Get a point
#[utoipa::path(get, path = "/{collection}/points/{id}", operation_id = "get_vector_point",
    params(
        ("collection" = String, Path, description = "The name of the collection."),
        ("id" = String, Path, description = "The id of the point."),
    ), responses(
    (status = 200, body = StoredVectorPoint),
    (status = 404, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "The vector engine is not available."),
))]
async fn get_point(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path((collection, id)): Path<(String, String)>,
) -> Result<Json<StoredVectorPoint>, Error> {
    let found = vectors.points(caller.require_tenant()?, &collection, &[id]).await?.pop();
    found.map(|point| Json(point.into())).ok_or_else(|| Error::not_found("the point"))
}

/// Delete a point
///
/// A point that does not exist is not an error.
#[utoipa::path(delete, path = "/{collection}/points/{id}", operation_id = "delete_vector_point",
    params(
        ("collection" = String, Path, description = "The name of the collection."),
        ("id" = String, Path, description = "The id of the point."),
    ), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope, description = "There is no such collection."),
    (status = 503, body = ErrorEnvelope, description = "The vector engine is not available."),
))]
async fn delete_point(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path((collection, id)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    vectors.delete_points(caller.require_tenant()?, &collection, &[id]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Points to delete.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeleteVectorPoints {
    /// The ids.
    #[garde(length(min = 1, max = MAX_POINTS_PER_CALL))]
    #[schema(min_items = 1, max_items = 1000)]
    ids: Vec<Text<1, 200>>,
}

/// Delete points
///
/// Ids that do not exist are ignored.
#[utoipa::path(post, path = "/{collection}/points/delete", operation_id = "delete_vector_points",
    params(("collection" = String, Path, description = "The name of the collection.")),
    request_body = DeleteVectorPoints, responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope, description = "There is no such collection."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "The vector engine is not available."),
))]
async fn delete_points(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path(collection): Path<String>,
    Json(body): Json<DeleteVectorPoints>,
) -> Result<StatusCode, Error> {
    let ids: Vec<String> = body.ids.into_iter().map(String::from).collect();
    vectors.delete_points(caller.require_tenant()?, &collection, &ids).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A search: by `query`, or by `vector`.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct SearchVectors {
    /// The text that is sought.
    #[garde(length(chars, min = 1, max = MAX_QUERY_LENGTH))]
    #[schema(min_length = 1, max_length = 8000)]
    #[serde(default)]
    query: Option<String>,
    /// The vector that is sought, in place of that of the text.
    #[garde(length(min = 1, max = 4096))]
    #[schema(min_items = 1, max_items = 4096)]
    #[serde(default)]
    vector: Option<Vec<f32>>,
    /// The way in which the text is sought: by its `meaning`, its `words`, or both (`hybrid`). Default: `meaning`.
    #[garde(skip)]
    #[serde(default)]
    mode: VectorSearchMode,
    /// Conditions on the metadata, all of which must be satisfied. The value of a field is a value that it must have,
    /// or an object with `eq`, `ne`, `in`, `not_in`, `gt`, `gte`, `lt`, `lte` or `exists`.
    #[garde(skip)]
    #[schema(value_type = Object)]
    #[serde(default)]
    filter: Map<String, Value>,
    /// The largest number of results, 1 to 100. Default: 10.
    #[garde(range(min = 1, max = 100))]
    #[schema(minimum = 1, maximum = 100)]
    #[serde(default)]
    limit: Option<usize>,
}

/// The results of a search.
#[derive(Debug, Serialize, ToSchema)]
struct VectorMatches {
    /// The name of the collection.
    collection: String,
    /// The results, the best first.
    matches: Vec<VectorMatch>,
}

async fn run_search(
    vectors: &Vectors,
    caller: &Identity,
    collection: String,
    body: SearchVectors,
) -> Result<Json<VectorMatches>, Error> {
    let SearchVectors { query, vector, mode, filter, limit } = body;
    let filter = MetadataFilter::parse(&filter).map_err(|problem: FieldError| Error::invalid([problem]))?;
    let search = VectorSearch { text: query, vector, mode, filter, limit: limit.unwrap_or(DEFAULT_RESULTS) };
    let matches = vectors.search(caller_of(caller)?, &collection, search).await?;
    Ok(Json(VectorMatches { collection, matches }))
}

/// Search the default collection
///
/// The name of the collection is set by the app.
#[utoipa::path(post, path = "/search", operation_id = "search_vectors", request_body = SearchVectors, responses(
    (status = 200, body = VectorMatches),
    (status = 402, body = ErrorEnvelope, description = "A budget is used up."),
    (status = 422, body = ErrorEnvelope),
    (status = 502, body = ErrorEnvelope, description = "The model or the vector engine has failed."),
    (status = 503, body = ErrorEnvelope, description = "The model or the vector engine is not available."),
))]
async fn search_default(
    State(vectors): State<Vectors>,
    caller: Identity,
    Json(body): Json<SearchVectors>,
) -> Result<Json<VectorMatches>, Error> {
    let collection = vectors.default_collection().to_owned();
    run_search(&vectors, &caller, collection, body).await
}

/// Search a collection
#[utoipa::path(post, path = "/{collection}/search", operation_id = "search_vector_collection",
    params(("collection" = String, Path, description = "The name of the collection.")),
    request_body = SearchVectors, responses(
    (status = 200, body = VectorMatches),
    (status = 402, body = ErrorEnvelope, description = "A budget is used up."),
    (status = 404, body = ErrorEnvelope, description = "There is no such collection."),
    (status = 422, body = ErrorEnvelope),
    (status = 502, body = ErrorEnvelope, description = "The model or the vector engine has failed."),
    (status = 503, body = ErrorEnvelope, description = "The model or the vector engine is not available."),
))]
async fn search(
    State(vectors): State<Vectors>,
    caller: Identity,
    Path(collection): Path<String>,
    Json(body): Json<SearchVectors>,
) -> Result<Json<VectorMatches>, Error> {
    run_search(&vectors, &caller, collection, body).await
}
