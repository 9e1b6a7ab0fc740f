//! Tests of the app's own accounts at payment services.

#![cfg(test)]

use omnistack_core::{app::App, config::Config, data_environment::DataEnvironment, payment::PaymentProviders};
use omnistack_payments::Payments;

fn build(settings: &[(&str, &str)]) -> Result<App, String> {
    let base = [("DATABASE_URL", "sqlite::memory:")];
    let config = Config::from_pairs(base.iter().chain(settings).copied());
    App::builder(config).with(Payments::from_env()).build().map_err(|error| error.to_string())
}

fn providers(settings: &[(&str, &str)]) -> PaymentProviders {
    build(settings).unwrap().context().get().unwrap()
}

#[tokio::test]
async fn the_fake_is_the_account_of_an_app_without_settings() {
    let providers = providers(&[]);
    let default = providers.default_provider().unwrap();
    assert_eq!((default.name(), default.environment()), ("fake", DataEnvironment::Test));
}

#[tokio::test]
async fn production_uses_the_fake_only_if_it_is_named() {
    let problems = build(&[("APP_ENV", "production")]).unwrap_err();
    assert!(problems.contains("PAYMENTS_PROVIDER=fake"), "{problems}");
    // Other settings of production are missing here.
    let problems = build(&[("APP_ENV", "production"), ("PAYMENTS_PROVIDER", "fake")]).err().unwrap_or_default();
    assert!(!problems.contains("PAYMENTS_PROVIDER"), "{problems}");
}

#[tokio::test]
async fn a_name_without_an_account_is_reported_with_the_known_names() {
    let problems = build(&[("PAYMENTS_PROVIDER", "strype")]).unwrap_err();
    assert!(problems.contains("`strype`") && problems.contains("fake"), "{problems}");
}

#[cfg(feature = "stripe")]
#[tokio::test]
async fn credentials_in_the_settings_replace_the_fake() {
    let live = providers(&[("STRIPE_API_KEY", "sk_live_1234567890abcdef")]);
    let default = live.default_provider().unwrap();
    assert_eq!((default.name(), default.environment()), ("stripe", DataEnvironment::Live));
    let test = providers(&[("STRIPE_API_KEY", "sk_test_1234567890abcdef")]);
    assert_eq!(test.get("stripe").unwrap().environment(), DataEnvironment::Test);
    let named = providers(&[("STRIPE_API_KEY", "sk_test_1234567890abcdef"), ("PAYMENTS_PROVIDER", "fake")]);
    assert_eq!(named.default_provider().unwrap().name(), "fake");
}

#[cfg(feature = "paypal")]
#[tokio::test]
async fn a_part_of_the_credentials_is_reported() {
    let problems = build(&[("PAYPAL_CLIENT_ID", "client")]).unwrap_err();
    assert!(problems.contains("PAYPAL_CLIENT_SECRET"), "{problems}");
}
