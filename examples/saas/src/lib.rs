//! A complete SaaS backend with all modules of OmniStack.

pub mod channels;
pub mod live;
pub mod plans;
pub mod projects;
pub mod reports;
pub mod seeds;

use live::Live;
use omnistack::{
    ai::Ai, app::AppBuilder, auth::Auth, billing::Billing, config::Config, contact::Contact, email::Mail,
    flags::FeatureFlags, observability::Observability, payments::Payments, realtime::Realtime, sms::Sms,
    storage::Files, webhooks::Webhooks,
};
use projects::Projects;
use reports::Reports;
use seeds::ExampleData;

/// The settings that have another default in this app: who sells, and what the app invoices at the end of a billing
/// period. That is the usage, because a payment provider bills the plan.
const DEFAULTS: [(&str, &str); 2] = [("BILLING_SELLER_NAME", "Acme"), ("BILLING_INVOICES", "usage")];

/// Adds the app's defaults to settings that are not set.
#[must_use]
pub fn with_defaults(mut config: Config) -> Config {
    for (name, value) in DEFAULTS {
        if config.get(name).is_none() {
            config = config.with(name, value);
        }
    }
    config
}

/// Adds the app's modules to the builder. `main` and the tests call it.
pub fn app(builder: AppBuilder) -> AppBuilder {
    builder
        .named("Acme", env!("CARGO_PKG_VERSION"))
        .with(Observability::from_env())
        .with(Auth::from_env())
        .with(Billing::from_env().plans(plans::plans()).meter(plans::runs()).usage_price(plans::run_price()))
        .with(Payments::from_env())
        .with(Mail::default())
        .with(Files::from_env())
        .with(FeatureFlags::default())
        .with(Contact::default())
        .with(Sms::default())
        .with(Webhooks::from_env())
        .with(Realtime::from_env().channels(channels::channels()))
        .with(Ai::from_env())
        .with(Projects)
        .with(Reports::to("team@acme.example"))
        .with(ExampleData)
        .with(Live)
}
