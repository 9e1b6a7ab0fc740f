//! Tests of providers that are unavailable, slow or send invalid responses.

use std::time::Duration;

use omnistack_testkit::mock_server::ClosedPort;

use super::{sign_in::github, *};

const CONFIGURATION: &str = "/.well-known/openid-configuration";

fn provider(url: &str) -> Auth {
    Auth::built_in().sign_in_with(Provider::oidc("acme", url, CLIENT, SECRET))
}

async fn begin(app: &TestApp) -> TestResponse {
    app.anonymous().get(format!("{OAUTH}/acme/start")).await
}

#[tokio::test]
async fn a_provider_that_is_away_is_asked_again_later() {
    let closed = ClosedPort::reserve();
    let app = start(TestDatabase::sqlite(), provider(&closed.url())).await;
    begin(&app).await.expect_error(503, "IDENTITY_PROVIDER_UNAVAILABLE");

    let upstream = MockServer::start().await;
    upstream.expect("GET", CONFIGURATION).reply(MockResponse::status(500));
    let url = upstream.url();
    let app = start(TestDatabase::sqlite(), provider(url)).await;
    // A failed fetch is not repeated for some seconds, whatever the number of sign-ins.
    for _ in 0..5 {
        begin(&app).await.expect_error(503, "IDENTITY_PROVIDER_UNAVAILABLE");
    }
    let configuration = json!({
        "issuer": url, "authorization_endpoint": format!("{url}/a"), "token_endpoint": format!("{url}/t"),
        "jwks_uri": format!("{url}/k"),
    });
    upstream.expect("GET", CONFIGURATION).reply(MockResponse::json(200, configuration.to_string()));
    app.clock().advance(Duration::from_secs(5));
    for _ in 0..5 {
        begin(&app).await.expect(302);
    }
    // The configuration is cached for a day while the provider is unavailable.
    upstream.expect("GET", CONFIGURATION).times(..).reply(MockResponse::reset());
    app.clock().advance(Duration::from_secs(23 * 60 * 60));
    begin(&app).await.expect(302);
    app.clock().advance(Duration::from_secs(60 * 60));
    begin(&app).await.expect_error(503, "IDENTITY_PROVIDER_UNAVAILABLE");
}

#[tokio::test]
async fn a_configuration_that_can_not_be_believed_is_not() {
    for (what, changes) in [
        ("another issuer", json!({ "issuer": "https://evil.example" })),
        ("no endpoint", json!({ "token_endpoint": null })),
        ("without TLS", json!({ "token_endpoint": "http://id.example.com/token" })),
        ("with a script", json!({ "authorization_endpoint": "javascript:alert(1)" })),
        ("with credentials", json!({ "jwks_uri": "https://user:password@id.example.com/keys" })),
    ] {
        let acme = MockOidcProvider::start_with(changes).await;
        let app = start(TestDatabase::sqlite(), acme.auth()).await;
        let answer = begin(&app).await;
        assert_eq!(answer.status.as_u16(), 503, "{what}: {}", answer.text());
    }
    for reply in [
        MockResponse::json(200, "{}"),
        MockResponse::text(200, "<html>"),
        MockResponse::text(200, "x".repeat(300 * 1024)),
        MockResponse::status(302).header("location", "https://evil.example/"),
        MockResponse::raw("nonsense\r\n\r\n"),
        MockResponse::json(200, "{\"issuer\"").cut_after(4),
    ] {
        let upstream = MockServer::start().await;
        upstream.expect("GET", CONFIGURATION).times(..).reply(reply);
        let app = start(TestDatabase::sqlite(), provider(upstream.url())).await;
        begin(&app).await.expect_error(503, "IDENTITY_PROVIDER_UNAVAILABLE");
    }
}

#[tokio::test]
async fn a_provider_that_never_answers_is_given_up() {
    let upstream = MockServer::start().await;
    upstream.expect("GET", CONFIGURATION).times(..).reply(MockResponse::hang());
    let app = start(TestDatabase::sqlite(), provider(upstream.url())).await;
    // Only this call waits.
    tokio::time::pause();
    let answer = begin(&app).await;
    tokio::time::resume();
    answer.expect_error(503, "IDENTITY_PROVIDER_UNAVAILABLE");
}

#[tokio::test]
async fn an_exchange_that_fails_signs_nobody_in() {
    for (reply, status, code) in [
        (MockResponse::status(500), 503, "IDENTITY_PROVIDER_UNAVAILABLE"),
        (MockResponse::status(429), 503, "IDENTITY_PROVIDER_UNAVAILABLE"),
        (MockResponse::reset(), 503, "IDENTITY_PROVIDER_UNAVAILABLE"),
        (MockResponse::text(200, "x".repeat(300 * 1024)), 503, "IDENTITY_PROVIDER_UNAVAILABLE"),
        (MockResponse::json(400, r#"{"error":"invalid_grant"}"#), 400, "CODE_REFUSED"),
        (MockResponse::json(401, r#"{"error":"invalid_client"}"#), 502, "IDENTITY_PROVIDER_REFUSED"),
        (MockResponse::json(400, r#"{"error":"who knows"}"#), 502, "IDENTITY_PROVIDER_RESPONSE_INVALID"),
        (MockResponse::json(200, r#"{"access_token":"a"}"#), 502, "IDENTITY_PROVIDER_RESPONSE_INVALID"),
        (MockResponse::json(200, "[]"), 502, "IDENTITY_PROVIDER_RESPONSE_INVALID"),
        (MockResponse::text(200, "access_token=a&id_token=b"), 502, "IDENTITY_PROVIDER_RESPONSE_INVALID"),
        (
            MockResponse::status(302).header("location", "https://evil.example/"),
            502,
            "IDENTITY_PROVIDER_RESPONSE_INVALID",
        ),
    ] {
        let upstream = MockServer::start().await;
        let url = upstream.url();
        let configuration = json!({
            "issuer": url, "authorization_endpoint": format!("{url}/a"), "token_endpoint": format!("{url}/t"),
            "jwks_uri": format!("{url}/k"),
        });
        upstream.expect("GET", CONFIGURATION).reply(MockResponse::json(200, configuration.to_string()));
        // A code is not sent twice.
        upstream.expect("POST", "/t").reply(reply);
        let app = start(TestDatabase::sqlite(), provider(url)).await;
        let away = start_flow(&app, "acme").await;
        let answer = away.callback(&app, "code=c").await.expect_error(status, code);
        assert!(jar(&answer).is_empty() && clears_flow_cookie(&answer));
        away.callback(&app, "code=c").await.expect_error(400, "SIGN_IN_STATE_LOST");
    }
}

#[tokio::test]
async fn what_a_provider_says_in_place_of_a_code_is_told_as_ours() {
    let acme = MockOidcProvider::start().await;
    let app = start(TestDatabase::sqlite(), acme.auth()).await;
    for (error, status, code) in [
        ("access_denied", 403, "SIGN_IN_CANCELLED"),
        ("login_required", 403, "SIGN_IN_CANCELLED"),
        ("temporarily_unavailable", 503, "IDENTITY_PROVIDER_UNAVAILABLE"),
        ("server_error", 503, "IDENTITY_PROVIDER_UNAVAILABLE"),
        ("unauthorized_client", 502, "IDENTITY_PROVIDER_REFUSED"),
        ("%0D%0Ax%3Cscript%3E", 502, "IDENTITY_PROVIDER_REFUSED"),
    ] {
        let answer = start_flow(&app, "acme")
            .await
            .callback(&app, &format!("error={error}&error_description=%3Cscript%3E"))
            .await;
        let answer = answer.expect_error(status, code);
        assert!(!answer.text().contains("script"), "{error}");
    }
    start_flow(&app, "acme").await.callback(&app, "").await.expect_error(400, "SIGN_IN_STATE_LOST");
    start_flow(&app, "acme").await.callback(&app, "code=").await.expect_error(400, "SIGN_IN_STATE_LOST");
}

#[tokio::test]
async fn a_github_that_is_not_itself_signs_nobody_in() {
    for emails in [json!({ "message": "Not Found" }), json!("nobody"), json!([{ "email": 7 }])] {
        let (_upstream, provider) = github(emails).await;
        let app = start(TestDatabase::sqlite(), Auth::built_in().sign_in_with(provider)).await;
        let back = start_flow(&app, "github").await.callback(&app, "code=c").await;
        back.expect_error(502, "IDENTITY_PROVIDER_RESPONSE_INVALID");
        assert_eq!(count(&app, "select count(*) from omni_users").await, 0);
    }
}
