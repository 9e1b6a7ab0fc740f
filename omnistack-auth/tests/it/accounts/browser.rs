//! Tests of tokens in cookies.

use std::collections::BTreeSet;

use http::Method;
use omnistack_testkit::{TestRequest, on_each_database};

use super::*;

const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// Returns the cookies a response sets, each with its name, value and attributes.
fn cookies(answer: &TestResponse) -> Vec<(String, String, String)> {
    let all = answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
    let split = all.map(|cookie| {
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned(), attributes.to_owned())
    });
    split.collect()
}

/// Returns the `Cookie` header that a browser sends after this response.
fn jar(answer: &TestResponse) -> String {
    cookies(answer).iter().map(|(name, value, _)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

fn login(post: &AccountsApp, email: &str) -> TestRequest {
    let body = json!({ "email": email, "password": PASSWORD, "mode": "cookie" });
    post.app.anonymous().post(format!("{PUBLIC}/login"), body)
}

fn with(request: TestRequest, headers: &[(&str, &str)]) -> TestRequest {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

on_each_database! {
    async fn the_response_to_a_sign_in_says_where_the_tokens_are(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let document = post.app.anonymous().get("/openapi.json").await.expect(200).json();
        let schemas = &document["components"]["schemas"];
        let described = &document["paths"]["/api/v1/public/auth/login"]["post"]["responses"]["200"]["content"];
        assert_eq!(described["application/json"]["schema"], json!({ "$ref": "#/components/schemas/SessionCredentials" }));
        let modes = [("token", "SessionTokens"), ("cookie", "CookieSession")];
        let references = modes.map(|(_, name)| json!({ "$ref": format!("#/components/schemas/{name}") }));
        assert_eq!(schemas["SessionCredentials"]["oneOf"], json!(references));
        for (mode, name) in modes {
            let body = json!({ "email": "ada@example.com", "password": PASSWORD, "mode": mode });
            let request = post.app.anonymous().post(format!("{PUBLIC}/login"), body);
            let answer = with(request, &[OWN]).await.expect(200).json();
            // A client tells the responses apart by `mode`, and none of their fields may be absent.
            assert_eq!((&answer["mode"], &schemas[name]["properties"]["mode"]["enum"]), (&json!(mode), &json!([mode])));
            let fields: BTreeSet<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
            let required = schemas[name]["required"].as_array().unwrap().iter().filter_map(|field| field.as_str());
            assert_eq!(fields, required.collect::<BTreeSet<_>>(), "{mode}");
        }
    }

    async fn a_browser_keeps_its_tokens_from_scripts(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let answer = with(login(&post, "ada@example.com"), &[OWN]).await.expect(200);
        let given = cookies(&answer);
        assert_eq!(given.len(), 3);
        for (name, value, attributes) in &given {
            assert!(name.starts_with("__Host-") && name.len() + value.len() < 1024, "{name}={value}");
            let (age, rest) = attributes.strip_prefix("Path=/; Max-Age=").unwrap().split_once("; ").unwrap();
            assert!(age.parse::<u64>().unwrap() >= 600, "{age}");
            assert_eq!(rest, "HttpOnly; Secure; SameSite=Lax", "{name}");
            assert!(!answer.text().contains(value.as_str()), "it is not in the body as well");
        }
        let body = answer.json();
        assert!(body.get("access_token").is_none() && body.get("refresh_token").is_none(), "{body}");

        let me = post.app.anonymous().get(ME).header("cookie", jar(&answer)).await.expect(200);
        assert_eq!(me.json()["email"], "ada@example.com");
        let vary: Vec<_> = me.headers.get_all("vary").iter().map(|vary| vary.to_str().unwrap()).collect();
        for name in ["Cookie", "Sec-Fetch-Site", "Origin"] {
            assert!(vary.iter().any(|vary| vary.contains(name)), "{vary:?}");
        }
        assert_eq!(me.header("cache-control"), Some("no-store"));

        let refresh = || post.app.anonymous().post(format!("{PUBLIC}/refresh"), json!({ "mode": "cookie" }));
        with(refresh(), &[OWN]).await.expect_error(401, "REFRESH_TOKEN_INVALID");
        with(refresh(), &[("cookie", &jar(&answer))]).await.expect_error(403, "CROSS_SITE_REQUEST");
        let next = with(refresh(), &[OWN, ("cookie", &jar(&answer))]).await.expect(200);
        assert_ne!(jar(&next), jar(&answer));

        let logout = post.app.anonymous().post(format!("{PUBLIC}/logout"), json!({ "mode": "cookie" }));
        let out = with(logout, &[OWN, ("cookie", &jar(&next))]).await.expect(204);
        assert!(cookies(&out).iter().all(|(_, value, rest)| value.is_empty() && rest.contains("Max-Age=0")));
        post.app.anonymous().get(ME).header("cookie", jar(&next)).await.expect(401);
        with(refresh(), &[OWN, ("cookie", &jar(&next))]).await.expect(401);
    }

    async fn a_browser_refreshes_and_signs_out_without_a_body(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let signed_in = jar(&with(login(&post, "ada@example.com"), &[OWN]).await.expect(200));
        let send = |path: &str| post.app.anonymous().request(Method::POST, format!("{PUBLIC}/{path}"));
        // Without the cookie, a body is required; with it, the request must come from the app's own pages.
        with(send("refresh"), &[OWN]).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
        with(send("refresh"), &[("cookie", &signed_in)]).await.expect_error(403, "CROSS_SITE_REQUEST");
        let next = jar(&with(send("refresh"), &[OWN, ("cookie", &signed_in)]).await.expect(200));
        assert_ne!(next, signed_in);
        with(send("logout"), &[OWN, ("cookie", &next)]).await.expect(204);
        post.app.anonymous().get(ME).header("cookie", &next).await.expect(401);
    }

    async fn only_the_apps_own_pages_change_anything_with_a_cookie(database: TestDatabase) {
        let post = start_with(database, |app| app.set("CORS_ORIGINS", "https://admin.example.com")).await;
        post.registered("ada@example.com").await;
        let cookie = jar(&with(login(&post, "ada@example.com"), &[OWN]).await.expect(200));
        for (headers, allowed) in [
            (vec![OWN], true),
            (vec![("sec-fetch-site", "none")], true),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "same-site"), ("origin", "https://admin.example.com")], true),
            (vec![("origin", "https://app.example.com")], true),
            (vec![("origin", "https://admin.example.com")], true),
            (vec![("origin", "https://evil.example")], false),
            (vec![("origin", "http://app.example.com")], false),
            (vec![("origin", "null")], false),
            (vec![("origin", "https://evil.example"), ("host", "evil.example")], false),
            (vec![], false),
        ] {
            let expected = if allowed { 200 } else { 403 };
            for method in [Method::PATCH, Method::POST, Method::DELETE] {
                let client = post.app.anonymous();
                let request = match method {
                    Method::PATCH => client.patch(ME, json!({ "name": "Ada" })),
                    Method::POST => client.post(format!("{ME}/export"), json!({})),
                    _ => client.delete(format!("{APP}/sessions")),
                };
                let answer = with(request.header("cookie", &cookie), &headers).await;
                assert_eq!(answer.status.as_u16(), expected, "{method} {headers:?}: {}", answer.text());
            }
            // Requests that only read are allowed from any site, because the browser hides the response from other
            // sites.
            with(post.app.anonymous().get(ME).header("cookie", &cookie), &headers).await.expect(200);
            // Another site can't sign a browser in to another account either.
            let status = with(login(&post, "ada@example.com"), &headers).await.status.as_u16();
            assert_eq!(status, expected, "sign-in {headers:?}");
        }
        // A token in the `Authorization` header is never sent by a browser on its own, so it is accepted.
        let ada = post.signed_in("ada@example.com").await;
        let evil = [("origin", "https://evil.example"), ("cookie", cookie.as_str())];
        with(post.client(&ada).patch(ME, json!({ "name": "Ada" })), &evil).await.expect(200);
    }

    async fn a_sign_in_begins_a_session_of_its_own(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        post.registered("eve@example.com").await;
        // Eve plants her cookies in Ada's browser.
        let planted = jar(&with(login(&post, "eve@example.com"), &[OWN]).await.expect(200));
        let answer = with(login(&post, "ada@example.com"), &[OWN, ("cookie", &planted)]).await.expect(200);
        let own = jar(&answer);
        for part in own.split("; ") {
            assert!(!planted.contains(part), "nothing of it stays");
        }
        post.app.anonymous().get(ME).header("cookie", &planted).await.expect(401);
        let me = post.app.anonymous().get(ME).header("cookie", &own).await.expect(200);
        assert_eq!(me.json()["email"], "ada@example.com");
        // Signing in again creates a new session and ends the previous one.
        let again = with(login(&post, "ada@example.com"), &[OWN, ("cookie", &own)]).await.expect(200);
        assert_ne!(again.json()["session_id"], answer.json()["session_id"]);
        post.app.anonymous().get(ME).header("cookie", &own).await.expect(401);
        // An invalid cookie is ignored.
        let made_up = "__Host-omnistack-refresh=omr_nonsense; __Host-omnistack-access=eyJ.e.x";
        with(login(&post, "ada@example.com"), &[OWN, ("cookie", made_up)]).await.expect(200);
        post.app.anonymous().get(ME).header("cookie", made_up).await.expect(401);
    }

    async fn cookies_of_other_apps_hide_no_session(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        // Other cookies in UTF-8, in Latin-1 or without a value, before and after, as browsers and other apps on the
        // domain send them.
        let (utf8, latin1, bare) = ("city=Köln".as_bytes(), b"city=K\xf6ln".as_slice(), b"\xff".as_slice());
        for foreign in [utf8, latin1, bare] {
            for is_first in [true, false] {
                let beside = |jar: &str| {
                    let [first, last] = if is_first { [foreign, jar.as_bytes()] } else { [jar.as_bytes(), foreign] };
                    [first, b"; ", last].concat()
                };
                let send = |path: &str, body: Value| with(post.app.anonymous().post(format!("{PUBLIC}/{path}"), body), &[OWN]);
                let mode = || json!({ "mode": "cookie" });
                let own = jar(&with(login(&post, "ada@example.com"), &[OWN]).await.expect(200));
                post.app.anonymous().get(ME).header("cookie", beside(&own)).await.expect(200);
                let next = jar(&send("refresh", mode()).header("cookie", beside(&own)).await.expect(200));
                // A sign-in ends the previous session of this browser.
                let again = with(login(&post, "ada@example.com"), &[OWN]).header("cookie", beside(&next)).await;
                let again = jar(&again.expect(200));
                post.app.anonymous().get(ME).header("cookie", &next).await.expect(401);
                // A sign-out ends the session on the server too.
                send("logout", mode()).header("cookie", beside(&again)).await.expect(204);
                send("refresh", mode()).header("cookie", &again).await.expect(401);
            }
        }
    }

    async fn a_credential_that_is_no_text_is_refused_and_not_passed_over(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let own = jar(&with(login(&post, "ada@example.com"), &[OWN]).await.expect(200));
        let ada = post.signed_in("ada@example.com").await;
        for (name, value) in [
            ("authorization", b"Bearer K\xf6ln".as_slice()),
            ("authorization", "Bearer eyJö".as_bytes()),
            ("x-api-key", b"K\xf6ln".as_slice()),
        ] {
            let request = post.app.anonymous().get(ME).header("cookie", &own).header(name, value);
            request.await.expect_error(401, "UNAUTHORIZED");
        }
        post.client(&ada).get(ME).header("x-tenant-id", b"\xff").await.expect_error(400, "TENANT_INVALID");
        let agent = post.app.anonymous().post(format!("{PUBLIC}/login"), json!({ "email": "ada@example.com", "password": PASSWORD }));
        let bode = SignedInUser::of(agent.header("user-agent", b"Firefox K\xf6ln").await);
        let sessions = post.client(&bode).get(format!("{APP}/sessions")).await.expect(200).json();
        assert!(sessions["items"].as_array().unwrap().iter().any(|one| one["user_agent"] == "Firefox K\u{fffd}ln"), "{sessions}");
    }
}
