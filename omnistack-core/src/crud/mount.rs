//! The mount of a resource, with what applies to its rows.

use std::fmt;

use super::{Crud, Resource, ResourceHooks, Verb, routes, search::short_name};
use crate::{
    BoxError,
    identity::TenantId,
    module::{Api, Context, MissingDependency, Mount, Registry},
};

/// Completes a repository with values that the app provides.
type CompleteCrud<R> = Box<dyn Fn(Crud<R>, &Context) -> Result<Crud<R>, MissingDependency> + Send>;

/// The routes of a resource and what applies to its rows, for [`Registry::resource`]. [`resource()`] creates it.
#[must_use = "it has no effect until `Registry::resource` mounts it"]
pub struct ResourceMount<R: Resource> {
    api: Api<Crud<R>>,
    completions: Vec<CompleteCrud<R>>,
    is_limited: bool,
}

/// Creates a resource to mount, with the [routes](routes()) of all its operations.
///
/// ```
/// use omnistack_core::{crud::{self, Resource, Verb}, module::{Mount, Registry}};
///
/// fn register<Project: Resource>(registry: &mut Registry) {
///     let projects = crud::resource::<Project>().without(Verb::Restore).limited_by_plan().publish_changes();
///     registry.resource(Mount::app("/projects").permissions("projects"), projects);
/// }
/// ```
pub fn resource<R: Resource>() -> ResourceMount<R> {
    ResourceMount { api: routes(), completions: Vec::new(), is_limited: false }
}

impl<R: Resource> ResourceMount<R> {
    /// Leaves out the route of an operation. A handler of your own, which another mount adds, can take its place.
    pub fn without(mut self, verb: Verb) -> Self {
        self.api = self.api.without(verb);
        self
    }

    /// Limits the rows of a tenant as [`Crud::limited_by_plan`] does, and declares them as a
    /// [limited resource](Registry::limited_resource). The limit has the name of the [table](Resource::TABLE), without a
    /// schema.
    pub fn limited_by_plan(mut self) -> Self {
        self.is_limited = true;
        self.complete(|crud, ctx| Ok(crud.limited_by_plan(ctx.get()?, short_name(R::TABLE))))
    }

    /// Publishes each change of a row as [`Crud::publish_changes`] does. The topic has the name of the
    /// [table](Resource::TABLE), without a schema.
    pub fn publish_changes(self) -> Self {
        self.complete(|crud, ctx| Ok(crud.publish_changes(ctx.get()?, short_name(R::TABLE))))
    }

    /// Shows connected clients each change of a row, as [`Crud::publish_to_realtime`] does.
    pub fn publish_to_realtime(self) -> Self {
        self.complete(|crud, ctx| Ok(crud.publish_to_realtime(ctx.get()?)))
    }

    /// Adds the app's own code to the transactions in which rows change, as [`Crud::hooks`] does. `hooks` creates it
    /// from provided values.
    pub fn hooks<H: ResourceHooks<R>>(
        self,
        hooks: impl Fn(&Context) -> Result<H, MissingDependency> + Send + 'static,
    ) -> Self {
        self.complete(move |crud, ctx| Ok(crud.hooks(hooks(ctx)?)))
    }

    fn complete(
        mut self,
        completion: impl Fn(Crud<R>, &Context) -> Result<Crud<R>, MissingDependency> + Send + 'static,
    ) -> Self {
        self.completions.push(Box::new(completion));
        self
    }
}

impl Registry {
    /// Mounts a resource, and provides its [`Crud`] to all modules: other routes and hooks take it from the [`Context`],
    /// so that the same limits, events and hooks apply to the rows that they change.
    ///
    /// A resource is mounted once like this. Its routes can be mounted at further paths by
    /// [`routes`](Self::routes), with the state `|ctx| ctx.get()`.
    ///
    /// ```
    /// # use omnistack_core::{crud::{self, Crud, Resource}, module::{Mount, Registry}};
    /// # fn register<Note: Resource>(registry: &mut Registry) {
    /// registry
    ///     .resource(Mount::app("/notes"), crud::resource::<Note>())
    ///     .routes(Mount::app("/notes").v2(), crud::routes::<Note>().enveloped(), |ctx| ctx.get());
    /// # }
    /// ```
    pub fn resource<R: Resource>(&mut self, mount: Mount, resource: ResourceMount<R>) -> &mut Self {
        let ResourceMount { api, completions, is_limited } = resource;
        if self.provides::<Crud<R>>() {
            let what = format!("mounts the resource `{}`, which is mounted already", R::NAME);
            return self
                .report_problem(what, "mount its routes again by `registry.routes`, with the state `|ctx| ctx.get()`");
        }
        if is_limited {
            self.limited_resource(short_name(R::TABLE), |ctx| {
                let rows = ctx.get::<Crud<R>>()?;
                Ok(move |tenant: TenantId| {
                    let rows = rows.clone();
                    async move { rows.count(tenant).await.map_err(BoxError::from) }
                })
            });
        }
        self.provide_from(move |ctx| {
            completions.iter().try_fold(Crud::<R>::from_ctx(ctx)?, |crud, complete| complete(crud, ctx))
        });
        self.routes(mount, api, |ctx| ctx.get())
    }
}

impl<R: Resource> fmt::Debug for ResourceMount<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceMount").field("table", &R::TABLE).finish_non_exhaustive()
    }
}
