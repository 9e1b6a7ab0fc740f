//! The six routes of a resource.

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use http::{HeaderValue, StatusCode, Uri, header};
use utoipa::openapi::Paths;

use super::{Crud, ListRequest, Resource, describe, maintenance::table_of};
use crate::{
    http::{Error, Json, PageRequest, Path},
    id::Id,
    idempotency::Idempotency,
    identity::Identity,
    module::Api,
};

/// Creates the routes of a resource: `GET` and `POST /`, `GET`, `PATCH` and `DELETE /{id}`, and, with soft
/// delete, `POST /{id}/restore`.
///
/// Mount them with [`Mount::app`](crate::module::Mount::app) or [`Mount::admin`](crate::module::Mount::admin), since
/// the scope of the rows depends on the caller.
///
/// The mount also declares the table: core deletes the rows of a deleted tenant (see
/// [`Registry::tenant_tables`](crate::module::Registry::tenant_tables)), and soft-deleted rows after
/// [`Resource::PURGE_AFTER`].
pub fn routes<R: Resource>() -> Api<Crud<R>> {
    let mut api = Api::new()
        .table(table_of::<R>())
        .routes(described::<R>(describe::collection::<R>(), get(list::<R>).post(create::<R>)))
        .routes(described::<R>(describe::item::<R>(), get(get_one::<R>).patch(update::<R>).delete(delete::<R>)));
    if R::SOFT_DELETE {
        api = api.routes(described::<R>(describe::restore::<R>(), post(restore::<R>)));
    }
    api
}

fn described<R: Resource>(
    paths: Paths,
    router: MethodRouter<Crud<R>>,
) -> utoipa_axum::router::UtoipaMethodRouter<Crud<R>> {
    (describe::schemas::<R>(), paths, router)
}

async fn list<R: Resource>(
    State(crud): State<Crud<R>>,
    caller: Identity,
    uri: axum::extract::OriginalUri,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let request = ListRequest::parse::<R>(query.as_deref().unwrap_or_default())?;
    if let PageRequest::Numbered { .. } = request.page {
        return Ok(Json(crud.list_page(&caller, &request).await?).into_response());
    }
    let page = crud.list(&caller, &request).await?;
    let link = page.next_cursor.as_deref().and_then(|cursor| next_link(&uri.0, cursor));
    let mut response = Json(page).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Returns the `Link` header of the next page (RFC 8288): the request's URL with another cursor.
fn next_link(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).filter(|(name, _)| name != "cursor");
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.extend_pairs(pairs).append_pair("cursor", cursor).finish();
    HeaderValue::try_from(format!("<{}?{query}>; rel=\"next\"", uri.path())).ok()
}

async fn create<R: Resource>(
    State(crud): State<Crud<R>>,
    caller: Identity,
    uri: axum::extract::OriginalUri,
    idempotency: Idempotency,
    Json(new): Json<R::Create>,
) -> Result<Response, Error> {
    let mut tx = crud.begin(&caller).await?;
    let item = crud.create_in(&mut tx, &caller, new).await?;
    let location = HeaderValue::try_from(format!("{}/{}", uri.0.path(), item.id())).ok();
    let mut response = (StatusCode::CREATED, Json(item)).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    idempotency.commit(tx, response).await
}

async fn get_one<R: Resource>(
    State(crud): State<Crud<R>>,
    caller: Identity,
    Path(id): Path<Id<R>>,
) -> Result<Json<R>, Error> {
    crud.get(&caller, id).await.map(Json)
}

async fn update<R: Resource>(
    State(crud): State<Crud<R>>,
    caller: Identity,
    Path(id): Path<Id<R>>,
    idempotency: Idempotency,
    Json(change): Json<R::Update>,
) -> Result<Response, Error> {
    let mut tx = crud.begin(&caller).await?;
    let item = crud.update_in(&mut tx, &caller, id, change).await?;
    idempotency.commit(tx, Json(item)).await
}

async fn delete<R: Resource>(
    State(crud): State<Crud<R>>,
    caller: Identity,
    Path(id): Path<Id<R>>,
) -> Result<StatusCode, Error> {
    crud.delete(&caller, id).await.map(|()| StatusCode::NO_CONTENT)
}

async fn restore<R: Resource>(
    State(crud): State<Crud<R>>,
    caller: Identity,
    Path(id): Path<Id<R>>,
    idempotency: Idempotency,
) -> Result<Response, Error> {
    let mut tx = crud.begin(&caller).await?;
    let item = crud.restore_in(&mut tx, &caller, id).await?;
    idempotency.commit(tx, Json(item)).await
}
