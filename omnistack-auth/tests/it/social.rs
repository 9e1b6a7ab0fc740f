//! Tests of social sign-in: the whole flow, rejected responses, account matching, and unavailable providers.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_auth::{
    Auth,
    social::Provider,
    users::{CreatedUser, NewUser, Users},
};
use omnistack_core::{app::AppBuilder, crypto::Sha256};
use omnistack_testkit::{
    TestApp, TestDatabase, TestResponse,
    mock_server::{MockResponse, MockServer, ReceivedRequest},
};
use reqwest::Url;
use serde_json::{Value, json};

use crate::issuers::{ME, NOW, TestKeyPair, base64, key_set, with};

mod attacks;
mod bad_days;
mod linking;
mod peers;
mod sign_in;
mod whose;

const OAUTH: &str = "/api/v1/public/auth/oauth";
const IDENTITIES: &str = "/api/v1/app/auth/identities";
const HOME: &str = "https://app.example.com";
const CLIENT: &str = "client:1";
const SECRET: &str = "secret &+%";

/// Starts an app with the URL [`HOME`].
async fn start(database: TestDatabase, auth: Auth) -> TestApp {
    start_with(database, auth, |app| app).await
}

async fn start_with(database: TestDatabase, auth: Auth, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    let assemble = |app: AppBuilder| {
        let app = app.with(auth).set("PUBLIC_URL", HOME);
        more(app.set("AUTH_ARGON2_MEMORY", "64").set("AUTH_ARGON2_PASSES", "1"))
    };
    TestApp::start_with_auth(database, assemble).await
}

/// A scripted OpenID Connect provider.
struct MockOidcProvider {
    upstream: MockServer,
    pair: TestKeyPair,
    /// The PKCE challenge of the next code, and the token response to it.
    next: Arc<Mutex<(String, Value)>>,
}

impl MockOidcProvider {
    async fn start() -> Self {
        Self::start_with(json!({})).await
    }

    /// Starts a provider with changes to its configuration.
    async fn start_with(changes: Value) -> Self {
        let upstream = MockServer::start().await;
        let (pair, url) = (TestKeyPair::ec(), upstream.url().to_owned());
        let configuration = json!({
            "issuer": url, "authorization_endpoint": format!("{url}/authorize?tenant=7"),
            "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys"),
        });
        let configuration = with(configuration, changes).to_string();
        let path = "/.well-known/openid-configuration";
        upstream.expect("GET", path).times(..).reply(MockResponse::json(200, configuration));
        upstream.expect("GET", "/keys").times(..).reply(key_set(&[pair.jwk("k")]));
        let next: Arc<Mutex<(String, Value)>> = Arc::default();
        let scripted = next.clone();
        upstream.expect("POST", "/token").times(..).reply_with(move |request| {
            let (challenge, answer) = scripted.lock().unwrap().clone();
            let (verifier, code) = (field(request, "code_verifier"), field(request, "code"));
            let proven = base64(Sha256::digest(verifier.unwrap_or_default()).as_bytes()) == challenge;
            let good = proven
                && is_client(request)
                && code.as_deref() == Some("good code")
                && field(request, "grant_type").as_deref() == Some("authorization_code")
                && field(request, "redirect_uri").as_deref() == Some(&callback("acme"));
            if good {
                MockResponse::json(200, answer.to_string())
            } else {
                MockResponse::json(400, r#"{"error":"invalid_grant"}"#)
            }
        });
        Self { upstream, pair, next }
    }

    fn provider(&self) -> Provider {
        Provider::oidc("acme", self.upstream.url(), CLIENT, SECRET)
    }

    fn auth(&self) -> Auth {
        Auth::built_in().sign_in_with(self.provider())
    }

    /// Returns the claims about Ada, with changes.
    fn claims(&self, away: &OAuthFlow, changes: Value) -> Value {
        let claims = json!({
            "iss": self.upstream.url(), "sub": "ada", "aud": CLIENT, "iat": NOW, "exp": NOW + 300, "nonce": away.get("nonce"),
            "email": "Ada@example.com", "email_verified": true, "name": "Ada Lovelace", "at_hash": "x",
        });
        with(claims, changes)
    }

    /// Makes the next code valid for this token.
    fn set_token(&self, away: &OAuthFlow, token: &str) {
        let answer = json!({ "access_token": "a", "token_type": "Bearer", "id_token": token });
        *self.next.lock().unwrap() = (away.get("code_challenge"), answer);
    }

    /// Runs the whole flow as Ada, with changes to the claims.
    async fn sign_in(&self, app: &TestApp, changes: Value) -> TestResponse {
        let away = start_flow(app, "acme").await;
        self.set_token(&away, &self.pair.token("k", &self.claims(&away, changes)));
        away.callback(app, "code=good%20code").await
    }
}

fn field(request: &ReceivedRequest, name: &str) -> Option<String> {
    form_urlencoded::parse(&request.body).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// Returns whether the request has the client's credentials (RFC 6749, section 2.3.1).
fn is_client(request: &ReceivedRequest) -> bool {
    let expected = STANDARD.encode("client%3A1:secret+%26%2B%25");
    request.header("authorization") == Some(&format!("Basic {expected}"))
}

fn callback(provider: &str) -> String {
    format!("{HOME}{OAUTH}/{provider}/callback")
}

/// A browser that was redirected to the provider.
#[derive(Clone)]
struct OAuthFlow {
    provider: String,
    url: Url,
    cookie: String,
}

impl OAuthFlow {
    fn of(provider: &str, url: &str, answer: &TestResponse) -> Self {
        Self { provider: provider.into(), url: url.parse().unwrap(), cookie: jar(answer) }
    }

    fn get(&self, name: &str) -> String {
        let mut pairs = self.url.query_pairs().filter(|(known, _)| known == name);
        let value = pairs.next().unwrap_or_else(|| panic!("{name}: {}", self.url)).1.into_owned();
        assert!(pairs.next().is_none(), "{name} twice: {}", self.url);
        value
    }

    /// Calls the callback with the right state and these parameters.
    async fn callback(&self, app: &TestApp, more: &str) -> TestResponse {
        self.back_with(app, &format!("state={}&{more}", self.get("state")), &self.cookie).await
    }

    async fn back_with(&self, app: &TestApp, query: &str, cookie: &str) -> TestResponse {
        let request = app.anonymous().get(format!("{OAUTH}/{}/callback?{query}", self.provider));
        if cookie.is_empty() { request.await } else { request.header("cookie", cookie).await }
    }
}

async fn start_flow(app: &TestApp, provider: &str) -> OAuthFlow {
    depart_to(app, provider, "").await
}

async fn depart_to(app: &TestApp, provider: &str, query: &str) -> OAuthFlow {
    let answer = app.anonymous().get(format!("{OAUTH}/{provider}/start{query}")).await.expect(302);
    OAuthFlow::of(provider, answer.header("location").unwrap(), &answer)
}

/// Returns the `Cookie` header that a browser sends after this response, without deleted cookies.
fn jar(answer: &TestResponse) -> String {
    let all = answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
    let kept = all.filter(|cookie| !cookie.contains("Max-Age=0")).map(|cookie| cookie.split(';').next().unwrap());
    kept.collect::<Vec<_>>().join("; ")
}

fn location(answer: &TestResponse) -> &str {
    answer.header("location").unwrap_or_else(|| panic!("{} {}", answer.status, answer.text()))
}

/// Returns whether the response deletes the cookie of the flow.
fn clears_flow_cookie(answer: &TestResponse) -> bool {
    let mut all = answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
    all.any(|cookie| cookie.starts_with("__Host-omnistack-social=;") && cookie.contains("Max-Age=0"))
}

/// Returns the user that a browser is signed in as.
async fn signed_in_user(app: &TestApp, answer: &TestResponse) -> Value {
    app.anonymous().get(ME).header("cookie", jar(answer)).await.expect(200).json()
}

/// Creates a user with a verified address.
async fn verified_user(app: &TestApp, email: &str) -> CreatedUser {
    let users: Users = app.app().context().get().unwrap();
    let mut new = NewUser::with_email(email);
    new.email_verified = true;
    users.create(new).await.unwrap()
}

async fn count(app: &TestApp, sql: &'static str) -> i64 {
    let mut tx = app.db().all_tenants().begin_read().await.unwrap();
    let (count,): (i64,) = tx.query(sql).fetch_one().await.unwrap();
    tx.commit().await.unwrap();
    count
}

/// Returns all audit actions, oldest first.
async fn audited(app: &TestApp) -> Vec<String> {
    let mut tx = app.db().all_tenants().begin_read().await.unwrap();
    let rows: Vec<(String,)> =
        tx.query("select action from omni_audit_entries order by tenant_id, sequence").fetch_all().await.unwrap();
    tx.commit().await.unwrap();
    rows.into_iter().map(|(action,)| action).collect()
}
