//! The routes of error analytics: `/api/v1/admin/errors` for operators, `/api/v1/app/errors` for tenants.

mod admin;
mod app;
mod period;
mod reports;

use omnistack_core::{
    audit::AuditLog,
    module::{Mount, Registry},
};

use super::store::ErrorStore;

/// State of the routes.
#[derive(Clone)]
pub(super) struct RouteState {
    store: ErrorStore,
    log: AuditLog,
}

pub(super) fn register(registry: &mut Registry, store: &ErrorStore) {
    let (for_operators, for_tenants) = (store.clone(), store.clone());
    registry
        .routes(Mount::admin("/errors"), admin::api(), |ctx| Ok(RouteState { store: for_operators, log: ctx.get()? }))
        .routes(Mount::app("/errors").permissions("errors"), app::api(), |_| Ok(for_tenants));
}
