//! The accounts of tenants at payment services: their credentials, sealed, and the environment that is in use.
//!
//! [`PaymentAccounts`] creates the provider of an account. Tenants store and check their credentials by the
//! [routes](routes) under `/services`; a [job](reseal) seals them again after a change of `SECRET_KEYS`. What the accounts
//! send arrives as [webhooks].

mod accounts;
pub(crate) mod cache;
mod changes;
mod last_use;
mod model;
mod reseal;
mod routes;
mod sealed;
mod store;
mod webhooks;

use std::sync::Arc;

use omnistack_core::{
    crypto::KeyRing,
    db::Db,
    identity::Authenticator,
    jobs::Cron,
    module::{Mount, Registry},
};

use crate::service::PaymentService;
use accounts::AccountParts;
pub use accounts::PaymentAccounts;
use cache::MinuteCache;
use last_use::LastUses;
pub(crate) use model::AccountKey;
use reseal::{CredentialKeys, ResealCredentials};
use webhooks::AccountWebhooks;
pub(crate) use webhooks::account_of;

/// The limit of a plan of the payment services at which a tenant has accounts.
const SERVICES_LIMIT: &str = "services";

/// Registers the accounts of tenants, and their routes if the app authenticates callers. `services` are all services
/// of the app.
pub(crate) fn register(registry: &mut Registry, services: Vec<Arc<dyn PaymentService>>) {
    let clock = registry.clock();
    for service in &services {
        if let Some(source) = service.account_source() {
            let service = Arc::clone(service);
            registry.webhook_source(source, move |ctx| Ok(AccountWebhooks { service, accounts: ctx.get()? }));
        }
    }
    registry
        .require::<KeyRing>()
        .tenant_tables(["omni_payment_credentials", "omni_payment_services"])
        .provide_from(move |ctx| {
            Ok(PaymentAccounts::new(AccountParts {
                // Credentials are in the app's database, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                keys: ctx.get()?,
                log: ctx.get()?,
                entitlements: ctx.get()?,
                services: services.clone(),
                cache: MinuteCache::default(),
                uses: LastUses::default(),
            }))
        })
        .limited_resource(SERVICES_LIMIT, |ctx| {
            let accounts = ctx.get::<PaymentAccounts>()?;
            Ok(move |tenant| {
                let accounts = accounts.clone();
                async move { Ok(accounts.count_services(tenant).await?) }
            })
        })
        .job::<ResealCredentials>(|ctx| Ok(CredentialKeys { db: ctx.get::<Db>()?.app_database(), keys: ctx.get()? }))
        .cron(Cron::new("23 4 * * *", ResealCredentials {}))
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            let services = || Mount::app("/services").permissions("payments").without_plan_limits();
            registry
                .routes(services(), routes::api(), |ctx| ctx.get::<PaymentAccounts>())
                // Requests with credentials must not be stored, and programs must not replace the accounts of a tenant.
                .routes(services().in_person().without_idempotency(), routes::changing(), |ctx| {
                    ctx.get::<PaymentAccounts>()
                });
        });
}
