//! Tests of the settings that choose the provider.

use omnistack_core::{
    app::App,
    config::Config,
    email::{Email, EmailErrorKind, Mailer, MemoryProvider},
};
use omnistack_messaging::email::Mail;

fn provider(pairs: &[(&str, &str)], sends: bool) -> Result<Mailer, String> {
    let pairs = pairs.iter().copied().chain([("DATABASE_URL", "sqlite::memory:"), ("LOG_FORMAT", "")]);
    let app = App::builder(Config::from_pairs(pairs));
    let app = if sends { app.with(Mail::default()) } else { app };
    let app = app.build().map_err(|error| error.to_string())?;
    app.context().get::<Mailer>().map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_provider_is_the_one_of_the_settings() {
    for (pairs, name) in [
        (&[][..], "console"),
        (&[("EMAIL_PROVIDER", "console"), ("EMAIL_FROM", "Shop <shop@example.com>")], "console"),
        (&[("EMAIL_PROVIDER", "smtp"), ("SMTP_URL", "smtp://127.0.0.1:1025")], "smtp"),
        (&[("EMAIL_PROVIDER", "resend"), ("RESEND_API_KEY", "re_a")], "resend"),
        (&[("EMAIL_PROVIDER", "sendgrid"), ("SENDGRID_API_KEY", "SG.a")], "sendgrid"),
        (
            &[
                ("EMAIL_PROVIDER", "resend"),
                ("RESEND_API_KEY", "re_a"),
                ("EMAIL_FALLBACK", "smtp"),
                ("SMTP_URL", "smtps://mail.example.com"),
            ],
            "failover",
        ),
    ] {
        assert_eq!(provider(pairs, true).unwrap().provider().name(), name, "{pairs:?}");
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let production = ("APP_ENV", "production");
    for (pairs, says) in [
        (&[production][..], &["EMAIL_PROVIDER", "EMAIL_FROM"][..]),
        (&[production, ("EMAIL_PROVIDER", "smtp"), ("EMAIL_FROM", "a@example.com")], &["`SMTP_URL` is not set"]),
        (&[("EMAIL_PROVIDER", "pigeon")], &["console, smtp, resend or sendgrid"]),
        (&[("EMAIL_FROM", "nobody")], &["EMAIL_FROM", "is not a mail address"]),
        (&[("EMAIL_PROVIDER", "smtp"), ("SMTP_URL", "mail.example.com")], &["`SMTP_URL`", "expected smtps://"]),
        (&[("EMAIL_PROVIDER", "resend")], &["`RESEND_API_KEY` is not set"]),
        (
            &[("EMAIL_PROVIDER", "resend"), ("RESEND_API_KEY", "re_a"), ("RESEND_URL", "http://example.com")],
            &["`RESEND_URL`", "https"],
        ),
        (&[("EMAIL_PROVIDER", "sendgrid")], &["`SENDGRID_API_KEY` is not set"]),
        (
            &[("EMAIL_PROVIDER", "resend"), ("RESEND_API_KEY", "re_a"), ("EMAIL_FALLBACK", "resend")],
            &["`EMAIL_FALLBACK`"],
        ),
    ] {
        let error = provider(pairs, true).unwrap_err();
        for part in says {
            assert!(error.contains(part), "{pairs:?}: {error}");
        }
    }
}

#[tokio::test]
async fn in_production_no_mail_is_lost_without_a_word() {
    let mailer = provider(&[("APP_ENV", "production")], false).unwrap();
    let email = Email::to("ada@example.com").from("shop@example.com").subject("Hello").text("Hello.");
    assert_eq!(mailer.send(&email).await.unwrap_err().kind(), EmailErrorKind::Configuration);
    // In development mails are written to the log, and no sender address is required.
    let mailer = provider(&[], false).unwrap();
    mailer.send(&Email::to("ada@example.com").subject("Hello").text("Hello.")).await.unwrap();
}

#[tokio::test]
async fn a_test_brings_its_own() {
    let memory = MemoryProvider::default();
    let app = App::builder(Config::from_pairs([("APP_ENV", "production"), ("DATABASE_URL", "sqlite::memory:")]))
        .with(Mail::default())
        .replace(Mailer::new(memory.clone()).default_sender("shop@example.com".parse().unwrap()))
        .build()
        .unwrap();
    let email = Email::to("ada@example.com").subject("Hello").text("Hello.");
    app.context().get::<Mailer>().unwrap().send(&email).await.unwrap();
    assert_eq!(memory.sent().len(), 1);
}
