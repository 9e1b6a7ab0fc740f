//! Wallets: credits that a tenant has paid for or was given, and that the app uses.
//!
//! A wallet has grants of credits, each with a priority and a time at which it expires. [`Wallets`] adds grants, uses
//! credits in the caller's transaction, and takes back what was refunded. Each change has a key, and happens once for
//! each key. The statement has a line for each change.
//!
//! All changes of a wallet lock its row first and its grants in the order of their ids afterwards, so they happen one
//! after another.

mod admin;
mod credit_source;
mod credits;
mod entries;
mod events;
mod grants;
mod handle;
mod jobs;
mod model;
mod routes;
mod rules;
mod store;
mod top_up;
mod uses;

use std::sync::Arc;

use omnistack_core::{
    credits::CreditAccounts,
    db::Db,
    identity::Authenticator,
    jobs::Cron,
    module::{Mount, Registry},
};

pub use credits::{Credits, InvalidCredits};
pub use events::{WalletLow, WalletTopUpDeclined};
pub use handle::Wallets;
pub use model::{
    CreditPart, CreditReturn, CreditUse, GrantOutcome, NewGrant, UseCredits, WalletBalance, WalletEntry, WalletEntryId,
    WalletEntryKind, WalletGrant, WalletGrantId,
};
pub use top_up::{TopUp, TopUpOutcome, TopUpRequest};

use handle::WalletParts;
use jobs::ExpireGrants;
use top_up::TopUpWallet;

/// Registers the wallets, their jobs, events and routes. `top_up` charges tenants for automatic top-ups, if the app has
/// them. The routes exist if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry, top_up: Option<Arc<dyn TopUp>>) {
    let clock = registry.clock();
    registry
        .tenant_tables(["omni_wallet_entries", "omni_wallet_grants", "omni_wallets"])
        .provide_from(move |ctx| {
            Ok(Wallets::new(WalletParts {
                // Credits are the app's, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                events: ctx.get()?,
                jobs: ctx.get()?,
                log: ctx.get()?,
                top_up: top_up.clone(),
            }))
        })
        .provide_from(|ctx| Ok(CreditAccounts::new(ctx.get::<Wallets>()?)))
        .forward_to_webhooks::<WalletLow>("wallet-low")
        .forward_to_webhooks::<WalletTopUpDeclined>("wallet-top-up-declined")
        .job::<TopUpWallet>(|ctx| ctx.get::<Wallets>())
        .job::<ExpireGrants>(|ctx| ctx.get::<Wallets>())
        .cron(Cron::new("*/5 * * * *", ExpireGrants {}))
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            let wallet = Mount::app("/billing/wallet").without_plan_limits();
            registry.routes(wallet, routes::api(), |ctx| ctx.get::<Wallets>()).routes(
                Mount::admin("/billing/wallets"),
                admin::api(),
                |ctx| ctx.get::<Wallets>(),
            );
        });
}
