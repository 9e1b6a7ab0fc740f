//! Tests of the specifics of each provider, and of invalid settings.

use omnistack_auth::{Auth, issuer::Issuer};
use omnistack_core::{
    app::App,
    config::Config,
    http::Json,
    identity::{Identity, Require},
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::{TestApp, TestDatabase, mock_server::MockServer};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::{NOW, TestKeyPair, claims, key_set, me, shared, with};

/// A module with a route that returns the caller's authentication details.
struct AuthenticationDetails;

impl Module for AuthenticationDetails {
    fn name(&self) -> &'static str {
        "proofs"
    }

    fn register(&self, registry: &mut Registry) {
        let recent = Require::fresh_sign_in(std::time::Duration::from_secs(300));
        let api = Api::new()
            .routes(routes!(proof))
            .require(recent, routes!(recent_only))
            .require(Require::default().second_factor(), routes!(factor_only));
        registry.routes(Mount::app("/proof"), api, |_| Ok(()));
    }
}

#[utoipa::path(get, path = "/", responses((status = 200, body = String)))]
async fn proof(caller: Identity) -> Json<Option<(i64, bool)>> {
    assert_eq!(caller.session, None);
    Json(caller.authentication.map(|proof| (proof.authenticated_at.as_seconds(), proof.second_factor)))
}

#[utoipa::path(get, path = "/recent", responses((status = 200, body = String)))]
async fn recent_only() -> Json<()> {
    Json(())
}

#[utoipa::path(get, path = "/factor", responses((status = 200, body = String)))]
async fn factor_only() -> Json<()> {
    Json(())
}

async fn start(auth: Auth) -> TestApp {
    TestApp::start_with_auth(TestDatabase::sqlite(), |app| app.with(auth).with(AuthenticationDetails)).await
}

/// Starts an issuer whose keys are at this path.
async fn issuer_at(path: &str, pair: &TestKeyPair) -> MockServer {
    let upstream = MockServer::start().await;
    upstream.expect("GET", path).times(..).reply(key_set(&[pair.jwk("k")]));
    upstream
}

async fn expect(app: &TestApp, pair: &TestKeyPair, good: &Value, rows: &[(Value, u16)]) {
    for (changes, status) in rows {
        let answer = me(app, &pair.token("k", &with(good.clone(), changes.clone()))).await;
        assert_eq!(answer.status.as_u16(), *status, "{changes}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clerk() {
    let pair = TestKeyPair::rsa();
    let upstream = issuer_at("/.well-known/jwks.json", &pair).await;
    let app = start(Auth::clerk(format!("{}/", upstream.url()), ["https://app.example.com"])).await;
    let good = with(
        claims(upstream.url()),
        json!({
            "aud": null, "azp": "https://app.example.com", "nbf": NOW - 10, "sid": "sess_1", "sts": "active", "v": 2,
            "fva": [7, -1],
        }),
    );
    expect(
        &app,
        &pair,
        &good,
        &[
            (json!({}), 200),
            (json!({ "azp": null }), 401),
            (json!({ "azp": "https://evil.example.com" }), 401),
            (json!({ "azp": "https://app.example.com/" }), 401),
            // From a token template for another service.
            (json!({ "aud": "hasura" }), 401),
            (json!({ "sts": "pending" }), 401),
            (json!({ "act": { "sub": "user_support" } }), 401),
        ],
    )
    .await;
    for (fva, expected) in [
        (json!([7, -1]), json!([NOW - 5 - 7 * 60, false])),
        (json!([0, 3]), json!([NOW - 5, true])),
        (json!([-1, -1]), json!(null)),
        (json!("fresh"), json!(null)),
    ] {
        let token = pair.token("k", &with(good.clone(), json!({ "fva": fva })));
        assert_eq!(app.client_with_token(token).get("/api/v1/app/proof").await.expect(200).json(), expected, "{fva}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn supabase() {
    let pair = TestKeyPair::ec();
    let upstream = issuer_at("/auth/v1/.well-known/jwks.json", &pair).await;
    let app = start(Auth::supabase(upstream.url())).await;
    let good = with(
        claims(&format!("{}/auth/v1", upstream.url())),
        json!({
            "aud": "authenticated", "role": "authenticated", "aal": "aal1", "session_id": "s", "is_anonymous": false,
            "amr": [{ "method": "password", "timestamp": NOW - 1000 }, { "method": "totp", "timestamp": NOW - 900 }],
            "user_metadata": { "full_name": "Ada Lovelace", "avatar_url": "https://pictures.example.com/ada.png",
                "email_verified": true },
            "email": "ada@example.com",
        }),
    );
    expect(
        &app,
        &pair,
        &good,
        &[
            (json!({ "role": "service_role" }), 401),
            (json!({ "role": "anon" }), 401),
            (json!({ "role": null }), 401),
            (json!({ "aud": "anon" }), 401),
            (json!({ "aud": null }), 401),
        ],
    )
    .await;
    let me = me(&app, &pair.token("k", &good)).await.expect(200).json();
    assert_eq!(me["name"], "Ada Lovelace");
    assert_eq!(me["picture"], "https://pictures.example.com/ada.png");
    assert_eq!(me["email"], json!(null), "users write their metadata themselves, so it verifies nothing");
    for (aal, second) in [("aal1", false), ("aal2", true)] {
        let token = pair.token("k", &with(good.clone(), json!({ "aal": aal })));
        let proof = app.client_with_token(token).get("/api/v1/app/proof").await.expect(200).json();
        assert_eq!(proof, json!([NOW - 900, second]));
    }

    // A project that still has a shared secret.
    let secret = "the legacy secret of a project of supabase";
    let app = start(Auth::built_in().issuer(Issuer::supabase(upstream.url()).secret(secret))).await;
    super::me(&app, &shared(secret, &json!({ "alg": "HS256", "typ": "JWT" }), &good)).await.expect(200);
    super::me(&app, &pair.token("k", &good)).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn auth0() {
    let pair = TestKeyPair::rsa();
    let upstream = issuer_at("/.well-known/jwks.json", &pair).await;
    let app = start(Auth::auth0(upstream.url(), "https://api.example.com")).await;
    // The issuer ends with a slash.
    let good = with(
        claims(&format!("{}/", upstream.url())),
        json!({
            "aud": ["https://api.example.com", "https://example.eu.auth0.com/userinfo"], "azp": "client", "scope": "openid",
        }),
    );
    expect(
        &app,
        &pair,
        &good,
        &[
            (json!({}), 200),
            (json!({ "iss": upstream.url() }), 401),
            // The audience of an ID token is the client.
            (json!({ "aud": "client" }), 401),
            (json!({ "nonce": "n" }), 401),
            (json!({ "gty": "client-credentials", "sub": "client@clients" }), 401),
        ],
    )
    .await;
    for (more, recent, factor) in [
        // The issue time of a token does not show when its user signed in.
        (json!({}), 401, 401),
        (json!({ "auth_time": NOW - 400 }), 401, 401),
        (json!({ "auth_time": NOW - 200 }), 200, 401),
        (json!({ "auth_time": NOW - 200, "amr": ["pwd", "mfa"] }), 200, 200),
        (json!({ "auth_time": NOW + 100_000, "amr": ["otp"] }), 200, 401),
        (json!({ "acr": "http://schemas.openid.net/pape/policies/2007/06/multi-factor" }), 401, 200),
        (json!({ "auth_time": "now", "amr": "mfa", "acr": 2 }), 401, 401),
    ] {
        let client = app.client_with_token(pair.token("k", &with(good.clone(), more.clone())));
        assert_eq!(client.get("/api/v1/app/proof/recent").await.status.as_u16(), recent, "{more}");
        assert_eq!(client.get("/api/v1/app/proof/factor").await.status.as_u16(), factor, "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keycloak() {
    let pair = TestKeyPair::ed();
    let upstream = issuer_at("/realms/acme/protocol/openid-connect/certs", &pair).await;
    let realm = format!("{}/realms/acme", upstream.url());
    let app = start(Auth::keycloak(format!("{realm}/"), "web")).await;
    let good = with(claims(&realm), json!({ "aud": "account", "azp": "web", "typ": "Bearer", "nonce": "n" }));
    expect(
        &app,
        &pair,
        &good,
        &[
            (json!({}), 200),
            (json!({ "aud": null }), 200),
            (json!({ "typ": "ID" }), 401),
            (json!({ "typ": "Refresh" }), 401),
            (json!({ "preferred_username": "service-account-web", "client_id": "web" }), 401),
            (json!({ "typ": null }), 401),
            (json!({ "azp": "mobile" }), 401),
            (json!({ "azp": null }), 401),
        ],
    )
    .await;
    let strict = Issuer::keycloak(realm, "web").authorized_parties(["mobile"]).audience("api");
    let app = start(Auth::built_in().issuer(strict)).await;
    expect(&app, &pair, &good, &[(json!({}), 401), (json!({ "aud": ["account", "api"], "azp": "mobile" }), 200)]).await;
}

#[tokio::test]
async fn what_can_not_be_trusted_is_a_problem_of_the_build() {
    let problems = |auth: Auth, settings: &[(&str, &str)]| {
        let settings = settings.iter().copied().chain([("DATABASE_URL", "sqlite::memory:")]);
        App::builder(Config::from_pairs(settings)).with(auth).build().err().map(|error| error.to_string())
    };
    let secret = "a secret that is shared, of more than 32 bytes";
    let nobody: [&str; 0] = [];
    for (auth, expected) in [
        (Auth::jwks("http://id.example.com"), "https"),
        (Auth::jwks("id.example.com"), "not a URL"),
        (Auth::jwks("https://user:password@id.example.com"), "credentials"),
        (Auth::jwks(""), "name is empty"),
        (Auth::jwks("http://127.0.0.1:8080"), "the app itself"),
        (Auth::hs256("https://id.example.com", "short"), "less than 32 bytes"),
        (Auth::clerk("https://clerk.example.com", nobody), "origins"),
        (Auth::jwks("https://id.example.com").issuer(Issuer::hs256("https://id.example.com", secret)), "twice"),
        (Auth::built_in().issuer(Issuer::supabase("https://x.supabase.co").webhook_secret("secret")), "webhook secret"),
        (
            Auth::built_in().issuer(
                Issuer::jwks("https://id.example.com").webhook_secret("whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"),
            ),
            "sends no webhooks",
        ),
    ] {
        let what = format!("{auth:?}");
        let report = problems(auth, &[]).unwrap_or_default();
        assert!(report.contains(expected), "{what}: {report}");
        assert!(!report.contains("short\""), "no secrets: {report}");
    }
    for (issuers, more, expected) in [
        ("clerk=https://clerk.example.com", vec![("AUTH_AUTHORIZED_PARTIES", "https://app.example.com")], None),
        ("jwks=https://id.example.com, supabase=https://x.supabase.co", vec![], None),
        ("hs256=https://id.example.com", vec![("AUTH_ISSUER_SECRET", secret)], None),
        ("auth0=x.eu.auth0.com", vec![("AUTH_AUDIENCES", "https://api.example.com")], None),
        ("keycloak=https://id.example.com/realms/x", vec![("AUTH_AUTHORIZED_PARTIES", "web")], None),
        ("clerk=https://clerk.example.com", vec![], Some("origins")),
        ("okta=https://x.okta.com", vec![], Some("not a kind")),
        ("https://x.okta.com", vec![], Some("no `=`")),
        ("hs256=https://id.example.com", vec![], Some("AUTH_ISSUER_SECRET")),
        ("auth0=x.eu.auth0.com", vec![], Some("AUTH_AUDIENCES")),
        ("keycloak=https://id.example.com/realms/x", vec![], Some("AUTH_AUTHORIZED_PARTIES")),
    ] {
        let settings: Vec<_> = [("AUTH_ISSUERS", issuers)].into_iter().chain(more).collect();
        let report = problems(Auth::from_env(), &settings);
        match expected {
            None => assert_eq!(report, None, "{issuers}"),
            Some(expected) => {
                assert!(report.as_ref().is_some_and(|report| report.contains(expected)), "{issuers}: {report:?}");
            }
        }
    }
}
