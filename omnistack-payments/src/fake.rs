//! The built-in fake provider, with which an app sells without an account at a company: in development, in tests, and
//! for tenants that try the app.
//!
//! It behaves as a provider of real money does. Its cards are named by tokens such as `tok_ok` and `tok_declined`; its
//! pages take payments; its subscriptions renew by the app's clock; its events arrive as webhooks. The state is in the
//! app's database, so that all replicas share it and a restart loses nothing. A price is any id of the form
//! `PLAN:MINOR_UNITS:CURRENCY:INTERVAL`, such as `pro:2900:USD:month`, and a coupon any code of the form
//! `NAME:PERCENT`.
//!
//! Each change, its event and the jobs that follow commit in one transaction. A transaction of an account holds a lock
//! of the account.

mod account;
mod bank;
mod card;
mod charge;
mod checkout;
mod delivery;
mod due;
mod invoices;
mod objects;
mod pages;
mod payments;
mod price;
mod provider;
mod service;
mod subscriptions;
mod timing;

use std::sync::Mutex;

use omnistack_core::{
    db::Db,
    identity::AccessLevel,
    jobs::Jobs,
    module::{Mount, Registry},
    webhook::StandardSecret,
};

pub use bank::{FakeBank, FakeFault};
pub use provider::FakeProvider;
pub use service::FakeService;

use bank::BankInner;
use delivery::{AdvanceFakePayments, DeliverFakeEvent, FakeDelivery, FakeSource};

/// The name of the service and of its source of webhooks.
pub(crate) const NAME: &str = "fake";

/// The path of the pages.
const PAGES: &str = "/fake-payments";

omnistack_core::settings! {
    /// The built-in fake of payments.
    pub(crate) struct FakePaymentSettings {
        /// Whether the fake sends each event twice and out of order, as providers may.
        pub(crate) chaos: bool = "FAKE_PAYMENTS_CHAOS", default "false";
    }
}

/// Registers the fake: its state as [`FakeBank`], its jobs, its pages, and a source of webhooks for each name. `names`
/// are the services that exist: [`NAME`], and those of [`FakeService::named`]. Returns `None` after a problem was reported.
pub(crate) fn register(registry: &mut Registry, names: &[&'static str]) -> Option<FakeBank> {
    let settings = registry.config::<FakePaymentSettings>()?;
    // A generated secret has the form of one.
    let secret = StandardSecret::try_from(&StandardSecret::generate()).ok()?;
    let bank = FakeBank::new(BankInner {
        // The fake stands for another company, also if each tenant has a database.
        db: registry.provided::<Db>()?.app_database(),
        clock: registry.clock(),
        jobs: registry.provided::<Jobs>()?,
        public_url: registry.public_url(),
        secret,
        chaos: settings.chaos,
        faults: Mutex::default(),
    });
    registry
        .provide(bank.clone())
        .job::<AdvanceFakePayments>(|ctx| ctx.get::<FakeBank>())
        .job::<DeliverFakeEvent>(|ctx| Ok(FakeDelivery { bank: ctx.get()?, inbox: ctx.get()? }))
        .routes(Mount::root(PAGES, AccessLevel::Public).without_idempotency(), pages::routes(), |ctx| {
            ctx.get::<FakeBank>()
        });
    for name in names.iter().copied() {
        registry.webhook_source(name, |ctx| Ok(FakeSource { secret: ctx.get::<FakeBank>()?.inner().secret.clone() }));
    }
    Some(bank)
}
