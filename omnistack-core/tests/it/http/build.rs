//! Tests that a failed build reports all problems, each with a fix.

mod features;
mod migrations;
mod paths;
mod plans;
mod schemas;
mod settings;
mod wiring;

use axum::routing::{get, post};
use omnistack_core::{
    app::{App, AppBuilder, DevIdentity},
    config::Config,
    identity::AccessLevel,
    module::{Api, Mount},
};

use super::support::{InlineModule, module, routes};

fn builder(settings: &[(&str, &str)]) -> AppBuilder {
    let memory = [("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", "test")];
    App::builder(Config::from_pairs(memory.into_iter().chain(settings.iter().copied())))
}

#[track_caller]
fn refused(builder: AppBuilder, expected: &str) {
    let text = builder.build().err().map(|error| error.to_string()).unwrap_or_default();
    // The type name contains the path of the test binary.
    let text = text.replace(std::any::type_name::<Payments>(), "Payments");
    assert_eq!(text.trim_end(), expected.trim(), "\n{text}\n");
}

fn hello() -> Api {
    Api::new().hidden("/hello", get(|| async { "hello" }))
}

fn named(name: &'static str, mount: Mount, api: Api) -> InlineModule {
    module(name, move |registry| {
        registry.routes(mount.clone(), api.clone(), |_| Ok(()));
    })
}

#[tokio::test]
async fn an_app_without_problems_is_built() {
    builder(&[]).build().unwrap();
    App::builder(Config::default()).build().unwrap();
    builder(&[("APP_ENV", "production")]).build().unwrap();
}

#[tokio::test]
async fn a_guarded_route_needs_somebody_who_knows_callers() {
    for (mount, at) in [
        (Mount::app("/hello"), "/api/v1/app/hello"),
        (Mount::admin("/hello"), "/api/v1/admin/hello"),
        (Mount::machine("/hello").v2(), "/api/v2/machine/hello"),
        (Mount::root("/v1/hello", AccessLevel::Machine), "/v1/hello"),
    ] {
        let expected = format!(
            "
the app can't be built: 1 problem

  - test: mounts routes for signed-in callers at {at}, but no module authenticates callers
      fix: add a module that provides `Authenticator`: `.with(Auth::from_env())`, of the feature `auth`, or `.with(DevIdentity::default())` while developing
"
        );
        refused(builder(&[]).with(routes(mount, hello())), &expected);
    }
}

#[tokio::test]
async fn a_mount_without_users_asks_for_none_in_person() {
    let expected = "
the app can't be built: 1 problem

  - test: /api/v1/public/hello is a mount with `in_person`, which its access level `public` does not support
      fix: use `Mount::app` or `Mount::admin`, or remove `in_person`
";
    refused(builder(&[]).with(routes(Mount::public("/hello").in_person(), hello())), expected);
}

#[tokio::test]
async fn the_development_identity_is_refused_in_production() {
    for (environment, refused) in [("development", false), ("test", false), ("production", true), ("prod", true)] {
        let built = builder(&[("APP_ENV", environment), ("DEV_TOKEN", "x")]).with(DevIdentity::default()).build();
        let text = built.err().map(|error| error.to_string()).unwrap_or_default();
        let expected = "the app can't be built: 1 problem\n\n  - dev-identity: `APP_ENV` is production, and the development \
                        identity admits every caller who has its token\n      fix: replace `DevIdentity` with a module that \
                        authenticates your users, or unset `APP_ENV`";
        assert_eq!(text, if refused { expected } else { "" }, "{environment}");
    }
}

#[derive(Clone)]
struct Payments;

#[tokio::test]
async fn problems_of_all_kinds_come_together() {
    omnistack_core::settings! {
        /// Settings of billing.
        struct BillingSettings {
            /// The API key of the payment provider.
            key: omnistack_core::SecretString = "BILLING_KEY";
            /// The length of a trial in days.
            trial_days: u16 = "BILLING_TRIAL_DAYS", default "14", range "0"..="365";
        }
    }
    let billing = module("billing", |registry| {
        if let Some(settings) = registry.config::<BillingSettings>() {
            _ = (settings.key, settings.trial_days);
        }
        registry.report_problem("has no plan", "call `.plans(…)`").require::<Vec<u8>>();
    });
    let app = builder(&[("BILLING_TRIAL_DAYS", "a few"), ("HTTP_TIMEOUT", "30")]);
    refused(app.with(billing).with(routes(Mount::app(""), hello())), "
the app can't be built: 6 problems

  - core: `HTTP_TIMEOUT` (from the program): `30` is not a duration: write a number with its unit, e.g. 30s, 5m, 1h 30m, 250ms
      fix: set HTTP_TIMEOUT in the environment, .env or omnistack.toml
  - billing: `BILLING_KEY`: must be set (secret). The API key of the payment provider.
      fix: set BILLING_KEY in the environment, .env or omnistack.toml
  - billing: `BILLING_TRIAL_DAYS` (from the program): `a few` is not a number from 0 to 65535
      fix: set BILLING_TRIAL_DAYS in the environment, .env or omnistack.toml
  - billing: has no plan
      fix: call `.plans(…)`
  - test: mounts routes for signed-in callers at /api/v1/app, but no module authenticates callers
      fix: add a module that provides `Authenticator`: `.with(Auth::from_env())`, of the feature `auth`, or `.with(DevIdentity::default())` while developing
  - billing: needs `alloc::vec::Vec<u8>`, which no module provides
      fix: add the module that provides `alloc::vec::Vec<u8>`, or provide one with `registry.provide(…)`
");
}
