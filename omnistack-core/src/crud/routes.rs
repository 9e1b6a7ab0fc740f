//! The six routes of a resource.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete as delete_method, get, patch, post},
};
use http::{HeaderValue, StatusCode, header};

use super::{Crud, ListPage, ListRequest, Resource, describe, maintenance::table_of};
use crate::{
    http::{Error, Json, Path},
    id::Id,
    idempotency::Idempotency,
    identity::Identity,
    module::Api,
};

/// An operation of a resource. Each has a route of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `GET /`.
    List,
    /// `POST /`.
    Create,
    /// `GET /{id}`.
    Get,
    /// `PATCH /{id}`.
    Update,
    /// `DELETE /{id}`.
    Delete,
    /// `POST /{id}/restore`, with soft delete.
    Restore,
}

/// Creates the routes of a resource: `GET` and `POST /`, `GET`, `PATCH` and `DELETE /{id}`, and, with soft
/// delete, `POST /{id}/restore`. [`without`](Api::without) leaves one out.
///
/// Mount them with [`Mount::app`](crate::module::Mount::app) or [`Mount::admin`](crate::module::Mount::admin), since
/// the scope of the rows depends on the caller.
///
/// The mount also declares the table: core deletes the rows of a deleted tenant (see
/// [`Registry::tenant_tables`](crate::module::Registry::tenant_tables)), and soft-deleted rows after
/// [`Resource::PURGE_AFTER`].
pub fn routes<R: Resource>() -> Api<Crud<R>> {
    let verbs = [Verb::List, Verb::Create, Verb::Get, Verb::Update, Verb::Delete];
    let verbs = verbs.into_iter().chain(R::SOFT_DELETE.then_some(Verb::Restore));
    let mut schemas = describe::schemas::<R>();
    verbs.fold(Api::new().table(table_of::<R>()), |api, verb| {
        api.routes((std::mem::take(&mut schemas), describe::paths::<R>(verb), router::<R>(verb)))
    })
}

impl<R: Resource> Api<Crud<R>> {
    /// Leaves out the route of an operation of the resource, with its description. A handler of your own can take its
    /// place, at the same path:
    ///
    /// ```
    /// use omnistack_core::{crud::{self, Crud, Resource, Verb}, module::{Mount, Registry}};
    ///
    /// fn register<Room: Resource>(registry: &mut Registry) {
    ///     let rooms = crud::routes::<Room>().without(Verb::Create);
    ///     // Add handlers with the same state by `.routes(routes!(create_room))`, or mount others at the same path.
    ///     registry.routes(Mount::app("/rooms"), rooms, Crud::from_ctx);
    /// }
    /// ```
    ///
    /// It leaves out routes of [`crud::routes`](routes()) only. Call it before [`enveloped`](Api::enveloped).
    pub fn without(mut self, verb: Verb) -> Self {
        let left_out = describe::paths::<R>(verb);
        self.routes.retain(|(paths, ..)| *paths != left_out);
        self
    }
}

fn router<R: Resource>(verb: Verb) -> MethodRouter<Crud<R>> {
    match verb {
        Verb::List => get(list::<R>),
        Verb::Create => post(create::<R>),
        Verb::Get => get(get_one::<R>),
        Verb::Update => patch(update::<R>),
        Verb::Delete => delete_method(delete::<R>),
        Verb::Restore => post(restore::<R>),
    }
}

async fn list<R: Resource>(
    State(crud): State<Crud<R>>,
    caller: Identity,
    request: ListRequest<R>,
) -> Result<ListPage<R>, Error> {
    crud.list(&caller, &request).await
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
