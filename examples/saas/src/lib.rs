//! A complete SaaS backend with all modules of OmniStack.

pub mod channels;
pub mod live;
pub mod plans;
pub mod projects;

use live::Live;
use omnistack::{
    app::AppBuilder, auth::Auth, billing::Billing, contact::Contact, email::Mail, flags::FeatureFlags,
    observability::Observability, payments::Payments, realtime::Realtime, sms::Sms, storage::Files, webhooks::Webhooks,
};
use projects::Projects;

/// Adds the app's modules to the builder. `main` and the tests call it.
pub fn app(builder: AppBuilder) -> AppBuilder {
    builder
        .named("Acme", env!("CARGO_PKG_VERSION"))
        .with(Observability::from_env())
        .with(Auth::from_env())
        .with(Billing::from_env().plans(plans::plans()).meter(plans::runs()))
        .with(Payments::from_env())
        .with(Mail::default())
        .with(Files::from_env())
        .with(FeatureFlags::default())
        .with(Contact::default())
        .with(Sms::default())
        .with(Webhooks::from_env())
        .with(Realtime::from_env().channels(channels::channels()))
        .with(Projects)
        .with(Live)
}
