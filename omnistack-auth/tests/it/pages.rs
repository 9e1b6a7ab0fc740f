//! Tests of the pages that mails link to.

use omnistack_auth::Auth;
use omnistack_core::{app::App, config::Config, email::Email, http::Method};
use omnistack_messaging::email::{Mail, template::TemplateOverrides};
use omnistack_testkit::{TestDatabase, TestResponse, on_each_database};
use serde_json::json;

use super::{
    support::{start_app, start_with},
    teams::{Team, token_of},
};

const PAGES: [&str; 11] = [
    "sign-in",
    "register",
    "verify-email",
    "change-email",
    "forgot-password",
    "reset-password",
    "magic-link",
    "second-factor",
    "invitation",
    "security",
    "error",
];
const PUBLIC: &str = "/api/v1/public/auth";
const PASSWORD: &str = "correct horse battery";

/// Returns the URLs that a page loads, without links.
fn loads(html: &str) -> Vec<&str> {
    let after = |mark: &'static str| html.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap());
    after("rel=\"stylesheet\" href=\"").chain(after("<script src=\"")).collect()
}

fn checked(answer: &TestResponse) {
    let policy = answer.header("content-security-policy").unwrap();
    for part in
        ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert!(answer.headers.get("set-cookie").is_none());
}

on_each_database! {
    async fn each_page_stands_alone_under_a_strict_policy(database: TestDatabase) {
        let (app, _) = start_with(database, &[("EMAIL_PRODUCT", "Tom & <Jerry>")]).await;
        let anonymous = app.anonymous();
        for name in PAGES {
            // Query parameters are never shown on the page.
            let path = format!("/auth/{name}?token=omo_secret&next=https://evil.example/%22%3E%3Cscript%3E");
            let answer = anonymous.get(path).await.expect(200);
            checked(&answer);
            assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{name}");
            let html = answer.text();
            assert!(!html.contains("omo_secret") && !html.contains("evil.example"), "{name}");
            assert!(html.contains("Tom &amp; &lt;Jerry&gt;") && !html.contains("<Jerry>"), "{name}");
            let loaded = loads(&html);
            assert_eq!(loaded.len(), 2, "{name}: {loaded:?}");
            for (asset, kind) in loaded.iter().zip(["text/css; charset=utf-8", "text/javascript; charset=utf-8"]) {
                let asset = anonymous.get(*asset).await.expect(200);
                assert_eq!(asset.header("content-type"), Some(kind));
                assert_eq!(asset.header("x-content-type-options"), Some("nosniff"));
            }
            // Each field has a label for people and an autocomplete name for password managers.
            for input in html.split("<input ").skip(1).map(|rest| rest.split('>').next().unwrap()) {
                assert!(input.contains("autocomplete=\"") || input.contains("type=\"checkbox\""), "{name}: {input}");
                let id = input.split("id=\"").nth(1).and_then(|rest| rest.split('"').next());
                let labelled = id.is_some_and(|id| html.contains(&format!("<label for=\"{id}\">")));
                assert!(labelled || input.contains("type=\"hidden\""), "{name}: {input}");
            }
            // A form that is submitted without its script must not put a password into the URL.
            for form in html.split("<form ").skip(1).map(|rest| rest.split('>').next().unwrap()) {
                assert!(form.contains("method=\"post\""), "{name}: {form}");
            }
            anonymous.request(Method::POST, format!("/auth/{name}")).await.expect(405);
        }
        anonymous.get("/auth/no-such-page").await.expect(404);
    }

    async fn looking_at_a_link_uses_nothing_up(database: TestDatabase) {
        let cheap = [("AUTH_ARGON2_MEMORY", "64"), ("AUTH_ARGON2_PASSES", "1")];
        let (app, outbox) = start_with(database, &cheap).await;
        let anonymous = app.anonymous();
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        anonymous.post(format!("{PUBLIC}/register"), &body).await.expect(202);
        for (path, used) in [("", "verify-email"), ("forgot-password", "reset-password"), ("magic-link", "magic-link/verify")] {
            if !path.is_empty() {
                anonymous.post(format!("{PUBLIC}/{path}"), json!({ "email": "ada@example.com" })).await.expect(202);
            }
            app.run_jobs().await;
            // Besides the notice of the change made by the previous link.
            let has_link = |mail: &Email| mail.text.as_deref().is_some_and(|text| text.contains("#token="));
            let mail = outbox.take().into_iter().find(has_link).unwrap();
            let text = mail.text.as_deref().unwrap();
            let (link, token) = (text.split("http://127.0.0.1:8080").nth(1).unwrap(), token_of(&mail));
            let page = link.split('#').next().unwrap();
            assert_eq!(page, format!("/auth/{}", used.split('/').next().unwrap()), "the token is behind the #");
            // As mail scanners do, also with the token in the query.
            for path in [page.to_owned(), format!("{page}?token={token}")] {
                for method in [Method::GET, Method::HEAD] {
                    anonymous.request(method, &path).await.expect(200);
                }
            }
            let body = match used {
                "verify-email" | "reset-password" => json!({ "token": token, "password": PASSWORD }),
                _ => json!({ "token": token }),
            };
            let status = anonymous.post(format!("{PUBLIC}/{used}"), body).await.status.as_u16();
            assert!(status < 300, "{used}: {status}");
        }
    }

    async fn every_page_a_mail_links_to_is_there(database: TestDatabase) {
        let (app, _) = start_with(database, &[]).await;
        let source = include_str!("../../src/mail.rs").to_owned() + include_str!("../../src/mail/invitation.rs");
        let social = include_str!("../../src/federation/routes/social.rs");
        // The text before the page names in the code that writes links.
        let named = [", \"", "page(\"", "/auth/"];
        let mut found = std::collections::BTreeSet::new();
        for name in PAGES {
            if named.iter().any(|before| source.contains(&format!("{before}{name}\"")) || social.contains(&format!("{before}{name}#"))) {
                found.insert(name);
                app.anonymous().get(format!("/auth/{name}")).await.expect(200);
            }
        }
        assert!(found.len() >= 8, "{found:?}");
    }

    async fn they_can_be_switched_off(database: TestDatabase) {
        let (app, _) = start_with(database, &[("AUTH_PAGES", "false")]).await;
        for name in PAGES.into_iter().chain(["pages.js", "pages.css"]) {
            app.anonymous().get(format!("/auth/{name}")).await.expect(404);
        }
    }

    async fn an_app_brings_pages_of_its_own(database: TestDatabase) {
        let (app, _) = start_app(database, |app| app.with(Auth::built_in().without_pages())).await;
        app.anonymous().get("/auth/sign-in").await.expect(404);
    }

    async fn nobody_registers_where_nobody_may(database: TestDatabase) {
        let (app, _) = start_with(database, &[("AUTH_REGISTRATION", "false")]).await;
        app.anonymous().get("/auth/register").await.expect(404);
        let html = app.anonymous().get("/auth/sign-in").await.expect(200).text();
        assert!(!html.contains("/auth/register"), "{html}");
    }

    async fn who_was_invited_registers_and_is_in(database: TestDatabase) {
        let cheap = [("AUTH_ARGON2_MEMORY", "64"), ("AUTH_ARGON2_PASSES", "1"), ("AUTH_REGISTRATION", "false")];
        let (app, outbox) = start_with(database, &cheap).await;
        let team = Team::in_app(app, outbox).await;
        let anonymous = team.app.anonymous();
        let invite = async |email: &str| {
            let body = json!({ "email": email, "role": "developer" });
            team.owner().post(team.path("/invitations"), body).await.expect(201);
            team.token().await
        };
        let path = |rest: &str| format!("{PUBLIC}/invitation{rest}");
        let own = |request: omnistack_testkit::TestRequest| request.header("sec-fetch-site", "same-origin");

        let token = invite("ada@example.com").await;
        for _ in 0..2 {
            let shown = anonymous.post(path(""), json!({ "token": token })).await.expect(200).json();
            let until = shown["expires_at"].clone();
            let expected = json!({ "email": "ada@example.com", "tenant": "Acme", "role": "developer", "inviter": "owner",
                "registered": false, "expires_at": until });
            assert_eq!(shown, expected, "looking at it changes nothing");
        }
        let with = |password: &str| json!({ "token": token, "name": "Ada L.", "password": password, "mode": "cookie" });
        anonymous.post(path("/register"), with(PASSWORD)).await.expect_error(403, "CROSS_SITE_REQUEST");
        own(anonymous.post(path("/register"), with("short"))).await.expect_error(422, "VALIDATION_FAILED");
        let answer = own(anonymous.post(path("/register"), with(PASSWORD))).await.expect(200);
        assert!(answer.json().get("access_token").is_none());
        let cookies = answer.headers.get_all("set-cookie").iter();
        let jar: Vec<_> = cookies.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap()).collect();
        let get = async |path: &str| anonymous.get(path).header("cookie", jar.join("; ")).await.expect(200).json();
        let me = get("/api/v1/app/users/me").await;
        assert_eq!((&me["email"], &me["name"]), (&json!("ada@example.com"), &json!("Ada L.")));
        assert!(me["email_verified_at"].is_string(), "{me}");
        assert_eq!(get(&team.path("")).await["role"], "developer");
        // The token is used up, and the password signs in.
        anonymous.post(path(""), json!({ "token": token })).await.expect_error(404, "INVITATION_INVALID");
        own(anonymous.post(path("/register"), with(PASSWORD))).await.expect_error(404, "INVITATION_INVALID");
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        anonymous.post(format!("{PUBLIC}/login"), body).await.expect(200);
        let entries = team.owner().get(team.path("/activity?action=member.joined")).await.expect(200).json();
        assert_eq!(entries["items"][0]["actor"], me["id"]);

        // A user with an account signs in to accept.
        let token = invite("stranger@example.com").await;
        let shown = anonymous.post(path(""), json!({ "token": token })).await.expect(200).json();
        assert_eq!(shown["registered"], true);
        let body = json!({ "token": token, "password": PASSWORD });
        anonymous.post(path("/register"), &body).await.expect_error(409, "ACCOUNT_EXISTS");
        anonymous.post(path(""), json!({ "token": token })).await.expect(200);
        for wrong in ["", "omi_", "nonsense"] {
            anonymous.post(path(""), json!({ "token": wrong })).await.expect_error(404, "INVITATION_INVALID");
            let body = json!({ "token": wrong, "password": PASSWORD });
            anonymous.post(path("/register"), body).await.expect_error(404, "INVITATION_INVALID");
        }
    }

    async fn what_a_stranger_registered_is_the_invited_ones(database: TestDatabase) {
        let cheap = [("AUTH_ARGON2_MEMORY", "64"), ("AUTH_ARGON2_PASSES", "1"), ("AUTH_VERIFIED_EMAIL", "false")];
        let (app, outbox) = start_with(database, &cheap).await;
        let team = Team::in_app(app, outbox).await;
        let anonymous = team.app.anonymous();
        let stranger = json!({ "email": "ada@example.com", "password": "the stranger's own one" });
        anonymous.post(format!("{PUBLIC}/register"), &stranger).await.expect(202);
        let signed_in = anonymous.post(format!("{PUBLIC}/login"), &stranger).await.expect(200).json();
        team.app.run_jobs().await;
        _ = team.outbox.take();
        team.owner().post(team.path("/invitations"), json!({ "email": "ada@example.com", "role": "viewer" })).await.expect(201);
        let token = team.token().await;
        // Of two concurrent requests, one succeeds.
        let body = json!({ "token": token, "password": PASSWORD, "name": "Ada" });
        let register = async || anonymous.post(format!("{PUBLIC}/invitation/register"), &body).await.status.as_u16();
        let (one, two) = tokio::join!(register(), register());
        let mut statuses = [one, two];
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200, "{statuses:?}");
        assert!(matches!(statuses[1], 404 | 409), "{statuses:?}");
        anonymous.post(format!("{PUBLIC}/login"), &stranger).await.expect_error(401, "CREDENTIALS_INVALID");
        let before = team.app.client_with_token(signed_in["access_token"].as_str().unwrap());
        before.get("/api/v1/app/users/me").await.expect(401);
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        anonymous.post(format!("{PUBLIC}/login"), body).await.expect(200);
    }

    async fn an_invitation_is_in_the_teams_own_words(database: TestDatabase) {
        let (app, outbox) = start_app(database, |app| app.named("Shop", "1").with(Auth::built_in()).with(Mail::default())).await;
        let team = Team::in_app(app, outbox).await;
        let invite = async |email: &str| {
            team.owner().post(team.path("/invitations"), json!({ "email": email, "role": "viewer" })).await.expect(201);
            team.app.run_jobs().await;
            team.outbox.take().pop().unwrap()
        };
        let mail = invite("ada@example.com").await;
        assert_eq!(mail.subject, "owner invites you to Acme");
        let (text, html) = (mail.text.clone().unwrap(), mail.html.clone().unwrap());
        for body in [&text, &html] {
            // The mail uses the app's name.
            assert!(body.contains("Shop") && body.contains("/auth/invitation#token=omi_"), "{body}");
        }
        let overrides: TemplateOverrides = team.app.app().context().get().unwrap();
        let source = "subject: Come to {{ tenant }}\n---\n{{ button(link, 'Come') }}\n";
        overrides.save(team.id, "invitation", "en", source).await.unwrap();
        assert_eq!(invite("eve@example.com").await.subject, "Come to Acme");
    }
}

#[test]
fn nobody_is_sent_elsewhere_by_a_setting() {
    for (path, good) in
        [("/projects", true), ("https://evil.example", false), ("//evil.example", false), ("projects", false)]
    {
        let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("AUTH_AFTER_SIGN_IN", path)]);
        let built = tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(async { App::builder(config).with(Auth::built_in()).build() });
        let problems = built.err().map(|problems| problems.to_string()).unwrap_or_default();
        assert_eq!(!problems.contains("AUTH_AFTER_SIGN_IN"), good, "{path}: {problems}");
    }
}
