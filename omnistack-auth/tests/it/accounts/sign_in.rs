//! Tests of registration, sign-in and sign-out.

use omnistack_auth::{
    Auth,
    account::{Accounts, ClientInfo, SecondFactorSource, SecondFactors, SignInOutcome},
    password::{Password, PasswordCheck},
};
use omnistack_core::{BoxError, ExposeSecret as _, app::App, async_trait, identity::UserId};
use omnistack_testkit::on_each_database;

use super::*;

struct Everybody;

#[async_trait]
impl SecondFactorSource for Everybody {
    async fn of(&self, _: UserId) -> Result<Vec<String>, omnistack_auth::Error> {
        Ok(vec!["totp".into()])
    }
}

struct Leaked;

#[async_trait]
impl PasswordCheck for Leaked {
    async fn is_breached(&self, password: &Password) -> Result<bool, BoxError> {
        match password.expose_secret() {
            "the list is not there" => Err("no answer".into()),
            password => Ok(password == "an unlucky choice of words"),
        }
    }
}

on_each_database! {
    async fn who_registers_confirms_and_signs_in(database: TestDatabase) {
        let post = start(database).await;
        let registration = json!({ "email": " Ada@Example.com ", "password": PASSWORD, "name": "Ada" });
        post.post("register", registration).await.expect(202);
        let first = post.take_mails().await;
        assert_eq!((first.len(), to(&first[0])), (1, "ada@example.com"));
        post.login("ada@example.com", PASSWORD).await.expect_error(403, "EMAIL_NOT_VERIFIED");
        let second = post.token().await;
        post.confirm(&token_of(&first[0]), PASSWORD).await.expect_error(400, "TOKEN_INVALID");
        post.confirm(&second, PASSWORD).await.expect(204);

        let ada = SignedInUser::of(post.login("ADA@example.com", PASSWORD).await);
        let me = post.client(&ada).get(ME).await.expect(200).json();
        assert_eq!((&me["email"], &me["name"]), (&json!("ada@example.com"), &json!("Ada")));
        assert!(me["email_verified_at"].is_string() && me["tenant_id"].is_string());
        assert_eq!(me["permissions"], json!(["*"]));

        post.post("logout", json!({ "refresh_token": ada.refresh })).await.expect(204);
        post.post("logout", json!({ "refresh_token": "omr_nonsense" })).await.expect(204);
        post.client(&ada).get(ME).await.expect(401);
        post.refresh(&ada).await.expect_error(401, "REFRESH_TOKEN_INVALID");
        let expected = ["account.registered", "account.email_verified", "account.signed_in"];
        assert_eq!(post.audit_actions().await, expected);
    }

    async fn whether_an_address_must_be_confirmed_is_a_setting(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_VERIFIED_EMAIL", "false")).await;
        post.post("register", json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(202);
        let ada = post.signed_in("ada@example.com").await;
        assert!(post.client(&ada).get(ME).await.expect(200).json()["email_verified_at"].is_null());
        // The last registration of an unverified address wins, and the previous one is signed out.
        post.post("register", json!({ "email": "ada@example.com", "password": OTHER })).await.expect(202);
        post.client(&ada).get(ME).await.expect(401);
        post.login("ada@example.com", PASSWORD).await.expect(401);
        post.login("ada@example.com", OTHER).await.expect(200);
    }

    async fn registering_can_be_closed(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_REGISTRATION", "false")).await;
        let hashes = HashCounter::start();
        post.post("register", json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(403);
        assert_eq!(hashes.take(), 0);
    }

    async fn passwords_that_would_be_guessed_are_refused(database: TestDatabase) {
        let post = start_with(database, |app| app.set("EMAIL_PRODUCT", "Gloomhaven")).await;
        for (password, taken) in [
            ("fourteen chars", false),
            ("passwordpassword", false),
            ("ada.lovelace1815!", false),
            ("Gloomhaven123456", false),
            ("correct horse battery", true),
            ("ein Fisch fährt Rad 🚲", true),
        ] {
            let body = json!({ "email": "ada.lovelace@example.com", "password": password });
            let answer = post.post("register", body).await;
            assert_eq!(answer.status.as_u16(), if taken { 202 } else { 422 }, "{password}: {}", answer.text());
            if !taken {
                assert_eq!(answer.json()["error"]["details"]["fields"][0]["field"], "password");
                assert!(!answer.text().contains(password), "{}", answer.text());
            }
        }
        let long = "a b".repeat(100);
        post.post("register", json!({ "email": "a@example.com", "password": long })).await.expect(422);
        post.login("a@example.com", &long).await.expect(422);
    }

    async fn the_same_keys_typed_on_two_devices_are_one_password(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_VERIFIED_EMAIL", "false")).await;
        let composed = json!({ "email": "ada@example.com", "password": "un caf\u{e9} bien serr\u{e9}" });
        post.post("register", composed).await.expect(202);
        post.login("ada@example.com", "un cafe\u{301} bien serre\u{301}").await.expect(200);
    }

    async fn a_password_known_from_a_breach_is_refused(database: TestDatabase) {
        let (sent, mailer) = memory();
        let app = TestApp::start_with_auth(database, |app| {
            let app = app.set("AUTH_ARGON2_MEMORY", "64").set("AUTH_ARGON2_PASSES", "1").replace(mailer);
            app.with(Auth::built_in().password_check(Leaked))
        });
        let post = AccountsApp { app: app.await, sent };
        for (password, status) in [("an unlucky choice of words", 422), ("the list is not there", 202)] {
            post.post("register", json!({ "email": "a@example.com", "password": password })).await.expect(status);
        }
    }

    async fn a_costlier_hash_takes_the_place_of_a_cheap_one(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let kept = || async {
            let hash = post.app.db().query("select password_hash from omni_users").fetch_one::<(String,)>().await;
            hash.unwrap().0
        };
        assert!(kept().await.contains("$m=64,t=1,p=1$"));
        // The next release uses a higher hashing cost.
        let costly = App::builder(post.app.database().config())
            .clock(post.app.clock().clock())
            .set("AUTH_ARGON2_MEMORY", "64")
            .set("AUTH_ARGON2_PASSES", "2")
            .with(Auth::built_in())
            .build()
            .unwrap();
        costly.start().await.unwrap();
        let accounts: Accounts = costly.context().get().unwrap();
        let wrong = accounts.sign_in("ada@example.com", &Password::new(OTHER).unwrap(), &ClientInfo::default()).await;
        assert!(wrong.is_err() && kept().await.contains("t=1"));
        let password = Password::new(PASSWORD).unwrap();
        let done = accounts.sign_in("ada@example.com", &password, &ClientInfo::default()).await.unwrap();
        assert!(matches!(done, SignInOutcome::Authenticated(_)));
        assert!(kept().await.contains("$m=64,t=2,p=1$"));
        post.login("ada@example.com", PASSWORD).await.expect(200);
    }

    async fn a_device_not_seen_before_is_told_of(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        for (agent, peer, mails) in [
            ("laptop", "192.0.2.1", 0),
            ("laptop", "192.0.2.1", 0),
            ("phone https://evil.example/\tx", "192.0.2.1", 1),
            ("laptop", "192.0.2.2", 1),
            ("laptop", "192.0.2.1", 0),
        ] {
            let body = json!({ "email": "ada@example.com", "password": PASSWORD });
            let request = post.app.anonymous().post(format!("{PUBLIC}/login"), body);
            request.header("user-agent", agent).client_ip(peer.parse().unwrap()).await.expect(200);
            let sent = post.take_mails().await;
            assert_eq!(sent.len(), mails, "{agent} {peer}");
            if let Some(mail) = sent.first() {
                assert!(text(mail).contains(peer) && text(mail).contains(&agent[..5]), "{}", text(mail));
                assert!(!text(mail).contains("https://evil") && !text(mail).contains(char::from(9)), "{}", text(mail));
            }
        }
    }

    async fn with_a_second_factor_a_password_is_half_a_sign_in(database: TestDatabase) {
        let post = start_with(database, |app| app.replace(SecondFactors::new(Everybody))).await;
        post.registered("ada@example.com").await;
        let challenge = |answer: TestResponse| {
            let body = answer.expect(202).json();
            assert_eq!((&body["needed"], &body["methods"]), (&json!("second_factor"), &json!(["totp"])));
            assert!(body.get("access_token").is_none());
            body["challenge"].as_str().unwrap().to_owned()
        };
        let accounts: Accounts = post.app.app().context().get().unwrap();
        let finish = |challenge: String, shown: bool| {
            let accounts = accounts.clone();
            async move { accounts.complete_mfa(&challenge, &ClientInfo::default(), |_| async move { Ok(shown) }).await.is_ok() }
        };
        let first = challenge(post.login("ada@example.com", PASSWORD).await);
        let second = challenge(post.login("ada@example.com", PASSWORD).await);
        assert!(!finish(first, true).await, "a newer one has taken its place");
        assert!(!finish(second.clone(), false).await);
        assert!(!finish(second, true).await, "it is good once");
        let third = challenge(post.login("ada@example.com", PASSWORD).await);
        let (one, two) = tokio::join!(finish(third.clone(), true), finish(third, true));
        assert!(one != two, "of two at once, one");
        let late = challenge(post.login("ada@example.com", PASSWORD).await);
        post.app.clock().advance(6 * MINUTE);
        assert!(!finish(late, true).await);

        // A magic link is one factor too.
        post.post("magic-link", json!({ "email": "ada@example.com" })).await.expect(202);
        let token = post.token().await;
        let challenge = challenge(post.post("magic-link/verify", json!({ "token": token })).await);
        assert!(finish(challenge, true).await);
    }

    async fn an_app_in_development_begins_with_an_owner(database: TestDatabase) {
        let owners = |app: &TestApp| {
            let db = app.db().clone();
            async move {
                let sql = "select email, operator, password_hash is not null from omni_users";
                db.query(sql).fetch_all::<(String, bool, bool)>().await.unwrap()
            }
        };
        let none = start(database).await;
        assert!(owners(&none.app).await.is_empty(), "not in tests");
        let development = |auth: Auth| {
            let app = App::builder(none.app.database().config()).clock(none.app.clock().clock());
            app.set("AUTH_ARGON2_MEMORY", "64").set("APP_ENV", "development").with(auth).build().unwrap()
        };
        let (one, two) = (development(Auth::built_in()), development(Auth::from_env()));
        let (first, second) = tokio::join!(one.start(), two.start());
        first.unwrap();
        second.unwrap();
        assert_eq!(owners(&none.app).await, [("owner@example.com".to_owned(), true, true)]);
    }
}
