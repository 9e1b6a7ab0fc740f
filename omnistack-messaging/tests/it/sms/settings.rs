//! Tests of the settings that choose the provider.

use omnistack_core::{app::App, config::Config};
use omnistack_messaging::{
    email::Mail,
    sms::{Sms, SmsOutbox, SmsSender},
};
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::json;

use super::message;

fn build(pairs: &[(&str, &str)]) -> Result<App, String> {
    let config = [("DATABASE_URL", "sqlite::memory:")].iter().chain(pairs).copied();
    App::builder(Config::from_pairs(config)).with(Sms::default()).build().map_err(|error| error.to_string())
}

#[tokio::test]
async fn settings_that_can_not_be_are_named() {
    let twilio = [
        ("SMS_PROVIDER", "twilio"),
        ("TWILIO_ACCOUNT_SID", "AC123"),
        ("TWILIO_AUTH_TOKEN", "12345"),
        ("SMS_FROM", "+15005550001"),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        let kept = twilio.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
        let all: Vec<_> = kept.chain(more).filter(|(_, value)| !value.is_empty()).copied().collect();
        build(&all)
    };
    let app = with(&[]).unwrap();
    assert_eq!(app.context().get::<SmsSender>().unwrap().provider().name(), "twilio");
    for good in [
        [("SMS_FROM", "Shop 24"), ("SMS_MAX_SEGMENTS", "10")],
        [("SMS_FROM", ""), ("TWILIO_MESSAGING_SERVICE_SID", "MG1")],
        [("TWILIO_API_KEY", "SK1"), ("TWILIO_API_SECRET", "secret")],
    ] {
        with(&good).unwrap();
    }
    for (wrong, said) in [
        (("SMS_PROVIDER", "pigeon"), "SMS_PROVIDER"),
        (("TWILIO_ACCOUNT_SID", ""), "TWILIO_ACCOUNT_SID"),
        (("TWILIO_AUTH_TOKEN", ""), "TWILIO_AUTH_TOKEN"),
        (("TWILIO_API_KEY", "SK1"), "TWILIO_API_SECRET"),
        (("SMS_FROM", ""), "SMS_FROM"),
        (("SMS_FROM", "0170 1234567"), "SMS_FROM"),
        (("SMS_FROM", "A name too long"), "SMS_FROM"),
        (("TWILIO_URL", "http://api.twilio.com"), "TWILIO_URL"),
        (("TWILIO_WEBHOOK_URL", "http://app.example.com/hook"), "TWILIO_WEBHOOK_URL"),
        (("SMS_MAX_SEGMENTS", "0"), "SMS_MAX_SEGMENTS"),
        (("SMS_MAX_SEGMENTS", "11"), "SMS_MAX_SEGMENTS"),
    ] {
        let refused = with(&[wrong]).unwrap_err();
        assert!(refused.contains(said) && !refused.contains("12345"), "{wrong:?}: {refused}");
    }
    let production = [("APP_ENV", "production")];
    assert!(build(&production).unwrap_err().contains("SMS_PROVIDER"));
}

#[tokio::test]
async fn developers_see_messages_beside_mails() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Sms::default()).with(Mail::default())).await;
    let outbox: SmsOutbox = app.app().context().get().unwrap();
    outbox.send(&message("Your code is <b>123456</b>")).await.unwrap();
    app.run_jobs().await;
    let shown = app.anonymous().get("/dev/sms.json").await.expect(200).json();
    assert_eq!(
        shown,
        json!([{ "at": "2030-01-01T00:00:00Z", "to": "+15005550006", "text": "Your code is <b>123456</b>" }])
    );
    let page = app.anonymous().get("/dev/mailbox").await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(page.contains("+15005550006") && page.contains("&lt;b&gt;123456"), "{page}");
}
