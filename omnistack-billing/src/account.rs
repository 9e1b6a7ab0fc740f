//! The accounts of tenants: their plans, seats, overrides and billing periods.
//!
//! [`BillingAccounts`] is the app's [`PlanSource`](omnistack_core::identity::PlanSource). What a tenant is
//! [entitled](entitled) to is kept [in memory](cache), and every replica [follows](follow) the changes of the others.

mod admin;
mod anchors;
mod assign;
mod cache;
mod entitled;
mod events;
mod follow;
mod handle;
mod jobs;
mod model;
mod overrides;
mod routes;
pub(crate) mod schedule;
mod seats;
mod store;

pub(crate) use entitled::Entitled;
pub use events::PlanChanged;
pub use handle::BillingAccounts;
pub use model::{BillingAccount, OverLimit, PlanAssignment};
pub use overrides::{OverrideKind, PlanOverride};
pub(crate) use seats::MAX_SEATS;

use jiff::tz::TimeZone;
use omnistack_core::{
    db::Db,
    identity::{Authenticator, Entitlements},
    jobs::Cron,
    module::{Mount, Registry},
};

use crate::plan::PlanCatalogue;
use handle::AccountParts;
use jobs::DeleteExpiredOverrides;

/// Registers the accounts of tenants, the entitlements made of them, and their routes. The routes for tenants and
/// operators exist if the app authenticates callers. `zone` is the time zone of tenants without an account. The module
/// must call [`BillingAccounts::start`].
pub(crate) fn register(registry: &mut Registry, catalogue: PlanCatalogue, zone: TimeZone) {
    let clock = registry.clock();
    registry
        // The account of a deleted tenant is not deleted but closed for ever, by the ledger.
        .tenant_tables(["omni_billing_anchors", "omni_billing_former_plans", "omni_plan_overrides"])
        .provide_from(move |ctx| {
            Ok(BillingAccounts::new(AccountParts {
                // Accounts are the app's, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                catalogue: catalogue.clone(),
                zone: zone.clone(),
                audit: ctx.get()?,
                events: ctx.get()?,
                publisher: ctx.get()?,
                resources: ctx.get()?,
            }))
        })
        .provide_from(|ctx| Ok(Entitlements::new(ctx.get::<BillingAccounts>()?)))
        .forward_to_webhooks::<PlanChanged>("plan-changed")
        .background_service("billing accounts", |ctx| {
            let accounts = ctx.get::<BillingAccounts>()?;
            Ok(move |shutdown| {
                let accounts = accounts.clone();
                async move { accounts.follow(shutdown).await }
            })
        })
        .job::<DeleteExpiredOverrides>(|ctx| ctx.get::<BillingAccounts>())
        .cron(Cron::new("41 3 * * *", DeleteExpiredOverrides {}))
        .routes(Mount::public("/billing"), routes::public(), |ctx| ctx.get::<BillingAccounts>())
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            registry
                .routes(Mount::app("/billing").without_plan_limits(), routes::app(), |ctx| ctx.get::<BillingAccounts>())
                .routes(Mount::admin("/billing"), admin::api(), |ctx| ctx.get::<BillingAccounts>());
        });
}
