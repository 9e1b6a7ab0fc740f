//! Tests of notifications of Google Play.
#![cfg(test)]

use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, HeaderValue};
use omnistack_core::{
    app::App,
    config::Config,
    crypto::HmacKey,
    webhook::{DataEnvironment, SourceEvent},
};
use omnistack_testkit::{
    TestApp, TestDatabase,
    mock_server::{ClosedPort, MockResponse, MockServer},
    on_each_database,
};
use omnistack_webhooks::Webhooks;
use serde_json::{Value, json};

use crate::store_events::{self, RecordedEvents, process, start, with};

const PATH: &str = "/api/v1/public/webhooks/google-play";
/// The time of the test clock, 2030-01-01, in seconds since 1970.
const NOW: i64 = 1_893_456_000;
const ACCOUNT: &str = "push@project.iam.gserviceaccount.com";
const AUDIENCE: &str = "https://app.example.com/api/v1/public/webhooks/google-play";
const MINUTE: Duration = Duration::from_secs(60);

/// A key of Google, generated for the test.
struct GoogleKey(KeyPair);

impl GoogleKey {
    fn new() -> Self {
        Self(KeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn jwk(&self, kid: &str) -> Value {
        let public = self.0.public_key();
        let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        json!({ "kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": e })
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        self.token_with(&json!({ "alg": "RS256", "kid": kid, "typ": "JWT" }), claims)
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn key_set(keys: &[Value]) -> MockResponse {
    MockResponse::json(200, json!({ "keys": keys }).to_string())
}

/// Starts a server with these keys, which are fresh for an hour.
async fn google(keys: &[Value]) -> MockServer {
    let upstream = MockServer::start().await;
    let reply = key_set(keys).header("cache-control", "public, max-age=3600, must-revalidate");
    upstream.expect("GET", "/certs").times(..).reply(reply);
    upstream
}

/// Starts an app of the package `com.example` with the keys at a URL.
async fn app(upstream: &str, recorded: RecordedEvents) -> TestApp {
    on_database(TestDatabase::sqlite(), upstream, recorded).await
}

async fn on_database(database: TestDatabase, upstream: &str, recorded: RecordedEvents) -> TestApp {
    let keys = format!("{upstream}/certs");
    let settings = [
        ("PUBLIC_URL", "https://app.example.com"),
        ("WEBHOOKS_GOOGLE_PACKAGE", "com.example"),
        ("WEBHOOKS_GOOGLE_SERVICE_ACCOUNT", ACCOUNT),
        ("WEBHOOKS_GOOGLE_KEYS_URL", keys.as_str()),
    ];
    start(database, &settings, recorded).await
}

fn claims() -> Value {
    json!({
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "azp": "11377426446303", "sub": "11377426446303",
        "email": ACCOUNT, "email_verified": true, "iat": NOW - 5, "exp": NOW + 3600,
    })
}

/// Returns claims that are valid at the current time of the clock.
fn claims_now(app: &TestApp) -> Value {
    let now = app.clock().clock().now().as_seconds();
    with(claims(), json!({ "iat": now, "exp": now + 3600 }))
}

fn renewed() -> Value {
    json!({
        "version": "1.0", "packageName": "com.example", "eventTimeMillis": (NOW * 1000).to_string(),
        "subscriptionNotification": { "version": "1.0", "notificationType": 2, "purchaseToken": "secret" },
    })
}

fn push(id: &str, notification: &Value) -> Vec<u8> {
    let data = STANDARD.encode(notification.to_string());
    let message = json!({ "attributes": {}, "data": data, "messageId": id, "message_id": id });
    json!({ "message": message, "subscription": "projects/project/subscriptions/play" }).to_string().into_bytes()
}

async fn verify_body(app: &TestApp, authorization: &str, body: &[u8]) -> Result<SourceEvent, String> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(authorization).unwrap());
    store_events::verify(app, "google-play", &headers, body).await
}

async fn verify(app: &TestApp, token: &str) -> Result<SourceEvent, String> {
    verify_body(app, &format!("Bearer {token}"), &push("1", &renewed())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_verified_and_described() {
    let key = GoogleKey::new();
    let upstream = google(&[key.jwk("k")]).await;
    let app = app(upstream.url(), RecordedEvents::default()).await;
    let event = verify(&app, &key.token("k", &claims())).await.unwrap();
    assert_eq!((event.id.as_str(), event.kind.as_str()), ("1", "subscription.renewed"));
    assert_eq!(event.environment, DataEnvironment::Live);
    assert_eq!(event.occurred_at, Some(app.clock().clock().now()));
    assert_eq!(event.object.as_deref(), Some("2bb80d537b1da3e38bd30361aa855686"), "SHA-256 of the token");

    let test = json!({ "version": "1.0", "packageName": "com.example", "testNotification": { "version": "1.0" } });
    let bearer = format!("bearer {}", key.token("k", &claims()));
    let event = verify_body(&app, &bearer, &push("2", &test)).await.unwrap();
    assert_eq!((event.kind.as_str(), event.environment), ("test", DataEnvironment::Test));
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_must_be_those_of_the_push_subscription() {
    let key = GoogleKey::new();
    let upstream = google(&[key.jwk("k")]).await;
    let app = app(upstream.url(), RecordedEvents::default()).await;
    let lacks = "the token lacks a claim of Pub/Sub's tokens";
    for (changes, reason) in [
        (json!({}), None),
        (json!({ "iss": "accounts.google.com" }), None),
        (json!({ "iss": "https://accounts.google.com/" }), Some("the token is not Google's")),
        (json!({ "iss": "https://accounts.google.com.evil.example" }), Some("the token is not Google's")),
        (json!({ "iss": null }), Some(lacks)),
        (json!({ "aud": "https://app.example.com" }), Some("the token is for another audience")),
        (json!({ "aud": format!("{AUDIENCE}?a=b") }), Some("the token is for another audience")),
        (json!({ "aud": [AUDIENCE] }), Some(lacks)),
        (json!({ "aud": null }), Some(lacks)),
        (json!({ "email": "other@project.iam.gserviceaccount.com" }), Some("the token is of another service account")),
        (json!({ "email": null }), Some(lacks)),
        (json!({ "email_verified": false }), Some("the address of the service account is not verified")),
        (json!({ "email_verified": "true" }), Some(lacks)),
        (json!({ "email_verified": null }), Some(lacks)),
        (json!({ "exp": NOW - 61 }), Some("the token has expired")),
        (json!({ "exp": NOW - 59 }), None),
        (json!({ "exp": i64::MIN }), Some("the token has expired")),
        (json!({ "exp": i64::MAX }), None),
        (json!({ "exp": null }), Some(lacks)),
        (json!({ "iat": NOW + 59 }), None),
        (json!({ "iat": NOW + 61 }), Some("the token is not valid yet")),
        (json!({ "iat": null }), Some(lacks)),
    ] {
        let verified = verify(&app, &key.token("k", &with(claims(), changes.clone()))).await;
        assert_eq!(verified.err().as_deref(), reason, "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_can_be_set() {
    let key = GoogleKey::new();
    let upstream = google(&[key.jwk("k")]).await;
    let keys = format!("{}/certs", upstream.url());
    let settings = [
        ("WEBHOOKS_GOOGLE_PACKAGE", "com.example"),
        ("WEBHOOKS_GOOGLE_SERVICE_ACCOUNT", ACCOUNT),
        ("WEBHOOKS_GOOGLE_AUDIENCE", "my-app"),
        ("WEBHOOKS_GOOGLE_KEYS_URL", keys.as_str()),
    ];
    let app = start(TestDatabase::sqlite(), &settings, RecordedEvents::default()).await;
    verify(&app, &key.token("k", &with(claims(), json!({ "aud": "my-app" })))).await.unwrap();
    assert!(verify(&app, &key.token("k", &claims())).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_are_rejected() {
    let (key, other) = (GoogleKey::new(), GoogleKey::new());
    let upstream = google(&[key.jwk("k"), other.jwk("other")]).await;
    let app = app(upstream.url(), RecordedEvents::default()).await;
    let genuine = key.token("k", &claims());
    verify(&app, &genuine).await.unwrap();

    let parts: Vec<&str> = genuine.split('.').collect();
    let header = |alg: &str| json!({ "alg": alg, "kid": "k" });
    // The public key as the secret of an HMAC, which a verifier that trusts the header would accept.
    let confused = {
        let message = message(&header("HS256"), &claims());
        let secret = key.jwk("k")["n"].as_str().unwrap().to_owned();
        format!("{message}.{}", HmacKey::new(secret).unwrap().sign(&message).to_base64_url())
    };
    let another = "the header of the signature names another algorithm";
    let tampered = URL_SAFE_NO_PAD.encode(with(claims(), json!({ "sub": "1" })).to_string());
    for (what, token, reason) in [
        ("another payload", format!("{}.{tampered}.{}", parts[0], parts[2]), "no signature matches"),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), "no signature matches"),
        ("another key", other.token("k", &claims()), "no signature matches"),
        ("the id of another key", key.token("other", &claims()), "no signature matches"),
        ("an unknown key", key.token("unknown", &claims()), "the token names no key of Google"),
        (
            "no key",
            key.token_with(&json!({ "alg": "RS256" }), &claims()),
            "the header of the signature does not identify its key",
        ),
        ("no algorithm", key.token_with(&header("none"), &claims()), another),
        ("HS256", confused, another),
        ("RS512", key.token_with(&header("RS512"), &claims()), another),
        ("no token", "token".to_owned(), "the signature is not a JWS in compact form"),
    ] {
        assert_eq!(verify(&app, &token).await, Err(reason.to_owned()), "{what}");
    }
    let missing = Err("the header Authorization has no bearer token".to_owned());
    for authorization in ["", "Bearer", "Basic dXNlcjpwYXNz", &genuine] {
        assert_eq!(verify_body(&app, authorization, &push("1", &renewed())).await, missing, "{authorization}");
    }
    assert_eq!(store_events::verify(&app, "google-play", &HeaderMap::new(), &push("1", &renewed())).await, missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_must_be_of_the_package() {
    let key = GoogleKey::new();
    let upstream = google(&[key.jwk("k")]).await;
    let app = app(upstream.url(), RecordedEvents::default()).await;
    let bearer = format!("Bearer {}", key.token("k", &claims()));
    for (package, is_ours) in [
        (json!("com.example"), true),
        (json!("com.example.other"), false),
        (json!(["com.example"]), false),
        (json!(null), false),
    ] {
        let body = push("1", &with(renewed(), json!({ "packageName": package })));
        let verified = verify_body(&app, &bearer, &body).await;
        let expected = if is_ours { None } else { Some("sent for another package") };
        assert_eq!(verified.err().as_deref(), expected, "{package}");
    }
    for body in ["", "{}", r#"{"message":{"messageId":"1","data":"%"}}"#] {
        let error = verify_body(&app, &bearer, body.as_bytes()).await.unwrap_err();
        assert!(error.starts_with("the webhook is signed, but its body"), "{body}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_fetches_next_to_nothing() {
    let key = GoogleKey::new();
    let upstream = google(&[key.jwk("k")]).await;
    let app = app(upstream.url(), RecordedEvents::default()).await;
    verify(&app, &key.token("k", &claims())).await.unwrap();
    // For ten minutes. Tokens that are invalid anyway fetch nothing.
    for minute in 0..10 {
        for flood in 0..10 {
            verify(&app, &key.token(&format!("{minute}-{flood}"), &claims())).await.unwrap_err();
            verify(&app, &key.token("unknown", &with(claims(), json!({ "aud": "other" })))).await.unwrap_err();
        }
        app.clock().advance(MINUTE);
    }
    assert_eq!(upstream.requests().len(), 2, "one at the start, and one after five minutes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found() {
    let (old, new) = (GoogleKey::new(), GoogleKey::new());
    let upstream = MockServer::start().await;
    upstream.expect("GET", "/certs").reply(key_set(&[old.jwk("old")]));
    upstream.expect("GET", "/certs").times(..).reply(key_set(&[new.jwk("new")]));
    let app = app(upstream.url(), RecordedEvents::default()).await;
    verify(&app, &old.token("old", &claims())).await.unwrap();
    assert!(verify(&app, &new.token("new", &claims())).await.is_err(), "within five minutes");
    app.clock().advance(5 * MINUTE);
    verify(&app, &new.token("new", &claims())).await.unwrap();
    assert!(verify(&app, &old.token("old", &claims())).await.is_err(), "an old key is forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_once_for_all() {
    let key = GoogleKey::new();
    let upstream = MockServer::start().await;
    upstream.expect("GET", "/certs").times(..).reply(key_set(&[key.jwk("k")]).delay(Duration::from_millis(100)));
    let app = app(upstream.url(), RecordedEvents::default()).await;
    let token = key.token("k", &claims());
    let all = (0..20).map(|_| verify(&app, &token));
    for verified in futures_util::future::join_all(all).await {
        verified.unwrap();
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outlast_an_outage_of_a_day() {
    let key = GoogleKey::new();
    for bad in [
        MockResponse::status(500),
        MockResponse::status(302).header("location", "/elsewhere"),
        MockResponse::text(200, "<html>maintenance</html>"),
        MockResponse::json(200, r#"{"keys":[]}"#),
        MockResponse::json(200, "x".repeat(300 * 1024)),
        MockResponse::json(200, json!({ "keys": vec![key.jwk("k"); 101] }).to_string()),
        MockResponse::reset(),
    ] {
        let what = format!("{bad:?}").chars().take(120).collect::<String>();
        let upstream = MockServer::start().await;
        upstream.expect("GET", "/certs").reply(key_set(&[key.jwk("k")]));
        upstream.expect("GET", "/certs").times(..).reply(bad);
        let app = app(upstream.url(), RecordedEvents::default()).await;
        verify(&app, &key.token("k", &claims())).await.unwrap();
        for hour in 1..24 {
            app.clock().advance(60 * MINUTE);
            let verified = verify(&app, &key.token("k", &claims_now(&app))).await;
            assert!(verified.is_ok(), "{what} after {hour} hours: {verified:?}");
        }
        app.clock().advance(60 * MINUTE);
        let error = verify(&app, &key.token("k", &claims_now(&app))).await.unwrap_err();
        assert_eq!(error, "the webhook could not be verified", "{what}");
    }
}

on_each_database! {
    async fn a_message_is_processed_once(database: TestDatabase) {
        let (key, recorded) = (GoogleKey::new(), RecordedEvents::default());
        let upstream = google(&[key.jwk("k")]).await;
        let app = on_database(database, upstream.url(), recorded.clone()).await;
        let post = |token: &str, id: &str| {
            let request = app.anonymous().post(PATH, ()).body(push(id, &renewed()));
            request.header("authorization", format!("Bearer {token}"))
        };
        // Pub/Sub uses a token for several messages.
        let token = key.token("k", &claims());
        post(&token, "1").await.expect(200);
        post(&token, "2").await.expect(200);
        assert_eq!(post(&key.token("k", &claims()), "1").await.expect(200).json()["status"], "duplicate");
        process(&app).await;
        let mut ids: Vec<String> = recorded.all().into_iter().map(|event| event.id).collect();
        ids.sort();
        assert_eq!(ids, ["1", "2"]);

        let forged = GoogleKey::new().token("k", &claims());
        post(&forged, "3").await.expect_error(400, "WEBHOOK_SIGNATURE_INVALID");
        process(&app).await;
        assert_eq!(recorded.all().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_pub_sub_is_asked_to_repeat() {
    let (key, down) = (GoogleKey::new(), ClosedPort::reserve());
    let app = app(&down.url(), RecordedEvents::default()).await;
    let request = app.anonymous().post(PATH, ()).body(push("1", &renewed()));
    let request = request.header("authorization", format!("Bearer {}", key.token("k", &claims())));
    request.await.expect_error(503, "WEBHOOK_UNVERIFIABLE");
}

#[tokio::test]
async fn settings_are_checked() {
    let package = ("WEBHOOKS_GOOGLE_PACKAGE", "com.example");
    let account = ("WEBHOOKS_GOOGLE_SERVICE_ACCOUNT", ACCOUNT);
    for (settings, problem) in [
        (vec![package], Some("`WEBHOOKS_GOOGLE_PACKAGE` is set without `WEBHOOKS_GOOGLE_SERVICE_ACCOUNT`")),
        (vec![package, account], None),
        (
            vec![package, account, ("WEBHOOKS_GOOGLE_KEYS_URL", "http://keys.example.com")],
            Some("`WEBHOOKS_GOOGLE_KEYS_URL` is invalid"),
        ),
    ] {
        let all = [("APP_ENV", "test"), ("DATABASE_URL", "sqlite::memory:")].into_iter().chain(settings.clone());
        let built = App::builder(Config::from_pairs(all)).with(Webhooks::from_env()).build();
        let report = built.err().map(|error| error.to_string()).unwrap_or_default();
        match problem {
            Some(problem) => assert!(report.contains(problem), "{settings:?}: {report}"),
            None => assert!(!report.contains("WEBHOOKS_GOOGLE"), "{settings:?}: {report}"),
        }
    }
}
