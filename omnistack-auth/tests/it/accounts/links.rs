//! Tests of links in mails: each works once, for a limited time, for one purpose.

use omnistack_testkit::on_each_database;

use super::*;

/// The route that requests a link without a session, the route that uses it, its status, and the link's lifetime.
const LINKS: [(&str, &str, u16, Duration); 3] = [
    ("register", "verify-email", 204, Duration::from_secs(24 * 60 * 60)),
    ("forgot-password", "reset-password", 200, Duration::from_secs(60 * 60)),
    ("magic-link", "magic-link/verify", 200, Duration::from_secs(10 * 60)),
];

fn asking(ask: &str) -> Value {
    let mut body = json!({ "email": "ada@example.com" });
    if ask == "register" {
        body["password"] = PASSWORD.into();
    }
    body
}

fn using(take: &str, token: &str) -> Value {
    let mut body = json!({ "token": token });
    match take {
        "verify-email" => body["password"] = PASSWORD.into(),
        "reset-password" => body["password"] = OTHER.into(),
        _ => {}
    }
    body
}

on_each_database! {
    async fn a_link_is_good_once_and_for_its_time(database: TestDatabase) {
        let post = &start(database).await;
        for (ask, take, status, lifetime) in LINKS {
            let link = || async {
                // Later than the limit of mails per recipient.
                post.app.clock().advance(3 * 60 * MINUTE);
                post.post(ask, asking(ask)).await.expect(202);
                post.token().await
            };
            let (older, old) = (link().await, link().await);
            let refused = |token: String| async move {
                post.post(take, using(take, &token)).await.expect_error(400, "TOKEN_INVALID");
            };
            refused(older).await;
            for other in LINKS.iter().filter(|other| other.1 != take) {
                post.post(other.1, using(other.1, &old)).await.expect_error(400, "TOKEN_INVALID");
            }
            post.app.clock().advance(lifetime);
            refused(old).await;
            let fresh = link().await;
            post.app.clock().advance(lifetime.saturating_sub(Duration::from_secs(1)));
            for nonsense in ["", "omo_", "hello", &fresh.to_uppercase(), &fresh[..fresh.len() - 1]] {
                refused(nonsense.to_owned()).await;
            }
            // A GET request of a mail scanner does not use up the token.
            let got = post.app.anonymous().get(format!("{PUBLIC}/{take}")).await;
            assert_eq!(got.status.as_u16(), 405);
            let race = || post.post(take, using(take, &fresh));
            let (one, two) = tokio::join!(race(), race());
            let mut both = [one.status.as_u16(), two.status.as_u16()];
            both.sort_unstable();
            assert_eq!(both, [status, 400], "{take}: of two at once, one");
            refused(fresh).await;
            _ = post.take_mails().await;
        }
    }

    async fn a_new_password_ends_what_was_before(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let thief = post.signed_in("ada@example.com").await;
        post.client(&thief).get(ME).await.expect(200);
        for _ in 0..6 {
            post.login("ada@example.com", OTHER).await;
        }
        post.login("ada@example.com", PASSWORD).await.expect_error(429, "TOO_MANY_ATTEMPTS");
        for ask in ["magic-link", "forgot-password"] {
            post.post(ask, json!({ "email": "ada@example.com" })).await.expect(202);
        }
        let mails = post.take_mails().await;
        let of = |page: &str| token_of(mails.iter().find(|mail| text(mail).contains(page)).unwrap());
        let (magic, reset) = (of("/auth/magic-link#"), of("/auth/reset-password#"));
        let hashes = HashCounter::start();
        let body = |token: &str, password: &str| json!({ "token": token, "password": password });
        post.post("reset-password", body(&reset, "short")).await.expect_error(422, "VALIDATION_FAILED");
        post.post("reset-password", body("omo_made-up", OTHER)).await.expect_error(400, "TOKEN_INVALID");
        assert_eq!(hashes.take(), 0, "nothing was hashed for these");
        post.post("reset-password", body(&reset, OTHER)).await.expect(200);
        assert_eq!(hashes.take(), 1);

        post.client(&thief).get(ME).await.expect(401);
        post.refresh(&thief).await.expect(401);
        post.post("magic-link/verify", json!({ "token": magic })).await.expect_error(400, "TOKEN_INVALID");
        post.login("ada@example.com", PASSWORD).await.expect_error(401, "CREDENTIALS_INVALID");
        post.login("ada@example.com", OTHER).await.expect(200);
        let told = post.take_mails().await;
        assert!(told[0].subject.contains("was changed"), "{told:?}");
        assert!(post.audit_actions().await.contains(&"account.password_reset".to_owned()));
    }

    async fn a_reset_confirms_the_address(database: TestDatabase) {
        let post = start(database).await;
        post.post("register", asking("register")).await.expect(202);
        _ = post.take_mails().await;
        post.post("forgot-password", asking("forgot-password")).await.expect(202);
        let token = post.token().await;
        post.post("reset-password", using("reset-password", &token)).await.expect(200);
        post.login("ada@example.com", OTHER).await.expect(200);
    }

    async fn a_link_forgets_the_password_of_who_registered_somebody_elses_address(database: TestDatabase) {
        let post = start_with(database, |app| app.set("AUTH_VERIFIED_EMAIL", "false")).await;
        post.post("register", asking("register")).await.expect(202);
        _ = post.take_mails().await;
        let squatter = post.signed_in("ada@example.com").await;
        post.client(&squatter).get(ME).await.expect(200);
        post.post("magic-link", asking("magic-link")).await.expect(202);
        let token = post.token().await;
        let ada = SignedInUser::of(post.post("magic-link/verify", json!({ "token": token })).await);
        post.client(&squatter).get(ME).await.expect(401);
        post.login("ada@example.com", PASSWORD).await.expect(401);

        // She sets a password, which requires a fresh sign-in.
        post.client(&ada).get(ME).await.expect(200);
        post.app.clock().advance(9 * MINUTE);
        let change = json!({ "new_password": OTHER });
        let late = SignedInUser::of(post.post("refresh", json!({ "refresh_token": ada.refresh })).await);
        post.client(&late).post(format!("{APP}/password"), &change).await.expect(200);
        post.login("ada@example.com", OTHER).await.expect(200);
    }

    async fn one_recipient_gets_few_mails_and_nobody_is_told(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let mut sent = 0;
        for _ in 0..12 {
            let answer = post.post("forgot-password", json!({ "email": "ada@example.com" })).await;
            assert_eq!(comparable(&answer).0, 202);
            sent += post.take_mails().await.len();
        }
        assert_eq!(sent, 5);
        // A caller who requests links for many addresses is limited.
        let mut refused = 0;
        for number in 0..40 {
            let body = json!({ "email": format!("{number}@example.com") });
            refused += u32::from(post.post("magic-link", body).await.status.as_u16() == 429);
        }
        assert!(refused > 10, "{refused}");
    }
}
