//! Tests of the format and the scope of keys.

use std::net::IpAddr;

use omnistack_core::{http::Method, identity::Identity};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::till::{TILL, keyed, open, replayed};

#[tokio::test]
async fn a_key_is_visible_ascii_with_or_without_quotes() {
    let (app, till) = open(TestDatabase::sqlite(), |app| app).await;
    let client = app.user();
    let (longest, too_long) = ("k".repeat(255), "k".repeat(256));
    // The header value and the parsed key, or `None` if it is rejected.
    let keys: &[(&[u8], Option<&str>)] = &[
        (b"k", Some("k")),
        (b"\"k\"", Some("k")),
        (b"8e03978e-40d5-43dd-bc93-6894a57f9324", Some("8e03978e-40d5-43dd-bc93-6894a57f9324")),
        (b"!~;=,'", Some("!~;=,'")),
        (b"a\"b", Some("a\"b")),
        (b"a\\b", Some("a\\b")),
        (b"\"a\\\"b\"", Some("a\"b")),
        (b"\"a\\\\b\"", Some("a\\b")),
        (longest.as_bytes(), Some(&longest)),
        (b"", None),
        (b"\"\"", None),
        (b"\"", None),
        (b"\"k", None),
        (b"\"a\"b\"", None),
        (b"\"a\\b\"", None),
        (b"\"a\\\"", None),
        (b"\"k\";a=1", None),
        (b"a b", None),
        (b"\"a b\"", None),
        (b"a\tb", None),
        ("ü".as_bytes(), None),
        (b"\xff", None),
        (too_long.as_bytes(), None),
    ];
    for (sent, expected) in keys {
        let request = client.request(Method::POST, format!("{TILL}/sell")).header("idempotency-key", sent);
        let (answer, shown) = (request.await, String::from_utf8_lossy(sent));
        if expected.is_none() {
            answer.expect_error(400, "IDEMPOTENCY_KEY_INVALID");
            continue;
        }
        assert_eq!(answer.status, 201, "{shown}");
        let last: (Option<String>,) =
            app.db().query("select key from sales order by rowid desc limit 1").fetch_one().await.unwrap();
        let same_as_before = replayed(&answer);
        assert!(same_as_before || last.0.as_deref() == *expected, "{shown}: {last:?}");
    }
    // Two spellings of a key are one key.
    let written = keys.iter().filter_map(|(_, key)| *key).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(till.calls(), written.len());
}

#[tokio::test]
async fn a_key_sent_twice_is_refused() {
    let (app, till) = open(TestDatabase::sqlite(), |app| app).await;
    let mut request = http::Request::post(format!("{}/sell", TILL.replace("/app/", "/public/")));
    for _ in 0..2 {
        request = request.header("idempotency-key", "k");
    }
    let answer =
        tower::ServiceExt::oneshot(app.app().service(), request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(answer.unwrap().status(), 400);
    assert_eq!(till.calls(), 0);
}

on_each_database! {
    async fn a_key_is_one_callers(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let alice = app.operator();
        let user = alice.identity().unwrap().user;
        let tenant = app.user().identity().unwrap().tenant.unwrap();
        let other = app.user().identity().unwrap().tenant.unwrap();
        let app_path = format!("{TILL}/sell");
        let public = app_path.replace("/app/", "/public/");
        let from = |address: &str| keyed(&app.anonymous(), &public, "k").client_ip(address.parse::<IpAddr>().unwrap());
        let same = app.client_as(Identity::user(user).for_tenant(tenant));
        let requests = [
            ("alice", keyed(&alice, &app_path, "k")),
            ("another user", keyed(&app.operator(), &app_path, "k")),
            ("a tenant of hers", keyed(&same, &app_path, "k")),
            ("another", keyed(&app.client_as(Identity::user(user).for_tenant(other)), &app_path, "k")),
            ("a user of that tenant", keyed(&app.client_as(Identity::user(app.user().identity().unwrap().user).for_tenant(tenant)), &app_path, "k")),
            ("another path", keyed(&alice, format!("{TILL}/sell/receipt"), "k")),
            ("another audience", keyed(&alice, app_path.replace("/app/", "/admin/"), "k")),
            ("another version", keyed(&alice, app_path.replace("/v1/", "/v2/"), "k")),
            ("another method", alice.request(Method::PATCH, &app_path).header("idempotency-key", "k")),
            ("an address", from("1.2.3.4")),
            ("another address", from("1.2.3.5")),
            ("an address of IPv6", from("2001:db8::1")),
            ("with credentials", from("1.2.3.4").header("authorization", "Bearer of-somebody-else")),
        ];
        for (number, (who, request)) in (1..).zip(requests) {
            let answer = request.await.expect(201);
            assert!(!replayed(&answer), "{who}");
            assert_eq!(till.calls(), number, "{who}");
        }
        // The same caller with another token, and a path without the version.
        let again = app.client_as(Identity::user(user).for_tenant(tenant));
        assert!(replayed(&keyed(&again, &app_path, "k").await));
        assert!(replayed(&keyed(&again, app_path.replace("/v1/", "/"), "k").await));
        assert!(replayed(&from("1.2.3.4").await));
        // Keys and callers are stored only as hashes.
        for (scope,) in app.db().query("select scope from omni_idempotency_keys").fetch_all::<(Vec<u8>,)>().await.unwrap() {
            assert_eq!(scope.len(), 32);
        }
    }
}
