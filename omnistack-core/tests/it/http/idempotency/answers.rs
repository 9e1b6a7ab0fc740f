//! Tests of stored and replayed responses.

use std::time::Duration;

use omnistack_core::idempotency::IdempotencyLayer;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::till::{TILL, count, keyed, open, replayed};

on_each_database! {
    async fn the_answer_is_given_again(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        for (act, calls) in [("sell", 1), ("plain", 2)] {
            let path = format!("{TILL}/{act}");
            let first = keyed(&client, &path, act).body("1").await.expect(201);
            assert!(!replayed(&first));
            // A quoted key is the same key.
            for key in [act.to_owned(), format!("\"{act}\"")] {
                let again = keyed(&client, &path, &key).body("1").await.expect(201);
                assert!(replayed(&again));
                assert_eq!(again.body, first.body);
                for name in ["location", "content-type", "x-kept", "etag", "x-api-version"] {
                    assert_eq!(again.headers.get(name), first.headers.get(name), "{act} {name}");
                }
                assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
                for name in ["set-cookie", "date", "x-ratelimit-limit"] {
                    assert_eq!(again.header(name), None, "{act} {name}");
                }
                assert_eq!(again.header("content-length"), first.header("content-length"));
            }
            assert_eq!((till.calls(), count(&app, "sales").await), (calls, i64::try_from(calls).unwrap()));
        }
        // A request without a key, or with another key, is a new request.
        for request in [client.request(http::Method::POST, format!("{TILL}/sell")), keyed(&client, format!("{TILL}/sell"), "new")] {
            assert!(!replayed(&request.body("1").await.expect(201)));
        }
        assert_eq!(count(&app, "sales").await, 4);
    }

    async fn a_key_is_for_one_request(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        let path = format!("{TILL}/sell?at=1");
        let request = |path: &str| keyed(&client, path, "k").header("content-type", "text/plain").body("1");
        request(&path).await.expect(201);
        for other in [
            request(&path).body("2"),
            request(&path).body(""),
            request(&path).header("content-type", "text/html"),
            request(&format!("{TILL}/sell?at=2")),
            request(&format!("{TILL}/sell")),
        ] {
            other.await.expect_error(409, "IDEMPOTENCY_KEY_REUSED");
        }
        assert!(replayed(&request(&path).await.expect(201)));
        assert_eq!(till.calls(), 1);
    }

    async fn only_final_answers_are_kept(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        for (status, kept) in [
            (200, true), (202, true), (204, true), (303, true), (400, true), (402, true), (403, true), (404, true),
            (409, true), (422, true), (408, false), (425, false), (429, false), (500, false), (502, false), (503, false),
        ] {
            let before = till.calls();
            for time in 0..3 {
                let answer = keyed(&client, format!("{TILL}/status/{status}"), "k").await.expect(status);
                assert_eq!(replayed(&answer), kept && time > 0, "{status}");
            }
            assert_eq!(till.calls() - before, if kept { 1 } else { 3 }, "{status}");
        }
        // The handler's commits persist although the response is not stored, and a retry runs the handler again.
        for _ in 0..2 {
            assert!(!replayed(&keyed(&client, format!("{TILL}/again"), "k").await.expect(429)));
        }
        assert_eq!(count(&app, "sales").await, 2);
    }

    async fn what_is_too_large_is_not_kept_and_not_done_again(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        for (act, kept) in [("1048576", true), ("0", true), ("1048577", false), ("stream", false)] {
            let path = format!("{TILL}/{act}");
            let before = till.calls();
            let first = keyed(&client, &path, "k").await.expect(200);
            for _ in 0..2 {
                let again = keyed(&client, &path, "k").await;
                if kept {
                    assert!(replayed(&again), "{act}");
                    assert_eq!(again.expect(200).body, first.body);
                } else {
                    let body = again.expect_error(409, "IDEMPOTENCY_RESPONSE_NOT_STORED").json();
                    assert_eq!(body["error"]["details"], json!({"status": 200}));
                }
            }
            assert_eq!(till.calls() - before, 1, "{act}");
        }
    }

    async fn an_error_is_given_again_for_the_request_that_gets_it(database: TestDatabase) {
        let (app, till) = open(database, |app| app).await;
        let client = app.user();
        let request = || keyed(&client, format!("{TILL}/invalid"), "k");
        let first = request().await.expect_error(422, "VALIDATION_FAILED");
        app.clock().advance(Duration::from_secs(1));
        let again = request().await.expect_error(422, "VALIDATION_FAILED");
        assert!(replayed(&again));
        let (first, again) = (first.json(), again.json());
        assert_eq!(first["error"]["details"], again["error"]["details"]);
        assert_ne!(first["error"]["request_id"], again["error"]["request_id"]);
        assert_eq!(again["error"]["timestamp"], "2030-01-01T00:00:01Z");
        let problem = request().header("accept", "application/problem+json").await.expect(422);
        assert_eq!(problem.header("content-type"), Some("application/problem+json"));
        assert_eq!((&problem.json()["code"], replayed(&problem)), (&json!("VALIDATION_FAILED"), true));
        assert_eq!(till.calls(), 1);
    }

    async fn a_key_is_forgotten_in_time(database: TestDatabase) {
        let (app, till) = open(database, |app| app.set("IDEMPOTENCY_RETENTION", "1h")).await;
        let client = app.user();
        let path = format!("{TILL}/sell");
        let layer: IdempotencyLayer = app.app().context().get().unwrap();
        let minutes = |minutes: u64| app.clock().advance(Duration::from_secs(60 * minutes));
        keyed(&client, &path, "k").body("1").await.expect(201);
        minutes(59);
        keyed(&client, &path, "later").body("1").await.expect(201);
        assert!(replayed(&keyed(&client, &path, "k").body("1").await));
        assert_eq!(layer.sweep().await.unwrap(), 0);
        minutes(1);
        // The key can then be used for another request.
        assert!(!replayed(&keyed(&client, &path, "k").body("2").await.expect(201)));
        assert!(replayed(&keyed(&client, &path, "k").body("2").await.expect(201)));
        assert_eq!((till.calls(), count(&app, "keys").await), (3, 2));
        minutes(59);
        assert_eq!(layer.sweep().await.unwrap(), 1);
        minutes(1);
        assert_eq!((layer.sweep().await.unwrap(), count(&app, "keys").await), (1, 0));
    }

    async fn a_sweep_takes_more_than_one_batch(database: TestDatabase) {
        let (app, _) = open(database, |app| app).await;
        let layer: IdempotencyLayer = app.app().context().get().unwrap();
        let mut tx = app.db().begin().await.unwrap();
        for number in 0..1201_u32 {
            let owner: omnistack_core::id::Id<()> = omnistack_core::id::Id::new(app.clock().clock().now());
            let expires = app.clock().clock().now() + Duration::from_secs(u64::from(number));
            let sql = "insert into omni_idempotency_keys (scope, fingerprint, owner, locked_until, expires_at) values ($1, $1, $2, $3, $3)";
            tx.query(sql).bind(number.to_be_bytes().to_vec()).bind(owner).bind(expires).execute().await.unwrap();
        }
        tx.commit().await.unwrap();
        app.clock().advance(Duration::from_secs(1199));
        assert_eq!((layer.sweep().await.unwrap(), count(&app, "keys").await), (1200, 1));
    }
}
