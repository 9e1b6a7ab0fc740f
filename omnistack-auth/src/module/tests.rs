//! Tests of what is printed at startup, and of what production requires.

use omnistack_core::{app::App, config::Config};

use super::*;
use crate::{
    account::{ClientInfo, SignInOutcome},
    password::Password,
    settings::AccountSettings,
};

#[tokio::test]
async fn the_password_that_is_printed_at_the_first_start_signs_in() {
    for auth in [Auth::built_in(), Auth::from_env()] {
        let (owner, config) = (auth.first_owner.clone(), Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]));
        let cheap = [("AUTH_ARGON2_MEMORY", "64"), ("AUTH_ARGON2_PASSES", "1")];
        let app = cheap.iter().fold(App::builder(config), |app, (name, value)| app.set(*name, *value));
        let app = app.with(auth).build().unwrap();
        app.migrate().await.unwrap();
        assert_eq!(owner.banner(), "");
        app.start().await.unwrap();
        let line = owner.banner();
        let (email, rest) = line.split_once(", password ").unwrap();
        let password = Password::new(rest.split(' ').next().unwrap()).unwrap();
        let accounts: Accounts = app.context().get().unwrap();
        let done = accounts.sign_in(email, &password, &ClientInfo::default()).await.unwrap();
        assert!(matches!(done, SignInOutcome::Authenticated(_)));
    }
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
        let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", environment)]);
        let app = App::builder(config).with(auth);
        let app = address.into_iter().fold(app, |app, address| app.set("PUBLIC_URL", address));
        let problems = app.build().err().map(|problems| problems.to_string()).unwrap_or_default();
        assert_eq!(!problems.contains("`PUBLIC_URL`"), good, "{environment} {address:?}: {problems}");
        assert!(good || problems.contains("PUBLIC_URL=https://app.example.com"), "{problems}");
    }
}

#[test]
fn production_asks_for_hashes_that_cost_enough() {
    for (memory, passes, enough) in
        [("19456", "2", true), ("19456", "1", false), ("47104", "1", true), ("7168", "5", true), ("64", "9", false)]
    {
        let config = Config::from_pairs([("AUTH_ARGON2_MEMORY", memory), ("AUTH_ARGON2_PASSES", passes)]);
        assert_eq!(
            config.read_settings::<AccountSettings>().unwrap().meets_owasp_minimum(),
            enough,
            "{memory} {passes}"
        );
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
        let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("SMS_MAX_SEGMENTS", "2")]);
        let app = App::builder(config).set("AUTH_SMS_CODES", on).set("EMAIL_PRODUCT", product).with(Auth::built_in());
        let app = if sends { app.with(Sms::default()) } else { app };
        let problems = app.build().err().map(|problems| problems.to_string());
        match problem {
            None => assert_eq!(problems, None, "{on} {sends}"),
            Some(problem) => assert!(problems.as_ref().is_some_and(|all| all.contains(problem)), "{problems:?}"),
        }
    }
}
