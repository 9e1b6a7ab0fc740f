//! Tests of rejected passkeys.

use super::*;

/// A manipulation of a passkey's response.
struct Attack {
    name: &'static str,
    manipulate: fn(&mut TestAuthenticator),
    /// Whether the manipulation prevents the creation of a passkey too.
    for_new: bool,
}

const ATTACKS: &[Attack] = &[
    Attack { name: "another origin", manipulate: |it| it.origin = "https://evil.example".into(), for_new: true },
    Attack {
        name: "a neighbour's origin",
        manipulate: |it| it.origin = "https://evil.example.com".into(),
        for_new: true,
    },
    Attack { name: "a subdomain", manipulate: |it| it.origin = "https://x.app.example.com".into(), for_new: true },
    Attack { name: "another port", manipulate: |it| it.origin = "https://app.example.com:444".into(), for_new: true },
    Attack { name: "another scheme", manipulate: |it| it.origin = "http://app.example.com".into(), for_new: true },
    Attack { name: "another domain", manipulate: |it| it.domain = "evil.example".into(), for_new: true },
    Attack { name: "a wider domain", manipulate: |it| it.domain = "example.com".into(), for_new: true },
    Attack { name: "a user the device does not know", manipulate: |it| it.flags = PRESENT, for_new: true },
    Attack { name: "nobody there", manipulate: |it| it.flags = VERIFIED, for_new: true },
    Attack { name: "what it has not signed", manipulate: |it| it.signs_wrong_data = true, for_new: false },
    Attack { name: "another key", manipulate: |it| it.pair = TestAuthenticator::new().pair, for_new: false },
    Attack { name: "another passkey's id", manipulate: |it| it.id = TestAuthenticator::new().id, for_new: false },
    Attack { name: "nobody's", manipulate: |it| it.user = base64([7; 16]), for_new: false },
    Attack { name: "no user", manipulate: |it| it.user = String::new(), for_new: false },
    Attack { name: "a backup of what is kept by one device", manipulate: |it| it.flags |= 8 | 16, for_new: false },
];

on_each_database! {
    async fn what_is_not_shown_here_and_now_by_its_user_signs_nobody_in(database: TestDatabase) {
        let post = start(database).await;
        let (ada, mut laptop) = post.with_passkey(ADA).await;
        let (pair, id, user) = (laptop.pair, laptop.id, laptop.user);
        laptop = TestAuthenticator { pair, id: id.clone(), user: user.clone(), ..TestAuthenticator::new() };
        for Attack { name, manipulate, for_new } in ATTACKS {
            // The same device, with a manipulation.
            let document = laptop.pair.to_pkcs8v1().unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).unwrap();
            let mut spoilt = TestAuthenticator { pair, id: id.clone(), user: user.clone(), counter: 100, ..TestAuthenticator::new() };
            manipulate(&mut spoilt);
            let answer = post.sign_in_with(&mut spoilt).await;
            assert_eq!(answer.status.as_u16(), 401, "{name}: {}", answer.text());
            assert_eq!(answer.json()["error"]["code"], "PASSKEY_REFUSED", "{name}");
            if *for_new {
                let mut new = TestAuthenticator::new();
                manipulate(&mut new);
                let answer = post.add(&ada, &mut new).await;
                assert_eq!(answer.status.as_u16(), 422, "{name}: {}", answer.text());
            }
        }
        // Every failure has the same response.
        let mut stranger = TestAuthenticator { user: base64([7; 16]), ..TestAuthenticator::new() };
        let one = comparable(&post.sign_in_with(&mut stranger).await);
        laptop.signs_wrong_data = true;
        assert_eq!(one, comparable(&post.sign_in_with(&mut laptop).await));
        laptop.signs_wrong_data = false;
        SignedInUser::of(post.sign_in_with(&mut laptop).await);
        assert_eq!(post.list(&ada).await.len(), 1);
        assert!(post.audit_actions().await.contains(&"account.passkey_refused".to_owned()));
    }

    async fn a_challenge_is_good_once_for_a_while_and_for_who_asked(database: TestDatabase) {
        let post = start(database).await;
        let (ada, mut laptop) = post.with_passkey(ADA).await;
        let body = post.sign_in_options().await;
        let shown = laptop.get(&body);
        post.show(&body, shown.clone()).await.expect(200);
        post.show(&body, shown.clone()).await.expect_error(400, "TOKEN_INVALID");
        // Of two concurrent requests, one succeeds.
        let body = post.sign_in_options().await;
        let shown = laptop.get(&body);
        let (one, two) = tokio::join!(post.show(&body, shown.clone()), post.show(&body, shown.clone()));
        let (one, two) = (one.status.as_u16(), two.status.as_u16());
        assert_eq!((one.min(two), one.max(two)), (200, 400));
        // A response to one challenge is rejected for another, which is used up.
        let other = post.sign_in_options().await;
        post.show(&other, shown).await.expect_error(401, "PASSKEY_REFUSED");
        let shown = laptop.get(&other);
        post.show(&other, shown).await.expect_error(400, "TOKEN_INVALID");
        // The challenge has expired.
        let body = post.sign_in_options().await;
        post.app.clock().advance(5 * MINUTE);
        let shown = laptop.get(&body);
        post.show(&body, shown).await.expect_error(400, "TOKEN_INVALID");
        // The challenge is invented.
        let shown = laptop.get(&body);
        post.show(&json!({ "ceremony": "omo_x" }), shown).await.expect_error(400, "TOKEN_INVALID");

        // A challenge of another user, and a challenge for sign-in.
        let ada = SignedInUser::of(post.refresh(&ada).await);
        let eve = { post.registered("eve@example.com").await; post.signed_in("eve@example.com").await };
        let start = |who: &SignedInUser| post.client(who).post(format!("{PASSKEYS}/start"), json!({}));
        let mut device = TestAuthenticator::new();
        let body = start(&ada).await.expect(200).json();
        let finish = |who: &SignedInUser, body: &Value, made: Value| {
            let body = json!({ "ceremony": body["ceremony"], "credential": made });
            post.client(who).post(format!("{PASSKEYS}/finish"), body)
        };
        finish(&eve, &body, device.create(&body)).await.expect_error(400, "TOKEN_INVALID");
        let asked = post.sign_in_options().await;
        let mut made = body.clone();
        made["options"]["challenge"] = asked["options"]["challenge"].clone();
        finish(&ada, &asked, device.create(&made)).await.expect_error(400, "TOKEN_INVALID");
        // A passkey belongs to one user.
        let body = start(&eve).await.expect(200).json();
        finish(&eve, &body, laptop.create(&body)).await.expect_error(409, "PASSKEY_EXISTS");
        assert_eq!(post.list(&eve).await.len(), 0);
        // A response with Ada's passkey and another user handle is rejected.
        let body = post.sign_in_options().await;
        let shown = laptop.get(&body);
        post.show(&body, shown).await.expect_error(401, "PASSKEY_REFUSED");
    }

    async fn a_counter_that_goes_back_is_a_copy(database: TestDatabase) {
        let post = start(database).await;
        let (_, mut laptop) = post.with_passkey(ADA).await;
        laptop.counter = 41;
        SignedInUser::of(post.sign_in_with(&mut laptop).await);
        for counter in [42, 41, 0] {
            laptop.counter = counter;
            let body = post.sign_in_options().await;
            let shown = laptop.sign(&body);
            post.show(&body, shown).await.expect_error(401, "PASSKEY_REFUSED");
        }
        let mut tx = post.app.db().all_tenants().begin_read().await.unwrap();
        let sql = "select details from omni_audit_entries where action = 'account.passkey_refused' order by sequence";
        let details: Vec<(String,)> = tx.query(sql).fetch_all().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(details.len(), 3);
        assert!(details.iter().all(|(details,)| details.contains("\"reason\":\"counter\"")), "{details:?}");
        laptop.counter = 42;
        SignedInUser::of(post.sign_in_with(&mut laptop).await);
    }

    async fn who_is_locked_out_stays_out(database: TestDatabase) {
        let post = start(database).await;
        let (ada, mut laptop) = post.with_passkey(ADA).await;
        let user = post.id_of_me(&ada).await;
        let sql = "update omni_users set disabled_at = updated_at where id = $1";
        post.app.db().query(sql).bind(user).execute().await.unwrap();
        post.sign_in_with(&mut laptop).await.expect_error(403, "ACCOUNT_DISABLED");
    }
}
