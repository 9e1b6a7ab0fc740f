//! Reports of what calls have used and cost, and the budgets.

mod budget_routes;
mod daily;
mod numbers;
mod projection;
mod quality;
mod routes;

use omnistack_core::{
    db::Db,
    identity::Authenticator,
    module::{Mount, Registry},
};

use self::budget_routes::BudgetRoutes;
use crate::accounting::Accounting;

/// Registers the routes, if the app authenticates callers, and the daily number of calls.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .count_by_day("ai_calls", |ctx| {
            // Calls are the app's, also if each tenant has a database.
            let db = ctx.get::<Db>()?.app_database();
            Ok(move |from| {
                let db = db.clone();
                async move { daily::calls_by_day(&db, from).await }
            })
        })
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            registry
                .routes(Mount::app("/ai/usage").without_plan_limits(), routes::app_api(), |ctx| ctx.get::<Accounting>())
                .routes(Mount::admin("/ai/spend"), routes::admin_api(), |ctx| ctx.get::<Accounting>())
                .routes(Mount::app("/ai/budgets").without_plan_limits(), budget_routes::app_api(), |ctx| {
                    Ok(BudgetRoutes { accounting: ctx.get()?, log: ctx.get()? })
                })
                .routes(Mount::admin("/ai/budgets"), budget_routes::admin_api(), |ctx| {
                    Ok(BudgetRoutes { accounting: ctx.get()?, log: ctx.get()? })
                });
        });
}
