//! Tests of settings with which an app can't be built, most of them in production.

use omnistack_auth::Auth;
use omnistack_core::{
    app::{App, AppBuilder},
    config::Config,
};

fn builder(environment: &str) -> AppBuilder {
    App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", environment)]))
}

fn problems(app: AppBuilder) -> String {
    app.build().err().map(|problems| problems.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn production_asks_for_the_address_users_reach_it_at() {
    for (environment, auth, address, good) in [
        ("production", Auth::built_in(), None, false),
        ("production", Auth::from_env(), None, false),
        ("production", Auth::built_in(), Some("http://app.example.com"), false),
        ("production", Auth::built_in(), Some("https://"), false),
        ("production", Auth::built_in(), Some("https://app.example.com"), true),
        // Without built-in accounts there are no password-reset links and no cookies.
        ("production", Auth::hs256("https://id.example.com", "s".repeat(32)), None, true),
        ("development", Auth::built_in(), None, true),
    ] {
        let app = builder(environment).with(auth);
        let app = address.into_iter().fold(app, |app, address| app.set("PUBLIC_URL", address));
        let problems = problems(app);
        assert_eq!(!problems.contains("`PUBLIC_URL`"), good, "{environment} {address:?}: {problems}");
        assert!(good || problems.contains("PUBLIC_URL=https://app.example.com"), "{problems}");
    }
}

#[tokio::test]
async fn production_asks_for_hashes_that_cost_enough() {
    for (memory, passes, enough) in
        [("19456", "2", true), ("19456", "1", false), ("47104", "1", true), ("7168", "5", true), ("64", "9", false)]
    {
        for (environment, good) in [("production", enough), ("development", true)] {
            let app = builder(environment).set("AUTH_ARGON2_MEMORY", memory).set("AUTH_ARGON2_PASSES", passes);
            let problems = problems(app.with(Auth::built_in()));
            assert_eq!(!problems.contains("too cheap"), good, "{environment} {memory} {passes}: {problems}");
        }
    }
}

#[cfg(feature = "sms")]
#[tokio::test]
async fn codes_by_text_message_need_what_sends_them() {
    use omnistack_messaging::sms::Sms;

    let long = "Ж".repeat(60);
    for (on, sends, product, problem) in [
        ("false", false, "Acme", None),
        ("true", true, "Acme", None),
        ("true", false, "Acme", Some("`.with(Sms::default())`, or unset AUTH_SMS_CODES")),
        ("true", true, long.as_str(), Some("`SMS_MAX_SEGMENTS`")),
    ] {
        let app = builder("development").set("SMS_MAX_SEGMENTS", "2").set("AUTH_SMS_CODES", on);
        let app = app.set("EMAIL_PRODUCT", product).with(Auth::built_in());
        let problems = problems(if sends { app.with(Sms::default()) } else { app });
        match problem {
            None => assert_eq!(problems, "", "{on} {sends}"),
            Some(problem) => assert!(problems.contains(problem), "{problems}"),
        }
    }
}
