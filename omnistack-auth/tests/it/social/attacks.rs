//! Tests of attacks on social sign-in.

use omnistack_testkit::on_each_database;

use super::*;
use crate::{issuers::shared, support};

on_each_database! {
    async fn only_the_browser_that_left_comes_back_and_once(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let app = start(database, acme.auth()).await;
        let (away, other) = (start_flow(&app, "acme").await, start_flow(&app, "acme").await);
        acme.set_token(&away, &acme.pair.token("k", &acme.claims(&away, json!({}))));
        let (state, cookie) = (away.get("state"), away.cookie.as_str());
        let good = format!("state={state}&code=good+code");
        let flipped = format!("{}{}", &cookie[..cookie.len() - 1], if cookie.ends_with('A') { 'B' } else { 'A' });
        for (what, query, cookie) in [
            ("no cookie: the link of another browser", good.as_str(), ""),
            ("another browser's cookie", &good, &other.cookie),
            ("a cookie that was changed", &good, &flipped),
            ("a made-up cookie", &good, "__Host-omnistack-social=v1.x.y"),
            ("no state", "code=good+code", cookie),
            ("an empty state", "state=&code=good+code", cookie),
            ("another state", &format!("state={}&code=good+code", other.get("state")), cookie),
            ("a state twice", &format!("{good}&state={state}"), cookie),
            ("a code twice", &format!("{good}&code=x"), cookie),
        ] {
            let answer = away.back_with(&app, query, cookie).await.expect_error(400, "SIGN_IN_STATE_LOST");
            assert!(answer.headers.get("set-cookie").is_none(), "{what}: the browser's own way stays open");
        }
        assert!(!acme.upstream.requests().iter().any(|request| request.path == "/token"), "no code was tried");
        away.callback(&app, "code=good+code").await.expect(303);
        let again = away.callback(&app, "code=good+code").await.expect_error(400, "SIGN_IN_STATE_LOST");
        assert!(clears_flow_cookie(&again) && jar(&again).is_empty());
        assert_eq!(acme.upstream.requests().iter().filter(|request| request.path == "/token").count(), 1);
    }

    async fn a_sign_in_ends_what_the_browser_had(database: TestDatabase) {
        let acme = MockOidcProvider::start().await;
        let app = start(database, acme.auth()).await;
        // Eve plants her session in Ada's browser.
        let planted = jar(&acme.sign_in(&app, json!({ "sub": "eve", "email": null })).await.expect(303));
        app.anonymous().get(ME).header("cookie", &planted).await.expect(200);
        let away = start_flow(&app, "acme").await;
        acme.set_token(&away, &acme.pair.token("k", &acme.claims(&away, json!({}))));
        let query = format!("state={}&code=good+code", away.get("state"));
        let back = away.back_with(&app, &query, &format!("{planted}; {}", away.cookie)).await.expect(303);
        assert_eq!(signed_in_user(&app, &back).await["email"], "ada@example.com");
        app.anonymous().get(ME).header("cookie", &planted).await.expect(401);
    }
}

#[tokio::test]
async fn a_way_takes_ten_minutes_at_most() {
    let acme = MockOidcProvider::start().await;
    let app = start(TestDatabase::sqlite(), acme.auth()).await;
    for (seconds, status) in [(599, 303), (600, 400)] {
        let away = start_flow(&app, "acme").await;
        app.clock().advance(std::time::Duration::from_secs(seconds));
        let now = app.app().context().get::<omnistack_core::clock::Clock>().unwrap().now().as_seconds();
        let claims = acme.claims(&away, json!({ "iat": now, "exp": now + 60 }));
        acme.set_token(&away, &acme.pair.token("k", &claims));
        assert_eq!(away.callback(&app, "code=good+code").await.status.as_u16(), status, "{seconds}");
    }
}

#[tokio::test]
async fn an_id_token_that_is_not_of_this_sign_in_is_refused() {
    let acme = MockOidcProvider::start().await;
    let app = start(TestDatabase::sqlite(), acme.auth()).await;
    for (changes, good) in [
        (json!({ "azp": CLIENT }), true),
        (json!({ "iat": NOW - 590, "exp": NOW + 1 }), true),
        (json!({ "nonce": "another" }), false),
        (json!({ "nonce": null }), false),
        (json!({ "nonce": 7 }), false),
        (json!({ "aud": "another" }), false),
        (json!({ "aud": null }), false),
        (json!({ "aud": [CLIENT, "another"] }), false),
        (json!({ "aud": [CLIENT, "another"], "azp": "another" }), false),
        (json!({ "aud": [CLIENT, "another"], "azp": CLIENT }), true),
        (json!({ "azp": "another" }), false),
        (json!({ "iss": "https://evil.example" }), false),
        (json!({ "iss": format!("{}/", acme.upstream.url()) }), false),
        (json!({ "exp": NOW - 10 }), false),
        (json!({ "exp": null }), false),
        (json!({ "exp": "never" }), false),
        (json!({ "iat": null }), false),
        (json!({ "iat": NOW + 60 }), false),
        (json!({ "iat": NOW - 3600 }), false),
        (json!({ "nbf": NOW + 60 }), false),
        (json!({ "sub": null }), false),
        (json!({ "sub": "" }), false),
    ] {
        let answer = acme.sign_in(&app, changes.clone()).await;
        if good {
            answer.expect(303);
        } else {
            let answer = answer.expect_error(401, "ID_TOKEN_REFUSED");
            assert!(jar(&answer).is_empty() && clears_flow_cookie(&answer), "{changes}");
        }
    }
    // Tokens signed with another key, unsigned, signed with the public key as a secret, of another type, and invalid.
    let away = || start_flow(&app, "acme");
    let public = acme.pair.jwk("k").to_string();
    for what in ["another key", "none", "HS256", "at+jwt", "garbage"] {
        let away = away().await;
        let claims = acme.claims(&away, json!({}));
        let token = match what {
            "another key" => TestKeyPair::ec().token("k", &claims),
            "none" => format!("{}.{}.", base64(r#"{"alg":"none"}"#), base64(claims.to_string())),
            "HS256" => shared(&public, &json!({ "alg": "HS256", "kid": "k" }), &claims),
            "at+jwt" => acme.pair.raw(r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#, &claims.to_string()),
            _ => "garbage".into(),
        };
        acme.set_token(&away, &token);
        away.callback(&app, "code=good+code").await.expect_error(401, "ID_TOKEN_REFUSED");
    }
    // Another user's code, which was issued for another challenge.
    let (mine, theirs) = (away().await, away().await);
    acme.set_token(&theirs, &acme.pair.token("k", &acme.claims(&mine, json!({}))));
    mine.callback(&app, "code=good+code").await.expect_error(400, "CODE_REFUSED");
    // An ID token is not an access token.
    let way = away().await;
    let token = acme.pair.token("k", &acme.claims(&way, json!({})));
    app.client_with_token(token).get(ME).await.expect(401);
}

#[tokio::test]
async fn one_provider_does_not_answer_for_another() {
    let acme = MockOidcProvider::start_with(json!({ "authorization_response_iss_parameter_supported": true })).await;
    let evil = MockOidcProvider::start().await;
    let provider = Provider::oidc("evil", evil.upstream.url(), "client", "secret");
    let app = start(TestDatabase::sqlite(), acme.auth().sign_in_with(provider)).await;
    let encoded = |url: &str| form_urlencoded::byte_serialize(url.as_bytes()).collect::<String>();
    for (issuer, status) in [
        (None, 400),
        (Some(evil.upstream.url().to_owned()), 400),
        (Some(format!("{}/", acme.upstream.url())), 400),
        (Some(acme.upstream.url().to_owned()), 303),
    ] {
        let away = start_flow(&app, "acme").await;
        acme.set_token(&away, &acme.pair.token("k", &acme.claims(&away, json!({}))));
        let iss = issuer.as_deref().map(|issuer| format!("&iss={}", encoded(issuer))).unwrap_or_default();
        assert_eq!(away.callback(&app, &format!("code=good+code{iss}")).await.status.as_u16(), status, "{issuer:?}");
    }
    // If the provider does not announce `iss`, it must be right or absent.
    let away = start_flow(&app, "evil").await;
    let iss = encoded(acme.upstream.url());
    away.callback(&app, &format!("code=c&iss={iss}")).await.expect_error(400, "SIGN_IN_STATE_LOST");
    // A flow that was started at one provider can't end at another.
    let away = OAuthFlow { provider: "evil".into(), ..start_flow(&app, "acme").await };
    away.callback(&app, "code=good+code").await.expect_error(400, "SIGN_IN_STATE_LOST");
    assert!(!evil.upstream.requests().iter().any(|request| request.path == "/token"), "it was shown no code");
}

#[tokio::test]
async fn nobody_is_sent_elsewhere() {
    let acme = MockOidcProvider::start().await;
    let app = start(TestDatabase::sqlite(), acme.auth()).await;
    let user = support::user(&app, "ada@example.com").await;
    let ada = support::client(&app, &support::sign_in(&app, user).await);
    for (path, good) in [
        ("/", true),
        ("/a?b=//c&d=https://e", true),
        ("//evil.example", false),
        ("/\\evil.example", false),
        ("\\/evil.example", false),
        ("https:evil.example", false),
        ("https://evil.example", false),
        ("javascript:alert(1)", false),
        ("/%2F/evil.example", false),
        ("/%5Cevil.example", false),
        ("/%252Fevil.example", false),
        ("/..//evil.example", false),
        ("/\tevil", false),
        ("/\r\nset-cookie: a=b", false),
        ("evil", false),
        ("", false),
    ] {
        let encoded: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
        let answer = app.anonymous().get(format!("{OAUTH}/acme/start?return_to={encoded}")).await;
        assert_eq!(answer.status.as_u16(), if good { 302 } else { 422 }, "{path:?}");
        let answer = ada.post(format!("{IDENTITIES}/acme/start?return_to={encoded}"), json!({})).await;
        assert_eq!(answer.status.as_u16(), if good { 200 } else { 422 }, "{path:?}");
    }
    let twice = format!("{OAUTH}/acme/start?return_to=%2Fa&return_to=%2F%2Fevil.example");
    app.anonymous().get(twice).await.expect(422);
    app.anonymous().get(format!("{OAUTH}/acme/start?redirect_uri=https%3A%2F%2Fevil.example")).await.expect(422);
}
