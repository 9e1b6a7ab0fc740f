//! A module's routes with their descriptions.

use axum::routing::MethodRouter;
use utoipa::openapi::{Paths, RefOr, Schema};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::{http::envelope, identity::Require};

/// Routes and their OpenAPI description, which can't part: both come from `routes!(handler)`.
///
/// It is `utoipa_axum::OpenApiRouter` without nesting: a module mounts flat, so that a request is matched once and its
/// path is never rewritten.
///
/// ```
/// use omnistack_core::{app::Api, http::Json};
/// use utoipa_axum::routes;
///
/// /// Lists the planets.
/// #[utoipa::path(get, path = "/", responses((status = 200, body = Vec<String>)))]
/// async fn list() -> Json<Vec<String>> {
///     Json(vec!["Mars".into()])
/// }
///
/// let api: Api<()> = Api::new().routes(routes!(list));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Api<S = ()> {
    pub(super) routes: Vec<(Paths, MethodRouter<S>, Option<Require>)>,
    pub(super) hidden: Vec<(String, MethodRouter<S>)>,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
}

impl<S> Api<S> {
    /// No routes yet.
    pub fn new() -> Self {
        Self { routes: Vec::new(), hidden: Vec::new(), schemas: Vec::new() }
    }

    /// Adds the handlers of one path, as `routes!(get_it, change_it)`.
    pub fn routes(mut self, (schemas, paths, router): UtoipaMethodRouter<S>) -> Self {
        self.routes.push((paths, router, None));
        self.refer_to(schemas);
        self
    }

    /// As [`routes`](Self::routes), for callers who have what these ask: a permission, a recent sign-in, a second factor.
    ///
    /// ```
    /// # use omnistack_core::{app::Api, identity::Require};
    /// # use utoipa_axum::routes;
    /// # #[utoipa::path(delete, path = "/{id}", params(("id" = String, Path)), responses((status = 204)))]
    /// # async fn remove() {}
    /// let api: Api<()> = Api::new().guarded(Require::permission("members:remove"), routes!(remove));
    /// ```
    pub fn guarded(mut self, require: Require, (schemas, paths, router): UtoipaMethodRouter<S>) -> Self {
        self.routes.push((paths, router, Some(require)));
        self.refer_to(schemas);
        self
    }

    /// Adds a route that the API's description leaves out: a page, a stream, an asset.
    pub fn hidden(mut self, path: impl Into<String>, router: MethodRouter<S>) -> Self {
        self.hidden.push((path.into(), router));
        self
    }

    /// The same routes for version 2 on: what succeeds with JSON is in the [envelope](crate::http::Envelope), in the answers
    /// and in their description. Handlers stay as they are.
    ///
    /// ```
    /// # use omnistack_core::{app::{Api, Mount, Registry}, http::Json};
    /// # use utoipa_axum::routes;
    /// # #[utoipa::path(get, path = "/", responses((status = 200, body = Vec<String>)))]
    /// # async fn list() -> Json<Vec<String>> { Json(Vec::new()) }
    /// # fn api() -> Api<()> { Api::new().routes(routes!(list)) }
    /// # fn register(registry: &mut Registry) {
    /// registry
    ///     .routes(Mount::public("/planets"), api(), |_| Ok(()))
    ///     .routes(Mount::public("/planets").v2(), api().enveloped(), |_| Ok(()));
    /// # }
    /// ```
    pub fn enveloped(mut self) -> Self
    where
        S: Clone + Send + Sync + 'static,
    {
        self.routes = self
            .routes
            .into_iter()
            .map(|(mut paths, router, require)| {
                envelope::describe(&mut paths);
                (paths, router.layer(axum::middleware::from_fn(envelope::wrap)), require)
            })
            .collect();
        self.refer_to(envelope::schemas());
        self
    }

    /// Adds the routes of another.
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self.hidden.extend(other.hidden);
        self.refer_to(other.schemas);
        self
    }

    /// Keeps each once: every route names all it refers to, and they name theirs.
    fn refer_to(&mut self, schemas: Vec<(String, RefOr<Schema>)>) {
        for schema in schemas {
            if !self.schemas.contains(&schema) {
                self.schemas.push(schema);
            }
        }
    }
}

impl<S> Default for Api<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> std::fmt::Debug for Api<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths: Vec<_> = self.routes.iter().flat_map(|(paths, ..)| paths.paths.keys()).collect();
        f.debug_struct("Api").field("paths", &paths).finish_non_exhaustive()
    }
}
