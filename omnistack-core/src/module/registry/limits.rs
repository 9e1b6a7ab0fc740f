//! Registration of what plans limit.

use super::Registry;
use crate::{
    BoxError,
    context::{Context, MissingDependency},
    identity::{LimitedResources, TenantId},
};

impl Registry {
    /// Declares resources that plans limit, such as `projects`, and how those of a tenant are counted. The count is the
    /// number that a limit of this name is compared with, by [`Require::limit`](crate::identity::Require::limit) and in
    /// a tenant's overview of its plan.
    ///
    /// ```
    /// # use omnistack_core::{db::Db, module::Registry};
    /// # fn register(registry: &mut Registry) {
    /// registry.limited_resource("projects", |ctx| {
    ///     let db = ctx.get::<Db>()?;
    ///     Ok(move |tenant| {
    ///         let db = db.clone();
    ///         async move {
    ///             let mut tx = db.tenant(tenant).begin_read().await?;
    ///             let sql = "select count(*) from projects where tenant_id = $1 and deleted_at is null";
    ///             let (count,): (i64,) = tx.query(sql).bind(tenant).fetch_one().await?;
    ///             Ok(count.unsigned_abs())
    ///         }
    ///     })
    /// });
    /// # }
    /// ```
    pub fn limited_resource<C, F>(
        &mut self,
        name: &'static str,
        count: impl FnOnce(&Context) -> Result<C, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn(TenantId) -> F + Send + Sync + 'static,
        F: Future<Output = Result<u64, BoxError>> + Send + 'static,
    {
        let provided = self.provided::<LimitedResources>();
        if provided.is_some_and(|resources| !resources.declare(name)) {
            let what = format!("declares the limited resource `{name}`, which another module has declared");
            self.report_problem(what, "give one of them another name");
        }
        self.contribute(move |ctx| {
            ctx.get::<LimitedResources>()?.set(name, count(ctx)?);
            Ok(())
        })
    }

    /// Reports routes that require the plan to allow one more of a resource that no module declares.
    pub(super) fn check_required_limits(&mut self) {
        let declared = self.provided::<LimitedResources>().unwrap_or_default().names();
        for (module, resource) in std::mem::take(&mut self.required_limits) {
            if !declared.contains(&resource.as_str()) {
                self.module = module;
                self.report_problem(
                    format!("has a route that requires a limit of `{resource}`, which no module declares"),
                    format!("declare it with `registry.limited_resource(\"{resource}\", …)`"),
                );
            }
        }
    }
}
