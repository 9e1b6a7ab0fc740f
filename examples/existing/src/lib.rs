//! A small axum and sqlx app that was there before, and OmniStack added to it in steps:
//!
//! 1. [`before`]: the shop as it was.
//! 2. [`plain`]: parts of OmniStack in a plain axum app: jobs, events, mail, audit entries, flags, idempotency keys and a
//!    rate limit, in the transactions of the shop.
//! 3. [`shop`]: the shop inside an app of OmniStack, with webhooks for customers, and signed in by its own sessions
//!    ([`customers::Customers`]).
//! 4. [`with_accounts`]: the accounts of OmniStack in place of the shop's own.

pub mod before;
pub mod customers;
pub mod plain;
pub mod shop;

use before::Pool;
use customers::Customers;
use omnistack::{
    BoxError,
    app::AppBuilder,
    async_trait,
    auth::{
        Auth,
        password::{BcryptImporter, ScryptImporter},
    },
    clock::Clock,
    db::{Db, DbSettings},
    email::Mail,
    identity::Authenticator,
    module::{Context, Module, Registry},
    webhooks::Webhooks,
};
use shop::Shop;

// ANCHOR: database
/// Returns the shop's database as OmniStack uses it: with the pool that the shop has.
pub fn database(pool: &Pool) -> Db {
    let (settings, clock) = (DbSettings::default(), Clock::system());
    match pool {
        Pool::Postgres(pool) => Db::from_pools(pool.clone(), &settings, clock),
        Pool::Sqlite(pool) => Db::from_pools(pool.clone(), &settings, clock),
    }
}
// ANCHOR_END: database

// ANCHOR: inside
/// Adds the shop to an app: its old routes inside the middleware stack of the app, and its modules.
pub fn add_shop(builder: AppBuilder, pool: &Pool) -> AppBuilder {
    builder
        .named("Shop", env!("CARGO_PKG_VERSION"))
        .db(database(pool))
        .fallback(before::router(pool.clone()))
        .with(Mail::default())
        .with(Webhooks::from_env())
        .with(Shop::new(pool.clone()))
}
// ANCHOR_END: inside

/// Adds the shop, whose customers are signed in by the sessions of the shop.
pub fn with_own_sessions(builder: AppBuilder, pool: &Pool) -> AppBuilder {
    add_shop(builder, pool).with(OwnSessions(Customers::new(pool.clone())))
}

// ANCHOR: accounts
/// Adds the shop with accounts of OmniStack. Customers keep their passwords, which are those of Laravel or Better Auth.
pub fn with_accounts(builder: AppBuilder, pool: &Pool) -> AppBuilder {
    let auth = Auth::built_in().import_hashes(BcryptImporter::default()).import_hashes(ScryptImporter);
    add_shop(builder, pool).with(auth).with(ImportCustomers(pool.clone()))
}

/// The module that gives each customer an account when the app starts.
#[derive(Clone, Debug)]
struct ImportCustomers(Pool);

#[async_trait]
impl Module for ImportCustomers {
    fn name(&self) -> &'static str {
        "import"
    }

    fn register(&self, _: &mut Registry) {}

    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        customers::import(&ctx.get()?, &self.0).await.map(drop)
    }
}
// ANCHOR_END: accounts

// ANCHOR: own_sessions
/// The module that authenticates customers by the sessions of the shop.
#[derive(Clone, Debug)]
struct OwnSessions(Customers);

impl Module for OwnSessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn register(&self, registry: &mut Registry) {
        registry.provide(Authenticator::new(self.0.clone()));
    }
}
// ANCHOR_END: own_sessions
