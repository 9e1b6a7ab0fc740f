//! Tests of the lockout after failed sign-ins.

use std::net::IpAddr;

use futures_util::{
    future::{join, join_all, maybe_done},
    poll,
};
use omnistack_auth::password::{Password, Passwords};
use omnistack_testkit::on_each_database;
use tracing::instrument::WithSubscriber as _;

use super::*;

async fn guess(post: &AccountsApp, email: &str, password: &str, from: IpAddr) -> (u16, Option<u64>) {
    let body = json!({ "email": email, "password": password });
    let answer = post.app.anonymous().post(format!("{PUBLIC}/login"), body).client_ip(from).await;
    let retry = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
    (answer.status.as_u16(), retry)
}

const DEVICE: &str = "__Host-omnistack-device";

/// Signs in and returns the cookie of the known device.
async fn device(post: &AccountsApp, email: &str) -> String {
    let body = json!({ "email": email, "password": PASSWORD, "mode": "cookie" });
    let request = post.app.anonymous().post(format!("{PUBLIC}/login"), body).header("sec-fetch-site", "same-origin");
    let from = IpAddr::from([203, 0, 113, 7]);
    let cookie = format!("{DEVICE}=");
    let answer = request.client_ip(from).await.expect(200);
    let mut cookies = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let found = cookies.find_map(|value| value.strip_prefix(&cookie)).unwrap();
    found.split(';').next().unwrap().to_owned()
}

/// Returns the status of a sign-in of Ada with the cookie of a device.
async fn try_from(post: &AccountsApp, device: &str, password: &str) -> u16 {
    let body = json!({ "email": "ada@example.com", "password": password });
    let request = post.app.anonymous().post(format!("{PUBLIC}/login"), body);
    request.header("cookie", format!("{DEVICE}={device}")).await.status.as_u16()
}

on_each_database! {
    async fn an_account_waits_longer_each_time_and_never_for_good(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        // From different addresses, so that only the account's limit applies.
        let from = |number: u32| IpAddr::from((0xc000_0200_u32 + number).to_be_bytes());
        let hashes = HashCounter::start();
        // An address without an account is delayed too.
        for email in ["ada@example.com", "nobody@example.com"] {
            for number in 0..5 {
                assert_eq!(guess(&post, email, OTHER, from(number)).await, (401, None), "{email} {number}");
            }
            for (number, wait) in [(5, 30), (6, 60), (7, 120), (8, 240), (9, 480), (10, 900), (11, 900)] {
                hashes.take();
                let right = guess(&post, email, PASSWORD, from(number)).await;
                assert_eq!(right, (429, Some(wait)), "{email} {number}");
                post.app.clock().advance(Duration::from_secs(wait - 1));
                assert_eq!(guess(&post, email, PASSWORD, from(number)).await, (429, Some(1)));
                assert_eq!(hashes.take(), 0, "who waits costs no hash");
                post.app.clock().advance(Duration::from_secs(1));
                assert_eq!(guess(&post, email, OTHER, from(number)).await.0, 401);
            }
        }
        post.app.clock().advance(15 * MINUTE);
        assert_eq!(guess(&post, "ada@example.com", PASSWORD, from(50)).await.0, 200);
        assert_eq!(guess(&post, "ada@example.com", OTHER, from(51)).await.0, 401, "the count began anew");
    }

    async fn many_right_sign_ins_at_once_are_no_guesses(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        for number in 0..40 {
            // Avoids the limit of mails.
            post.app.clock().advance(61 * MINUTE);
            post.registered(&format!("user{number}@example.com")).await;
        }
        let from = IpAddr::from([198, 51, 100, 1]);
        // Of one account, and of many accounts behind one client address.
        let one = (0..12).map(|_| "ada@example.com".to_owned());
        let many = (0..40).map(|number| format!("user{number}@example.com"));
        for emails in [one.collect::<Vec<_>>(), many.collect()] {
            let signing_in = emails.into_iter().map(|email| {
                let (client, body) = (post.app.anonymous(), json!({ "email": email, "password": PASSWORD }));
                tokio::spawn(async move { client.post(format!("{PUBLIC}/login"), body).client_ip(from).await.status.as_u16() })
            });
            for signed_in in join_all(signing_in).await {
                assert_eq!(signed_in.unwrap(), 200);
            }
        }
    }

    async fn many_guesses_at_once_are_counted_one_by_one(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let hashes = HashCounter::start();
        let guesses = (0..20).map(|number| {
            let (client, from) = (post.app.anonymous(), IpAddr::from([198, 51, 100, number]));
            let body = json!({ "email": "ada@example.com", "password": format!("{OTHER} {number}") });
            let guess = async move { client.post(format!("{PUBLIC}/login"), body).client_ip(from).await.status.as_u16() };
            tokio::spawn(guess.with_current_subscriber())
        });
        let guesses: Vec<_> = guesses.collect();
        let mut wrong = 0;
        for guess in guesses {
            match guess.await.unwrap() {
                401 => wrong += 1,
                status => assert_eq!(status, 429),
            }
        }
        assert_eq!((wrong, hashes.take()), (5, 5));
    }

    async fn spraying_many_accounts_from_one_place_is_bounded(database: TestDatabase) {
        let post = start(database).await;
        let hashes = HashCounter::start();
        // Addresses of one IPv6 network count as one.
        let from = |number: u16| IpAddr::from([0x2001, 0xdb8, 1, 2, number, 0, 0, number]);
        for number in 0..40 {
            let expected = if number < 30 { 401 } else { 429 };
            let email = format!("user{number}@example.com");
            assert_eq!(guess(&post, &email, OTHER, from(number)).await.0, expected, "{number}");
        }
        assert_eq!(hashes.take(), 30);
        let elsewhere = IpAddr::from([0x2001, 0xdb8, 1, 3, 0, 0, 0, 1]);
        assert_eq!(guess(&post, "user1@example.com", OTHER, elsewhere).await.0, 401);
        // The audit log is bounded too.
        assert!(post.audit_actions().await.len() <= 60);
    }

    async fn a_link_ends_the_wait(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        for _ in 0..5 {
            post.login("ada@example.com", OTHER).await.expect(401);
        }
        post.login("ada@example.com", PASSWORD).await.expect_error(429, "TOO_MANY_ATTEMPTS");
        post.post("magic-link", json!({ "email": "ada@example.com" })).await.expect(202);
        let token = post.token().await;
        post.post("magic-link/verify", json!({ "token": token })).await.expect(200);
        post.login("ada@example.com", PASSWORD).await.expect(200);
    }

    async fn a_stranger_locks_nobody_out(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let ada = post.signed_in("ada@example.com").await;
        let device = device(&post, "ada@example.com").await;
        _ = post.take_mails().await;
        // Every request about her that needs no session: wrong passwords, and mails whose links she can't have
        // requested.
        for number in 0..6_u8 {
            guess(&post, "ada@example.com", OTHER, IpAddr::from([192, 0, 2, number])).await;
            post.post("register", json!({ "email": "ada@example.com", "password": OTHER })).await.expect(202);
        }
        // Five with the mail of her own registration.
        assert_eq!(post.take_mails().await.len(), 4);
        post.login("ada@example.com", PASSWORD).await.expect_error(429, "TOO_MANY_ATTEMPTS");

        // A known device can still sign in. A cookie of another account and an invalid cookie have no effect.
        post.registered("eve@example.com").await;
        for (cookie, status) in [(device.as_str(), 200), (&self::device(&post, "eve@example.com").await, 429), ("x", 429)] {
            assert_eq!(try_from(&post, cookie, PASSWORD).await, status);
        }
        // Her session can still change the account.
        let change = json!({ "email": "new@example.com", "password": PASSWORD });
        post.client(&ada).post(format!("{APP}/email"), change).await.expect(202);
        assert_eq!(post.take_mails().await.len(), 1);
        // Links can be requested, and using one allows another.
        for (ask, take, status) in [("magic-link", "magic-link/verify", 200), ("forgot-password", "reset-password", 200)] {
            let mut mails = Vec::new();
            for _ in 0..8 {
                post.post(ask, json!({ "email": "ada@example.com" })).await.expect(202);
                mails.extend(post.take_mails().await);
            }
            assert_eq!(mails.len(), 5, "{ask}");
            let mut body = json!({ "token": token_of(mails.last().unwrap()) });
            if take == "reset-password" {
                body["password"] = PASSWORD.into();
            }
            post.post(take, body).await.expect(status);
            _ = post.take_mails().await;
            post.post(ask, json!({ "email": "ada@example.com" })).await.expect(202);
            assert_eq!(post.take_mails().await.len(), 1, "{ask}");
        }
        post.login("ada@example.com", PASSWORD).await.expect(200);
    }

    async fn a_known_device_has_few_guesses_of_its_own(database: TestDatabase) {
        let post = start(database).await;
        post.registered("ada@example.com").await;
        let device = device(&post, "ada@example.com").await;
        for _ in 0..5 {
            assert_eq!(try_from(&post, &device, OTHER).await, 401);
        }
        assert_eq!(try_from(&post, &device, PASSWORD).await, 429);
        // On another device nothing was counted, and a new sign-in makes it a known device.
        let another = self::device(&post, "ada@example.com").await;
        assert_ne!(another, device);
        assert_eq!(try_from(&post, &another, PASSWORD).await, 200);
        assert_eq!(try_from(&post, &device, PASSWORD).await, 429);
        post.app.clock().advance(Duration::from_secs(30));
        assert_eq!(try_from(&post, &device, PASSWORD).await, 200);
        // After half a year the device is unknown again.
        post.app.clock().advance(181 * DAY);
        for _ in 0..5 {
            post.login("ada@example.com", OTHER).await.expect(401);
        }
        assert_eq!(try_from(&post, &device, PASSWORD).await, 429);
    }

    async fn a_busy_app_says_so_and_counts_nothing(database: TestDatabase) {
        let queue = |app: AppBuilder| app.set("AUTH_PASSWORD_HASH_CONCURRENCY", "1").set("AUTH_PASSWORD_HASH_QUEUE", "2");
        let post = start_with(database, queue).await;
        post.registered("ada@example.com").await;
        let passwords: Passwords = post.app.app().context().get().unwrap();
        let secret = Password::new(PASSWORD).unwrap();
        let hashes = HashCounter::start();
        // One hash that runs, and one that waits for it, unless the first one has ended before.
        let (running, waiting) = loop {
            let [mut first, mut second] = [(); 2].map(|()| Box::pin(maybe_done(passwords.hash(&secret))));
            let pending = poll!(&mut first).is_pending() & poll!(&mut second).is_pending();
            if pending && hashes.take() == 1 {
                break (first, second);
            }
            join(first, second).await;
            hashes.take();
        };
        // The one that waits is next, and keeps its place while it is not polled; so do those after it.
        running.await;
        let mut after = [(); 2].map(|()| Box::pin(passwords.hash(&secret)));
        for hash in &mut after {
            assert!(poll!(hash).is_pending());
        }
        let taken = (waiting, after);
        for _ in 0..10 {
            let answer = post.login("ada@example.com", PASSWORD).await.expect_error(503, "PASSWORD_HASH_BUSY");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        let new = json!({ "email": "eve@example.com", "password": PASSWORD });
        post.post("register", new).await.expect_error(503, "PASSWORD_HASH_BUSY");
        drop(taken);
        post.login("ada@example.com", PASSWORD).await.expect(200);
    }
}
