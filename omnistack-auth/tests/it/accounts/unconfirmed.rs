//! Tests of accounts with unverified addresses: everything a stranger set up there becomes invalid once the mailbox's
//! owner signs in.

use omnistack_auth::session::Sessions;
use omnistack_core::{app::App, config::Config, identity::UserId};
use omnistack_testkit::on_each_database;

use super::*;

const STRANGERS: &str = "what the stranger chose";

async fn register(post: &AccountsApp, email: &str, password: &str) {
    post.post("register", json!({ "email": email, "password": password })).await.expect(202);
}

/// The credentials of a stranger who registered another user's address and signed in, which does not require a
/// verified address.
struct Stranger {
    email: &'static str,
    user: UserId,
    signed: SignedInUser,
    key: TestClient,
    /// The token of the mail to the address.
    link: String,
}

impl Stranger {
    async fn registers(post: &AccountsApp, email: &'static str) -> Self {
        register(post, email, STRANGERS).await;
        let link = post.token().await;
        let signed = SignedInUser::of(post.login(email, STRANGERS).await);
        let client = post.client(&signed);
        let me = client.get(ME).await.expect(200).json();
        let key = client.post("/api/v1/app/api-keys", json!({ "name": "robot", "scopes": ["*:read"] }));
        let key = key.header("x-tenant-id", me["tenant_id"].as_str().unwrap()).await.expect(201).json();
        let key = post.app.client_with_token(key["secret"].as_str().unwrap());
        key.get(ME).await.expect(200);
        // The mail about the new API key.
        _ = post.take_mails().await;
        let user: UserId = me["id"].as_str().unwrap().parse().unwrap();
        let sql = "insert into omni_identities (issuer, subject, user_id, claims, created_at, updated_at) \
                   values ('https://id.example', $1, $2, $3, $4, $4)";
        let insert = post.app.db().query(sql).bind(email).bind(user).bind(vec![0_u8]);
        insert.bind(post.app.clock().clock().now()).execute().await.unwrap();
        Self { email, user, signed, key, link }
    }

    /// Asserts that none of the stranger's credentials work.
    async fn assert_signed_out(&self, post: &AccountsApp, what: &str) {
        post.login(self.email, STRANGERS).await.expect_error(401, "CREDENTIALS_INVALID");
        post.client(&self.signed).get(ME).await.expect(401);
        post.refresh(&self.signed).await.expect(401);
        self.key.get(ME).await.expect(401);
        let sql = "select count(*) from omni_identities where subject = $1";
        let count = post.app.db().query(sql).bind(self.email).fetch_one::<(i64,)>().await.unwrap();
        assert_eq!(count, (0,), "{what}");
    }
}

on_each_database! {
    async fn a_click_makes_no_strangers_password_good(database: TestDatabase) {
        let post = start(database).await;
        register(&post, "ada@example.com", PASSWORD).await;
        _ = post.take_mails().await;
        register(&post, "ada@example.com", STRANGERS).await;
        let token = post.token().await;
        let verify = |body: Value| {
            let mut body = body;
            body["token"] = token.as_str().into();
            post.post("verify-email", body)
        };
        for (body, field) in [
            (json!({}), "password"),
            (json!({ "password": PASSWORD }), "password"),
            (json!({ "password": STRANGERS, "new_password": OTHER }), "password"),
            (json!({ "new_password": "too short" }), "new_password"),
        ] {
            let refused = verify(body.clone()).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(refused["error"]["details"]["fields"][0]["field"], field, "{body}");
        }
        assert!(post.audit_actions().await.contains(&"account.password_refused".to_owned()));
        post.login("ada@example.com", STRANGERS).await.expect_error(403, "EMAIL_NOT_VERIFIED");
        let token = post.token().await;
        post.post("verify-email", json!({ "token": token, "new_password": OTHER })).await.expect(204);
        post.login("ada@example.com", STRANGERS).await.expect_error(401, "CREDENTIALS_INVALID");
        post.login("ada@example.com", OTHER).await.expect(200);
        post.confirm(&token, OTHER).await.expect_error(400, "TOKEN_INVALID");
    }

    async fn the_reader_of_a_link_has_few_guesses_at_its_password(database: TestDatabase) {
        let post = start(database).await;
        register(&post, "ada@example.com", PASSWORD).await;
        let token = post.token().await;
        for _ in 0..5 {
            post.confirm(&token, OTHER).await.expect(422);
        }
        post.confirm(&token, PASSWORD).await.expect_error(429, "TOO_MANY_ATTEMPTS");
        post.app.clock().advance(Duration::from_secs(30));
        post.confirm(&token, PASSWORD).await.expect(204);
        post.login("ada@example.com", PASSWORD).await.expect(200);
    }

    async fn what_a_stranger_set_is_forgotten_whatever_link_confirms(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_VERIFIED_EMAIL", "false")).await;
        for (email, ask, take, body, status) in [
            ("a@example.com", "", "verify-email", json!({ "new_password": PASSWORD }), 204),
            ("b@example.com", "forgot-password", "reset-password", json!({ "password": PASSWORD }), 200),
            ("c@example.com", "magic-link", "magic-link/verify", json!({}), 200),
            ("d@example.com", "register", "verify-email", json!({ "password": PASSWORD }), 204),
        ] {
            let stranger = Stranger::registers(&post, email).await;
            let token = match ask {
                "" => stranger.link.clone(),
                ask => {
                    let mut body = json!({ "email": email });
                    if ask == "register" {
                        body["password"] = PASSWORD.into();
                    }
                    post.post(ask, body).await.expect(202);
                    post.token().await
                }
            };
            let mut body = body;
            body["token"] = token.into();
            post.post(take, body).await.expect(status);
            _ = post.take_mails().await;
            stranger.assert_signed_out(&post, take).await;
        }
        // A user who registers and then verifies the address keeps everything created in between.
        let own = Stranger::registers(&post, "e@example.com").await;
        post.confirm(&own.link, STRANGERS).await.expect(204);
        own.key.get(ME).await.expect(200);
        post.client(&own.signed).get(ME).await.expect(200);
    }

    async fn who_registered_the_operators_address_before_operates_nothing(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_VERIFIED_EMAIL", "false")).await;
        let stranger = Stranger::registers(&post, "admin@example.com").await;
        // The next start has this address in its settings, in another spelling.
        let restart = async || {
            let app = App::builder(post.app.database().config()).clock(post.app.clock().clock());
            let app = app.set("AUTH_ARGON2_MEMORY", "64").set("AUTH_OPERATOR_EMAIL", " Admin@Example.com");
            app.with(Auth::built_in()).build().unwrap().start().await.unwrap();
        };
        restart().await;
        let mails = post.take_mails().await;
        assert_eq!((mails.len(), to(&mails[0]), template(&mails[0])), (1, "admin@example.com", "reset"));
        // That was another process. Without Redis, this one caches identities for a minute.
        post.app.app().context().get::<Sessions>().unwrap().invalidate_user(stranger.user).await;
        stranger.assert_signed_out(&post, "the first operator").await;
        post.confirm(&stranger.link, STRANGERS).await.expect_error(400, "TOKEN_INVALID");

        let body = json!({ "token": token_of(&mails[0]), "password": PASSWORD });
        post.post("reset-password", body).await.expect(200);
        let admin = post.signed_in("admin@example.com").await;
        post.client(&admin).get("/api/v1/admin/users").await.expect(200);
        // There is an operator now, so further starts create none and send no mail.
        _ = post.take_mails().await;
        restart().await;
        assert!(post.take_mails().await.is_empty());
    }

    async fn the_first_operator_is_sent_a_link_to_choose_a_password(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_OPERATOR_EMAIL", "admin@exämple.com")).await;
        let mails = post.take_mails().await;
        assert_eq!((mails.len(), to(&mails[0]), template(&mails[0])), (1, "admin@xn--exmple-cua.com", "reset"));
    }
}

#[test]
fn an_operators_address_that_is_none_is_a_problem_at_start() {
    for (name, value) in [("AUTH_OPERATOR_EMAIL", "admin"), ("TENANT_DOMAIN", "https://example.com")] {
        let pairs = [("DATABASE_URL", "sqlite::memory:"), (name, value)];
        let build = async { App::builder(Config::from_pairs(pairs)).with(Auth::built_in()).build() };
        let problems = tokio::runtime::Runtime::new().unwrap().block_on(build).err().unwrap();
        assert!(problems.to_string().contains(name), "{problems}");
    }
}
