//! Tests of the contact webhook: each message is posted with a signature until it is accepted.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    app::App,
    config::Config,
    crypto::{HmacKey, KeyRing},
    jobs::{JobFilter, JobInfo},
};
use omnistack_messaging::{contact::Contact, email::Mail};
use omnistack_testkit::{
    TestApp, TestDatabase,
    mock_server::{MockResponse, MockServer, ReceivedRequest},
    on_each_database,
};
use serde_json::Value;

use super::{app, kept, send, valid_message};

const SECRET: &[u8; 32] = b"a secret of this test, 32 bytes!";

fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(SECRET))
}

/// Verifies the signature as a receiver does, by the specification of Standard Webhooks.
fn is_signed(request: &ReceivedRequest) -> bool {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let text = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), request.text());
    let signature = HmacKey::new(SECRET).unwrap().sign(text).to_base64();
    header("webhook-signature") == format!("v1,{signature}")
}

async fn posting(database: TestDatabase, upstream: &MockServer) -> TestApp {
    let url = format!("{}/hooks/contact?token=7", upstream.url());
    app(database, |app| {
        app.set("CONTACT_WEBHOOK_URL", url)
            .set("CONTACT_WEBHOOK_SECRET", secret())
            .set("CONTACT_WEBHOOK_TIMEOUT", "1s")
            .set("CONTACT_SEND_CONFIRMATION", "false")
    })
    .await
}

/// Starts an app in production that posts messages to `url`, and sends a message.
async fn posting_in_production(database: TestDatabase, url: String, networks: &str) -> TestApp {
    let app = app(database, |app| {
        app.set("APP_ENV", "production")
            .set("PUBLIC_URL", "https://app.example.com")
            .set("SECRET_KEYS", KeyRing::new_key("test"))
            .set("EMAIL_PROVIDER", "smtp")
            .set("EMAIL_FROM", "shop@example.com")
            .set("SMTP_URL", "smtps://user:password@mail.example.com")
            .set("CONTACT_WEBHOOK_URL", url)
            .set("CONTACT_WEBHOOK_SECRET", secret())
            .set("HTTP_CLIENT_ALLOWED_NETWORKS", networks)
    })
    .await;
    let body = valid_message(&app).await;
    send(&app, body).await.expect(202);
    app.run_jobs().await;
    app
}

async fn webhook_job(app: &TestApp) -> JobInfo {
    let jobs = app.jobs().list(&JobFilter::default(), None, 10).await.unwrap();
    jobs.into_iter().find(|job| job.name == "contact.send_webhook").unwrap()
}

on_each_database! {
    async fn in_production_an_allowed_network_gets_the_messages(database: TestDatabase) {
        let upstream = MockServer::start().await;
        upstream.expect("POST", "/hook").matching("a signature", is_signed).reply(MockResponse::status(204));
        let url = format!("{}/hook", upstream.url());
        let app = posting_in_production(database, url, "10.1.0.0/16,127.0.0.1/32").await;
        assert!(webhook_job(&app).await.finished_at.is_some());
    }

    async fn a_message_is_posted_until_it_is_taken(database: TestDatabase) {
        let upstream = MockServer::start().await;
        let path = "/hooks/contact?token=7";
        upstream.expect("POST", path).reply(MockResponse::status(503));
        upstream.expect("POST", path).reply(MockResponse::status(302).header("location", "/elsewhere"));
        upstream.expect("POST", path).reply(MockResponse::hang());
        upstream.expect("POST", path).reply(MockResponse::status(429).header("retry-after", "7"));
        upstream.expect("POST", path).matching("a signature", is_signed).reply(MockResponse::status(204));
        let app = posting(database, &upstream).await;
        let body = valid_message(&app).await;
        send(&app, body).await.expect(202);
        app.run_jobs().await;
        for (wait, heard) in [(7, 2), (400, 3), (2200, 4), (7, 5), (100_000, 5)] {
            app.clock().advance(Duration::from_secs(wait));
            app.run_jobs().await;
            assert_eq!(upstream.requests().len(), heard, "after {wait} s more");
        }
        let requests = upstream.requests();
        assert!(requests.iter().all(is_signed));
        assert!(requests.iter().all(|request| request.header("webhook-id") == requests[0].header("webhook-id")));
        assert_ne!(requests[0].header("webhook-timestamp"), requests[4].header("webhook-timestamp"));
        let told: Value = serde_json::from_slice(&requests[4].body).unwrap();
        assert_eq!((&told["type"], &told["data"]), (&"contact.message".into(), &kept(&app).await[0]));
    }

    async fn a_receiver_that_is_gone_is_left_alone(database: TestDatabase) {
        let upstream = MockServer::start().await;
        upstream.expect_any().reply(MockResponse::status(410));
        let app = posting(database, &upstream).await;
        let body = valid_message(&app).await;
        send(&app, body).await.expect(202);
        app.run_jobs().await;
        app.clock().advance(Duration::from_secs(1_000_000));
        app.run_jobs().await;
        assert!(webhook_job(&app).await.finished_at.is_some());
    }
}

#[tokio::test]
async fn in_production_no_message_is_posted_to_a_private_address() {
    // Nothing is expected, so a request fails the test.
    let upstream = MockServer::start().await;
    let port = upstream.address().port();
    for url in [
        format!("http://localhost:{port}/hook?token=7"),
        format!("http://127.0.0.1:{port}/hook?token=7"),
        format!("https://[::ffff:127.0.0.1]:{port}/hook?token=7"),
        "https://10.0.0.1/hook?token=7".into(),
        "https://169.254.169.254/hook?token=7".into(),
    ] {
        let app = posting_in_production(TestDatabase::sqlite(), url.clone(), "10.1.0.0/16").await;
        let job = webhook_job(&app).await;
        assert_eq!((job.attempt, job.finished_at), (1, None), "{url}");
        let error = job.error.unwrap();
        assert!(error.starts_with("`CONTACT_WEBHOOK_URL` leads to no public address"), "{url}: {error}");
        assert!(error.contains("HTTP_CLIENT_ALLOWED_NETWORKS") && !error.contains("token"), "{url}: {error}");
    }
    upstream.verify();
}

#[tokio::test]
async fn settings_that_can_not_be_are_named() {
    for (url, secret, said) in [
        ("http://example.com/hook", secret(), "CONTACT_WEBHOOK_URL"),
        ("https://user:password@example.com/hook", secret(), "CONTACT_WEBHOOK_URL"),
        ("nowhere", secret(), "CONTACT_WEBHOOK_URL"),
        ("https://example.com/hook", "whsec_c2hvcnQ=".into(), "CONTACT_WEBHOOK_SECRET"),
        ("https://example.com/hook", "no secret".into(), "CONTACT_WEBHOOK_SECRET"),
    ] {
        let config = Config::from_pairs([
            ("DATABASE_URL", "sqlite::memory:"),
            ("EMAIL_FROM", "shop@example.com"),
            ("CONTACT_WEBHOOK_URL", url),
            ("CONTACT_WEBHOOK_SECRET", &secret),
        ]);
        let app = App::builder(config).with(Mail::default()).with(Contact::default().without_admin_routes());
        let refused = app.build().unwrap_err().to_string();
        assert!(refused.contains(said), "{url}: {refused}");
        assert!(!refused.contains("password") && !refused.contains("c2hvcnQ"), "{refused}");
    }
}
