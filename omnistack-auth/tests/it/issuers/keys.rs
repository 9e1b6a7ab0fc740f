//! Tests of the issuer's keys: rotation, floods of unknown keys, and failures.

use std::time::Duration;

use omnistack_auth::{Auth, issuer::Issuer};
use omnistack_testkit::{
    TestApp, TestDatabase,
    mock_server::{ClosedPort, MockResponse, MockServer},
};
use serde_json::json;

use super::{TestKeyPair, claims, fetches, issuer, key_set, me, serve_configuration, start, with};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

async fn app(upstream: &MockServer) -> TestApp {
    start(TestDatabase::sqlite(), Auth::jwks(upstream.url())).await
}

/// Returns a token that is valid at the current time of the clock.
fn token(app: &TestApp, pair: &TestKeyPair, kid: &str, upstream: &MockServer) -> String {
    let now = app.clock().clock().now().as_seconds();
    pair.token(kid, &with(claims(upstream.url()), json!({ "iat": now, "exp": now + 300 })))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_once_for_all() {
    let pair = TestKeyPair::ec();
    let upstream = MockServer::start().await;
    serve_configuration(&upstream);
    upstream.expect("GET", "/keys").times(..).reply(key_set(&[pair.jwk("k")]).delay(Duration::from_millis(100)));
    let app = app(&upstream).await;
    let tokens: Vec<_> = (0..50).map(|_| token(&app, &pair, "k", &upstream)).collect();
    let answers: Vec<_> =
        tokens.iter().map(|token| app.client_with_token(token).get(super::ME)).map(IntoFuture::into_future).collect();
    for answer in futures_util::future::join_all(answers).await {
        answer.expect(200);
    }
    assert_eq!(fetches(&upstream), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_fetches_next_to_nothing() {
    let (pair, other) = (TestKeyPair::ec(), TestKeyPair::ec());
    let upstream = issuer(&[pair.jwk("k")]).await;
    let app = app(&upstream).await;
    me(&app, &token(&app, &pair, "k", &upstream)).await.expect(200);
    // For ten minutes.
    for second in 0..600 {
        for flood in 0..2 {
            me(&app, &token(&app, &other, &format!("k{second}-{flood}"), &upstream)).await.expect(401);
        }
        app.clock().advance(Duration::from_secs(1));
    }
    assert!(fetches(&upstream) <= 1 + 600 / 30, "{}", fetches(&upstream));

    // Requests for the same unknown key id fetch the keys at most every two minutes.
    app.clock().advance(MINUTE);
    let before = fetches(&upstream);
    for _ in 0..60 {
        me(&app, &token(&app, &other, "the same", &upstream)).await.expect(401);
        app.clock().advance(Duration::from_secs(10));
    }
    assert!(fetches(&upstream) - before <= 5, "{}", fetches(&upstream) - before);
    me(&app, &token(&app, &pair, "k", &upstream)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found_and_an_old_one_forgotten() {
    let (old, new) = (TestKeyPair::rsa(), TestKeyPair::ed());
    let upstream = MockServer::start().await;
    serve_configuration(&upstream);
    upstream.expect("GET", "/keys").reply(key_set(&[old.jwk("old")]));
    upstream.expect("GET", "/keys").reply(key_set(&[old.jwk("old"), new.jwk("new")]));
    upstream.expect("GET", "/keys").times(..).reply(key_set(&[new.jwk("new")]));
    let app = app(&upstream).await;
    me(&app, &token(&app, &old, "old", &upstream)).await.expect(200);
    me(&app, &token(&app, &new, "new", &upstream)).await.expect(401);
    assert_eq!(fetches(&upstream), 1, "within 30 seconds");
    app.clock().advance(Duration::from_secs(30));
    me(&app, &token(&app, &new, "new", &upstream)).await.expect(200);
    me(&app, &token(&app, &old, "old", &upstream)).await.expect(200);

    // After ten minutes the keys are fetched in the background, while the request uses the old ones.
    app.clock().advance(10 * MINUTE);
    me(&app, &token(&app, &old, "old", &upstream)).await.expect(200);
    upstream.wait_for_requests(6).await;
    for _ in 0..1000 {
        if me(&app, &token(&app, &old, "old", &upstream)).await.status == 401 {
            me(&app, &token(&app, &new, "new", &upstream)).await.expect(200);
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the old key is good for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_signs_nobody_out() {
    let pair = TestKeyPair::ec();
    for bad in [
        MockResponse::status(500),
        MockResponse::status(302).header("location", "/elsewhere"),
        MockResponse::text(200, "<html>maintenance</html>"),
        MockResponse::json(200, "{\"keys\":1}"),
        MockResponse::json(200, "x".repeat(300 * 1024)),
        MockResponse::json(200, json!({ "keys": vec![pair.jwk("k"); 101] }).to_string()),
        MockResponse::reset(),
        MockResponse::json(200, "{\"keys\":[]}").cut_after(4),
    ] {
        let what = format!("{bad:?}").chars().take(120).collect::<String>();
        let upstream = MockServer::start().await;
        serve_configuration(&upstream);
        upstream.expect("GET", "/keys").reply(key_set(&[pair.jwk("k")]));
        upstream.expect("GET", "/keys").times(..).reply(bad);
        let app = app(&upstream).await;
        me(&app, &token(&app, &pair, "k", &upstream)).await.expect(200);
        for hour in 1..24 {
            app.clock().advance(HOUR);
            let answer = me(&app, &token(&app, &pair, "k", &upstream)).await;
            assert_eq!(answer.status, 200, "{what} after {hour} hours");
        }
        // After a day, the old keys are no longer used.
        app.clock().advance(HOUR);
        let refused = me(&app, &token(&app, &pair, "k", &upstream)).await;
        assert_eq!(refused.status, 503, "{what}");
        refused.expect_error(503, "IDENTITY_PROVIDER_UNAVAILABLE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_from_the_start_is_asked_again() {
    let pair = TestKeyPair::ec();
    let upstream = MockServer::start().await;
    serve_configuration(&upstream);
    upstream.expect("GET", "/keys").reply(MockResponse::status(503));
    upstream.expect("GET", "/keys").times(..).reply(key_set(&[pair.jwk("k")]));
    let app = app(&upstream).await;
    for _ in 0..20 {
        me(&app, &token(&app, &pair, "k", &upstream)).await.expect(503);
    }
    assert_eq!(fetches(&upstream), 1);
    app.clock().advance(Duration::from_secs(5));
    me(&app, &token(&app, &pair, "k", &upstream)).await.expect(200);

    let down = ClosedPort::reserve();
    let app = start(TestDatabase::sqlite(), Auth::jwks(down.url())).await;
    me(&app, &pair.token("k", &claims(&down.url()))).await.expect(503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_speaks_for_its_own_issuer_only() {
    let pair = TestKeyPair::ec();
    for configuration in [
        json!({ "issuer": "https://other.example.com", "jwks_uri": "KEYS" }),
        json!({ "issuer": "ISSUER/", "jwks_uri": "KEYS" }),
        json!({ "issuer": "ISSUER", "jwks_uri": "file:///etc/passwd" }),
        json!({ "issuer": "ISSUER", "jwks_uri": "http://192.0.2.1/keys" }),
        json!({ "issuer": "ISSUER" }),
        json!([]),
    ] {
        let upstream = MockServer::start().await;
        let text = configuration.to_string().replace("ISSUER", upstream.url());
        let text = text.replace("KEYS", &format!("{}/keys", upstream.url()));
        upstream.expect("GET", "/.well-known/openid-configuration").times(..).reply(MockResponse::json(200, text));
        let app = app(&upstream).await;
        let answer = me(&app, &token(&app, &pair, "k", &upstream)).await;
        assert_eq!(answer.status, 503, "{configuration}");
        assert_eq!(fetches(&upstream), 0, "{configuration}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_good_for_what_it_says() {
    let (rsa, ec, ed) = (TestKeyPair::rsa(), TestKeyPair::ec(), TestKeyPair::ed());
    let small = json!({ "n": rsa.jwk("k")["n"].as_str().unwrap()[..100] });
    for (what, pair, changes) in [
        ("for encryption", &rsa, json!({ "use": "enc" })),
        ("for wrapping", &rsa, json!({ "key_ops": ["wrapKey"] })),
        ("for RS512", &rsa, json!({ "alg": "RS512" })),
        ("for PS256", &rsa, json!({ "alg": "PS256" })),
        ("too small", &rsa, small),
        ("of another curve", &ec, json!({ "crv": "P-384" })),
        ("of an unknown type", &ed, json!({ "kty": "XYZ" })),
        ("a point that is none", &ec, json!({ "y": ec.jwk("k")["x"] })),
        ("private", &ec, json!({ "d": "c2VjcmV0" })),
        ("shared", &ec, json!({ "kty": "oct", "k": "c2VjcmV0" })),
    ] {
        // Invalid keys don't affect a valid key in the same set.
        let upstream = issuer(&[with(pair.jwk("k"), changes), json!("no key"), ed.jwk("good")]).await;
        let app = app(&upstream).await;
        let answer = me(&app, &token(&app, pair, "k", &upstream)).await;
        assert_eq!(answer.status, 401, "{what}");
        me(&app, &token(&app, &ed, "good", &upstream)).await.expect(200);
    }
    // With two keys of one algorithm, a token without a key id is rejected.
    let other = TestKeyPair::ec();
    let upstream = issuer(&[ec.jwk("one"), other.jwk("two")]).await;
    let app = app(&upstream).await;
    let claims = claims(upstream.url()).to_string();
    me(&app, &ec.raw(r#"{"alg":"ES256"}"#, &claims)).await.expect(401);
    me(&app, &ec.raw(r#"{"alg":"ES256","kid":"one"}"#, &claims)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_where_one_says() {
    let pair = TestKeyPair::ec();
    let upstream = MockServer::start().await;
    upstream.expect("GET", "/elsewhere").reply(key_set(&[pair.jwk("k")]));
    let trusted = Issuer::jwks("urn:example:issuer").keys_at(format!("{}/elsewhere", upstream.url()));
    let app = start(TestDatabase::sqlite(), Auth::built_in().issuer(trusted)).await;
    me(&app, &pair.token("k", &claims("urn:example:issuer"))).await.expect(200);
}
