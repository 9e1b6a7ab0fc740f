//! Tests of what an app leaves out of the module, or replaces in it.

use omnistack_auth::{Auth, AuthRoutes};
use omnistack_core::{
    app::{App, AppBuilder},
    config::Config,
};
use omnistack_messaging::email::Mail;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::support::{start_app, verified};

const REGISTER: &str = "/api/v1/public/auth/register";

fn problems(assemble: impl FnOnce(AppBuilder) -> AppBuilder) -> Vec<String> {
    let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
    let error = assemble(App::builder(config)).build().err();
    error.map(|error| error.0.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

on_each_database! {
    async fn routes_that_a_product_does_not_have_are_left_out(database: TestDatabase) {
        let all = [
            AuthRoutes::Teams,
            AuthRoutes::Invitations,
            AuthRoutes::CustomRoles,
            AuthRoutes::ApiKeys,
            AuthRoutes::Passkeys,
            AuthRoutes::Impersonation,
            AuthRoutes::Operators,
            AuthRoutes::AuditLogs,
        ];
        let auth = all.into_iter().fold(Auth::built_in(), Auth::without);
        let (app, _) = start_app(database, |app| app.with(auth)).await;
        let paths: Vec<_> = app.app().routes().iter().filter(|route| route.module == "auth").map(|route| route.path.as_str()).collect();
        for part in ["/teams", "/invitation", "/roles", "/api-keys", "/passkey", "/impersonat", "/admin/"] {
            assert!(!paths.iter().any(|path| path.contains(part)), "{part}: {paths:?}");
        }
        assert!(paths.contains(&"/auth/sign-in") && !paths.contains(&"/auth/invitation"));
        // Accounts work without them, with the personal tenant of the user.
        let (_, ada) = verified(&app, "ada@example.com").await;
        ada.get("/api/v1/app/users/me").await.expect(200);
        ada.get("/api/v1/app/tenants/current").await.expect(200);
        ada.get("/api/v1/app/teams").await.expect_error(404, "NOT_FOUND");
    }

    async fn a_page_is_replaced_by_the_apps_own(database: TestDatabase) {
        let auth = Auth::built_in().page("error", "<!doctype html><title>Sorry</title>");
        let (app, _) = start_app(database, |app| app.with(auth)).await;
        let page = app.anonymous().get("/auth/error").await.expect(200);
        assert_eq!(page.text(), "<!doctype html><title>Sorry</title>");
        assert!(page.header("content-security-policy").unwrap().contains("script-src 'self'"));
        assert!(app.anonymous().get("/auth/sign-in").await.expect(200).text().contains("data-form=\"sign-in\""));
    }

    async fn the_source_of_one_mail_is_replaced(database: TestDatabase) {
        let mail = Mail::default()
            .source("notification/already_registered", "en", "subject: You know us\n---\n{% for line in paragraphs %}{{ line }}{% endfor %}")
            .source("footer", "en", "Acme Ltd., 1 Main Street");
        let (app, sent) = start_app(database, |app| {
            let app = app.set("AUTH_ARGON2_MEMORY", "64").set("AUTH_ARGON2_PASSES", "1");
            app.with(Auth::built_in()).with(mail)
        })
        .await;
        verified(&app, "ada@example.com").await;
        let body = json!({ "email": "ada@example.com", "password": "correct horse battery" });
        app.anonymous().post(REGISTER, body).await.expect(202);
        app.run_jobs().await;
        let mails = sent.take();
        assert_eq!(mails.len(), 1);
        assert_eq!(mails[0].subject, "You know us");
        assert!(mails[0].text.as_deref().unwrap().contains("Acme Ltd., 1 Main Street"));
    }
}

#[tokio::test]
async fn the_build_names_the_pages_that_call_a_route() {
    const FIX: &str = "\n      fix: keep it, or leave the pages out as well: `Auth::without_pages()`";
    let without = |auth: Auth| problems(|app| app.with(auth).without_routes("auth", "/api/v1/public/auth/register"));
    let expected = format!("auth: the page /auth/register calls POST {REGISTER}, which the app leaves out{FIX}");
    assert_eq!(without(Auth::built_in()), [expected]);
    assert_eq!(without(Auth::built_in().without_pages()), Vec::<String>::new());
    assert_eq!(without(Auth::built_in().page("register", "<p>Ask us for an account.</p>")), Vec::<String>::new());
    // Mails link to a page that the app neither has nor serves itself.
    let gone = problems(|app| app.with(Auth::built_in()).without_routes("auth", "/auth/verify-email"));
    let expected = format!("auth: mails link to GET /auth/verify-email, which the app leaves out{FIX}");
    assert_eq!(gone, [expected]);
    let moved =
        problems(|app| app.with(Auth::built_in()).move_routes("auth", "/api/v1/app/users/me", "/api/v1/app/me"));
    assert_eq!(moved.len(), 2, "{moved:?}");
    assert!(
        moved[0].contains(
            "the page /auth/security calls GET /api/v1/app/users/me, which the app has moved to /api/v1/app/me"
        )
    );
}

#[tokio::test]
async fn pages_and_sources_that_do_not_exist_are_problems() {
    let unknown = problems(|app| app.with(Auth::built_in().page("sing-in", "")));
    assert!(unknown.len() == 1 && unknown[0].starts_with("auth: has no page `sing-in` to replace"), "{unknown:?}");
    assert!(unknown[0].contains("sign-in"), "{unknown:?}");
    for (name, source, expected) in [
        ("verfy", "subject: x\n---\nx", "there is no template of this name"),
        ("verify", "subject: x\n---\n{{ lnk }}", "template `verify`"),
    ] {
        let found = problems(|app| app.with(Mail::default().source(name, "en", source)));
        assert!(found.iter().any(|problem| problem.contains(expected)), "{found:?}");
    }
}
