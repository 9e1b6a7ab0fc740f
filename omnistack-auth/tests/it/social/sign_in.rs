//! Tests of the whole flow of a sign-in.

use omnistack_testkit::on_each_database;

use super::*;

/// Starts a mock GitHub with the user 7 and these addresses.
pub(super) async fn github(emails: Value) -> (MockServer, Provider) {
    let upstream = MockServer::start().await;
    upstream.expect("POST", "/login/oauth/access_token").times(..).reply_with(|request| {
        let is = |name: &str, value: &str| field(request, name).as_deref() == Some(value);
        let good = is("code", "c")
            && is("client_id", CLIENT)
            && is("client_secret", SECRET)
            && is("redirect_uri", &callback("github"))
            && field(request, "code_verifier").is_some_and(|verifier| verifier.len() == 43);
        // GitHub responds with 200 to a wrong code too.
        MockResponse::json(
            200,
            if good { r#"{"access_token":"gho_1"}"# } else { r#"{"error":"bad_verification_code"}"# },
        )
    });
    let user = json!({ "id": 7, "login": "ada", "name": null, "avatar_url": "https://pictures.example.com/7", "email": "x@y.z" });
    for (path, answer) in [("/api/v3/user", user), ("/api/v3/user/emails", emails)] {
        let expect = upstream.expect("GET", path).header("authorization", "Bearer gho_1").times(..);
        expect.reply(MockResponse::json(200, answer.to_string()));
    }
    let provider = Provider::github_enterprise(format!("{}/", upstream.url()), CLIENT, SECRET);
    (upstream, provider)
}

on_each_database! {
    async fn a_browser_goes_to_the_provider_and_comes_back_signed_in(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let app = start(database, acme.auth()).await;
        let path = format!("{OAUTH}/acme/start?return_to=%2Fprojects%2F7%3Ftab%3Dfiles");
        let answer = app.anonymous().get(path).await.expect(302);
        let cookie = answer.header("set-cookie").unwrap();
        let attributes = cookie.split_once("; ").unwrap().1;
        assert_eq!(attributes, "Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let away = OAuthFlow::of("acme", location(&answer), &answer);
        assert!(away.url.as_str().starts_with(&format!("{}/authorize?tenant=7&", acme.upstream.url())));
        for (name, value) in [
            ("response_type", "code"), ("client_id", CLIENT), ("scope", "openid email profile"),
            ("redirect_uri", &callback("acme")), ("code_challenge_method", "S256"),
        ] {
            assert_eq!(away.get(name), value);
        }
        for name in ["state", "nonce", "code_challenge"] {
            let value = away.get(name);
            assert_eq!(value.len(), 43, "{name} has 256 bits");
            assert!(!cookie.contains(&value), "{name} is sealed");
        }

        acme.set_token(&away, &acme.pair.token("k", &acme.claims(&away, json!({}))));
        let back = away.callback(&app, "code=good+code&session_state=x&scope=openid").await.expect(303);
        assert_eq!(location(&back), format!("{HOME}/projects/7?tab=files"));
        assert!(clears_flow_cookie(&back));
        let ada = signed_in_user(&app, &back).await;
        assert_eq!((&ada["email"], &ada["name"]), (&json!("ada@example.com"), &json!("Ada Lovelace")));
        assert_eq!(audited(&app).await, ["account.registered", "account.signed_in"]);

        // From now on she is found by her subject, whatever the other claims.
        let changes = json!({ "name": "A. L.", "email": "other@example.com", "aud": [CLIENT], "azp": CLIENT });
        let again = acme.sign_in(&app, changes).await.expect(303);
        assert_eq!(location(&again), format!("{HOME}/"));
        let known = signed_in_user(&app, &again).await;
        assert_eq!((&known["id"], &known["name"], &known["email"]), (&ada["id"], &ada["name"], &ada["email"]));
        let other = acme.sign_in(&app, json!({ "sub": "eve", "email": "eve@example.com" })).await.expect(303);
        assert_ne!(signed_in_user(&app, &other).await["id"], ada["id"]);
    }

    async fn github_is_asked_who_it_is(database: TestDatabase) {
        for (emails, expected) in [
            (json!([{ "email": "b@example.com", "primary": false, "verified": true },
                { "email": "Ada@example.com", "primary": true, "verified": true }]), json!("ada@example.com")),
            (json!([{ "email": "ada@example.com", "primary": true, "verified": false },
                { "email": "b@example.com", "primary": false, "verified": true }]), json!(null)),
            (json!([]), json!(null)),
        ] {
            let (_upstream, provider) = github(emails.clone()).await;
            let app = start(TestDatabase::sqlite(), Auth::built_in().sign_in_with(provider)).await;
            let away = start_flow(&app, "github").await;
            assert_eq!(away.get("scope"), "read:user user:email");
            away.callback(&app, "code=bad").await.expect_error(400, "CODE_REFUSED");
            let away = start_flow(&app, "github").await;
            let back = away.callback(&app, "code=c&iss=https%3A%2F%2Fgithub.com%2Flogin%2Foauth").await.expect(303);
            let ada = signed_in_user(&app, &back).await;
            assert_eq!((&ada["name"], &ada["email"]), (&json!("ada"), &expected), "{emails}");
        }
        let (_upstream, provider) = github(json!([])).await;
        let app = start(database, Auth::built_in().sign_in_with(provider)).await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let back = start_flow(&app, "github").await.callback(&app, "code=c").await.expect(303);
            ids.push(signed_in_user(&app, &back).await["id"].clone());
        }
        assert_eq!(ids[0], ids[1]);
    }

    async fn one_who_comes_twice_at_once_is_one_user(database: TestDatabase) {
        let (_upstream, provider) = github(json!([{ "email": "ada@example.com", "primary": true, "verified": true }])).await;
        let app = start(database, Auth::built_in().sign_in_with(provider)).await;
        let mut ways = Vec::new();
        for _ in 0..6 {
            ways.push(start_flow(&app, "github").await);
        }
        let backs = futures_util::future::join_all(ways.iter().map(|away| away.callback(&app, "code=c"))).await;
        for back in backs {
            back.expect(303);
        }
        assert_eq!(count(&app, "select count(*) from omni_users").await, 1);
        // Of several concurrent callbacks of one flow, one succeeds.
        let away = start_flow(&app, "github").await;
        let backs = futures_util::future::join_all((0..4).map(|_| away.callback(&app, "code=c"))).await;
        assert_eq!(backs.iter().filter(|back| back.status == 303).count(), 1);
        assert_eq!(backs.iter().filter(|back| back.status == 400).count(), 3);
    }
}

#[tokio::test]
async fn a_provider_that_takes_its_secret_in_the_body_gets_it_there() {
    let upstream = MockServer::start().await;
    let url = upstream.url();
    let configuration = json!({
        "issuer": url, "authorization_endpoint": format!("{url}/a"), "token_endpoint": format!("{url}/t"),
        "jwks_uri": format!("{url}/k"), "token_endpoint_auth_methods_supported": ["client_secret_post"],
    });
    let reply = MockResponse::json(200, configuration.to_string());
    upstream.expect("GET", "/.well-known/openid-configuration").reply(reply);
    let expect = upstream.expect("POST", "/t").body_contains("client_secret=secret+%26%2B%25&").times(..);
    expect.reply(MockResponse::json(401, r#"{"error":"invalid_client"}"#));
    let expect = upstream.expect("POST", "/t").body_contains("client_secret=secret+%26%2B%25").times(..);
    expect.reply(MockResponse::json(401, r#"{"error":"invalid_client"}"#));
    // With the URL of the configuration.
    let at = format!("{url}/.well-known/openid-configuration");
    let provider = Provider::oidc("acme", at, CLIENT, SECRET);
    let app = start(TestDatabase::sqlite(), Auth::built_in().sign_in_with(provider)).await;
    let back = start_flow(&app, "acme").await.callback(&app, "code=c").await;
    back.expect_error(502, "IDENTITY_PROVIDER_REFUSED");
}

#[tokio::test]
async fn a_browser_that_looks_at_pages_is_shown_one() {
    let acme = MockOidcProvider::start().await;
    let app = start(TestDatabase::sqlite(), acme.auth()).await;
    let away = start_flow(&app, "acme").await;
    let path =
        format!("{OAUTH}/acme/callback?state={}&error=access_denied&error_description=%3Cscript%3E", away.get("state"));
    let browser = app.anonymous().get(&path).header("cookie", &away.cookie);
    let answer = browser.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8").await.expect(303);
    assert_eq!(location(&answer), format!("{HOME}/auth/error#code=SIGN_IN_CANCELLED"));
    assert!(clears_flow_cookie(&answer));
    let answer = app.anonymous().get(format!("{OAUTH}/nobody/start")).header("accept", "text/html").await.expect(303);
    assert_eq!(location(&answer), format!("{HOME}/auth/error#code=NOT_FOUND"));
    app.anonymous().get(format!("{OAUTH}/nobody/start")).await.expect_error(404, "NOT_FOUND");
    // The routes for pages are in the OpenAPI document.
    let described = app.anonymous().get("/openapi.json").await.expect(200).json();
    for (path, method, names) in [
        (format!("{OAUTH}/{{provider}}/start"), "get", vec!["provider", "return_to"]),
        (format!("{OAUTH}/{{provider}}/callback"), "get", vec!["provider", "state", "code", "error", "iss"]),
        (format!("{IDENTITIES}/{{provider}}/start"), "post", vec!["provider", "return_to"]),
    ] {
        let parameters = described["paths"][&path][method]["parameters"].as_array().unwrap();
        for name in names {
            assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn what_can_not_be_right_is_a_problem_of_the_build() {
    use omnistack_core::{app::App, config::Config};
    let problems = |auth: Auth, settings: &[(&str, &str)]| {
        let settings = settings.iter().copied().chain([("DATABASE_URL", "sqlite::memory:")]);
        App::builder(Config::from_pairs(settings)).with(auth).build().err().map(|error| error.to_string())
    };
    let acme = |url: &str| Provider::oidc("acme", url, "client", "hidden-secret");
    let microsoft = |tenant: &str| Provider::microsoft(tenant, "client", "hidden-secret");
    let tenant = "7b1cdd1f-0d6e-4f43-9c7a-2f5a2c0a6d11";
    for (provider, expected) in [
        (acme("https://id.example.com/"), None),
        (microsoft("common"), None),
        (microsoft("consumers"), None),
        (microsoft(tenant).trust_emails(), None),
        (Provider::github("client", "hidden-secret"), None),
        (acme("http://id.example.com"), Some("https")),
        (acme("id.example.com"), Some("not a URL")),
        (acme("https://id.example.com").with_name("Acme Inc"), Some("name is invalid")),
        (acme("https://id.example.com").scope("a b"), Some("scope")),
        (Provider::google("client", ""), Some("client ID")),
        (microsoft("example.com"), Some("tenant")),
        (microsoft("common").trust_emails(), Some("unverified email")),
        (Provider::github_enterprise("http://github.example.com", "client", "hidden-secret"), Some("https")),
    ] {
        let what = format!("{provider:?}");
        assert!(!what.contains("hidden"), "{what}");
        let report = problems(Auth::built_in().sign_in_with(provider), &[]);
        match expected {
            None => assert_eq!(report, None, "{what}"),
            Some(expected) => {
                assert!(
                    report.as_ref().is_some_and(|it| it.contains(expected) && !it.contains("hidden")),
                    "{report:?}"
                );
            }
        }
    }
    let twice = Auth::built_in().sign_in_with(acme("https://a.example")).sign_in_with(acme("https://b.example"));
    assert!(problems(twice, &[]).unwrap().contains("two providers"));
    let elsewhere = Auth::jwks("https://id.example.com").sign_in_with(acme("https://a.example"));
    assert!(problems(elsewhere, &[]).unwrap().contains("no built-in accounts"));
    let half = problems(Auth::from_env(), &[("AUTH_GOOGLE_CLIENT_ID", "client")]).unwrap();
    assert!(half.contains("AUTH_GOOGLE_CLIENT_SECRET"), "{half}");
    let whole = [("AUTH_GITHUB_CLIENT_ID", "client"), ("AUTH_GITHUB_CLIENT_SECRET", "hidden-secret")];
    assert_eq!(problems(Auth::from_env(), &whole), None);
}
