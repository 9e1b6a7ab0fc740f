//! Tests of settings that keep an app from starting.

use omnistack_core::{app::App, config::Config};
use omnistack_webhooks::Webhooks;

/// Returns the problems of an app with these settings.
fn problems(settings: &[(&str, &str)]) -> String {
    let config = [("DATABASE_URL", "sqlite::memory:")].iter().chain(settings).copied();
    let built = App::builder(Config::from_pairs(config)).with(Webhooks::from_env()).build();
    built.map_or_else(|error| error.to_string(), |_| String::new())
}

#[tokio::test]
async fn empty_secrets_keep_an_app_from_starting() {
    for setting in [
        "WEBHOOKS_STRIPE_SECRETS",
        "STRIPE_WEBHOOK_SECRET",
        "WEBHOOKS_GITHUB_SECRETS",
        "WEBHOOKS_RAZORPAY_SECRETS",
        "WEBHOOKS_CLERK_SECRETS",
        "WEBHOOKS_STANDARD_SECRETS",
        "WEBHOOKS_SUPABASE_DATABASE_SECRETS",
        "WEBHOOKS_GENERIC_SECRETS",
    ] {
        for value in [" ", ",", "a secret of some length,"] {
            assert!(problems(&[(setting, value)]).contains(setting), "{setting} {value:?}");
        }
    }
    assert!(problems(&[("WEBHOOKS_STRIPE_SECRETS", "whsec_")]).contains("any sender could sign"));
    assert!(problems(&[("STRIPE_WEBHOOK_SECRET", "whsec_")]).contains("`STRIPE_WEBHOOK_SECRET` has an empty secret"));
    assert!(problems(&[("WEBHOOKS_SUPABASE_AUTH_SECRETS", "v1,whsec_")]).contains("WEBHOOKS_SUPABASE_AUTH_SECRETS"));
}

#[tokio::test]
async fn settings_that_can_not_be_are_named() {
    let stripe = ("WEBHOOKS_STRIPE_SECRETS", "whsec_1");
    let github = ("WEBHOOKS_GITHUB_SECRETS", "secret");
    let generic = ("WEBHOOKS_GENERIC_SECRETS", "secret");
    for (settings, named) in [
        (vec![("WEBHOOKS_STRIPE_API_KEY", "rk_1")], "set WEBHOOKS_STRIPE_SECRETS"),
        (
            vec![stripe, ("WEBHOOKS_STRIPE_API_KEY", "rk_1"), ("WEBHOOKS_STRIPE_API_URL", "http://api.stripe.com")],
            "WEBHOOKS_STRIPE_API_URL",
        ),
        (vec![("WEBHOOKS_GITHUB_HOOK", "/app/hook")], "set WEBHOOKS_GITHUB_SECRETS"),
        (vec![github, ("WEBHOOKS_GITHUB_HOOK", "/orgs/acme/hooks/1")], "set WEBHOOKS_GITHUB_TOKEN"),
        (vec![github, ("WEBHOOKS_GITHUB_HOOK", "/app/hook"), ("WEBHOOKS_GITHUB_TOKEN", "t")], "WEBHOOKS_GITHUB_APP_ID"),
        (vec![github, ("WEBHOOKS_GITHUB_HOOK", "https://api.github.com/app/hook")], "WEBHOOKS_GITHUB_HOOK"),
        (vec![("WEBHOOKS_CLERK_SECRETS", "not base64!")], "WEBHOOKS_CLERK_SECRETS"),
        (vec![("WEBHOOKS_STANDARD_SECRETS", "not base64!")], "WEBHOOKS_STANDARD_RAW_SECRETS=true"),
        (vec![("WEBHOOKS_SUPABASE_DATABASE_SECRETS", "short")], "WEBHOOKS_SUPABASE_DATABASE_SECRETS"),
        (vec![generic, ("WEBHOOKS_GENERIC_NAME", "Courier/1")], "WEBHOOKS_GENERIC_NAME"),
        (vec![generic, ("WEBHOOKS_GENERIC_ALGORITHM", "md5")], "WEBHOOKS_GENERIC_ALGORITHM"),
        (vec![generic, ("WEBHOOKS_GENERIC_ENCODING", "rot13")], "WEBHOOKS_GENERIC_ENCODING"),
        (vec![generic, ("WEBHOOKS_GENERIC_PREFIX", "t=1,v1=")], "WEBHOOKS_GENERIC_PREFIX"),
        (vec![generic, ("WEBHOOKS_GENERIC_TEMPLATE", "{timestamp}.{body}")], "WEBHOOKS_GENERIC_TEMPLATE"),
        (vec![generic, ("WEBHOOKS_GENERIC_NAME", "stripe"), stripe], "webhook source `stripe`"),
    ] {
        let problems = problems(&settings);
        assert!(problems.contains(named), "{settings:?}: {problems}");
        assert!(!problems.contains("not base64!"), "{problems}");
    }
}

#[tokio::test]
async fn settings_of_paypal_that_can_not_be_are_named() {
    let id = ("WEBHOOKS_PAYPAL_WEBHOOK_ID", "1JE4291016473214C");
    assert!(problems(&[("WEBHOOKS_PAYPAL_WEBHOOK_ID", "a|b")]).contains("WEBHOOKS_PAYPAL_WEBHOOK_ID"));
    for file in ["/no/such/file.pem", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
        let problems = problems(&[id, ("WEBHOOKS_PAYPAL_AUTHORITIES", file)]);
        assert!(problems.contains("WEBHOOKS_PAYPAL_AUTHORITIES"), "{problems}");
    }
}
