//! A module's routes and their OpenAPI description.

use axum::routing::MethodRouter;
use utoipa::openapi::{Paths, RefOr, Schema};
use utoipa_axum::router::UtoipaMethodRouter;

use super::DeclaredTable;
use crate::{http::envelope, identity::Require};

/// Routes and their OpenAPI description. Both come from `routes!(handler)`, so they can't differ.
///
/// This is `utoipa_axum::OpenApiRouter` without nesting: a module's routes are mounted flat, so that a request is
/// matched once and its path is never rewritten.
///
/// ```
/// use omnistack_core::{module::Api, http::Json};
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
    pub(crate) routes: Vec<(Paths, MethodRouter<S>, Option<Require>)>,
    pub(crate) hidden: Vec<(String, MethodRouter<S>)>,
    pub(crate) schemas: Vec<(String, RefOr<Schema>)>,
    /// The tables of the resources that have routes here.
    pub(crate) tables: Vec<DeclaredTable>,
}

impl<S> Api<S> {
    /// Creates an API without routes.
    pub fn new() -> Self {
        Self { routes: Vec::new(), hidden: Vec::new(), schemas: Vec::new(), tables: Vec::new() }
    }

    /// Adds the handlers of one path, such as `routes!(get_it, change_it)`.
    pub fn routes(mut self, (schemas, paths, router): UtoipaMethodRouter<S>) -> Self {
        self.routes.push((paths, router, None));
        self.add_schemas(schemas);
        self
    }

    /// Like [`routes`](Self::routes), for callers who satisfy `require`: a permission, a recent sign-in, a second
    /// factor.
    ///
    /// ```
    /// # use omnistack_core::{module::Api, identity::Require};
    /// # use utoipa_axum::routes;
    /// # #[utoipa::path(delete, path = "/{id}", params(("id" = String, Path)), responses((status = 204)))]
    /// # async fn remove() {}
    /// let api: Api<()> = Api::new().require(Require::permission("members:remove"), routes!(remove));
    /// ```
    pub fn require(mut self, require: Require, (schemas, paths, router): UtoipaMethodRouter<S>) -> Self {
        self.routes.push((paths, router, Some(require)));
        self.add_schemas(schemas);
        self
    }

    /// Adds a route that is left out of the OpenAPI document: a page, a stream, an asset.
    pub fn hidden(mut self, path: impl Into<String>, router: MethodRouter<S>) -> Self {
        self.hidden.push((path.into(), router));
        self
    }

    /// Returns the same routes for version 2 and later: successful JSON responses are wrapped in the
    /// [envelope](crate::http::Envelope), in the responses and in their description. Handlers stay unchanged.
    ///
    /// ```
    /// # use omnistack_core::{module::{Api, Mount, Registry}, http::Json};
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
                envelope::wrap_schemas(&mut paths);
                (paths, router.layer(axum::middleware::from_fn(envelope::wrap_responses)), require)
            })
            .collect();
        self.add_schemas(envelope::schemas());
        self
    }

    /// Adds the routes of another API.
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self.hidden.extend(other.hidden);
        self.tables.extend(other.tables);
        self.add_schemas(other.schemas);
        self
    }

    /// Declares the table of a resource that has routes here.
    pub(crate) fn table(mut self, table: DeclaredTable) -> Self {
        self.tables.push(table);
        self
    }

    /// Adds schemas, each once: every route lists all schemas that it refers to, including nested ones.
    fn add_schemas(&mut self, schemas: Vec<(String, RefOr<Schema>)>) {
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
