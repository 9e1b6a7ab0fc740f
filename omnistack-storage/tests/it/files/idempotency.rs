//! Tests of uploads with an `Idempotency-Key`.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use omnistack_core::http::Method;
use omnistack_testkit::{TestClient, TestDatabase, TestRequest, on_each_database};

use super::{FILES, die_during, files_app, id, silent};

fn request(client: &TestClient, key: &str, query: &str) -> TestRequest {
    client.request(Method::POST, format!("{FILES}?{query}")).header("idempotency-key", key)
}

fn sized(client: &TestClient, key: &str, query: &str, body: &'static str) -> TestRequest {
    request(client, key, query).header("content-length", body.len().to_string()).body(body)
}

fn form(client: &TestClient, key: &str, boundary: &str, body: &str) -> TestRequest {
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"form.txt\"\r\n\r\n";
    let request = client.request(Method::POST, FILES).header("idempotency-key", key);
    let request = request.header("content-type", format!("multipart/form-data; boundary={boundary}"));
    request.body(format!("--{boundary}\r\n{head}{body}\r\n--{boundary}--\r\n"))
}

on_each_database! {
    async fn a_file_that_is_sent_again_is_stored_once(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let (alice, bob) = (shop.app.user(), shop.app.user());
        let first = sized(&alice, "one", "name=a.txt", "Hello.").await.expect(201);
        assert_eq!(first.header("idempotent-replayed"), None);
        for _ in 0..2 {
            let again = sized(&alice, "one", "name=a.txt", "Hello.").await.expect(201);
            assert_eq!((again.header("idempotent-replayed"), again.json()), (Some("true"), first.json()));
        }
        // In pieces, without a declared size.
        let pieces = || Body::from_stream(futures_util::stream::iter(["Hel", "lo."].map(Ok::<_, Infallible>)));
        let again = request(&alice, "one", "name=a.txt").body(pieces()).await.expect(201);
        assert_eq!(again.json(), first.json());
        assert_eq!((shop.objects().await, shop.counted.of("file_uploads"), shop.counted.of("storage_bytes")), (1, 1, 6));
        for (what, other) in [
            ("other bytes", sized(&alice, "one", "name=a.txt", "Jello.")),
            ("fewer", sized(&alice, "one", "name=a.txt", "Hello")),
            ("more", request(&alice, "one", "name=a.txt").body(Bytes::from(vec![b'a'; 100_000]))),
            ("another name", sized(&alice, "one", "name=b.txt", "Hello.")),
            ("tags", sized(&alice, "one", "name=a.txt&tags=b", "Hello.")),
            ("a type", sized(&alice, "one", "name=a.txt", "Hello.").header("content-type", "text/csv")),
        ] {
            let refused = other.await;
            assert_eq!(refused.status, 409, "{what}: {}", refused.text());
            refused.expect_error(409, "IDEMPOTENCY_KEY_REUSED");
        }
        for wrong in ["", "with a space"] {
            sized(&alice, wrong, "name=a.txt", "Hello.").await.expect_error(400, "IDEMPOTENCY_KEY_INVALID");
        }
        sized(&bob, "one", "name=a.txt", "Other.").await.expect(201);
        let by_form = form(&alice, "two", "abc", "Hello.").await.expect(201);
        let again = form(&alice, "two", "xyz", "Hello.").await.expect(201);
        assert_eq!((again.header("idempotent-replayed"), again.json()), (Some("true"), by_form.json()));
        form(&alice, "two", "xyz", "Jello.").await.expect_error(409, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(shop.objects().await, 3);

        alice.delete(format!("{FILES}/{}", id(&first.json()))).await.expect(204);
        let deleted = sized(&alice, "one", "name=a.txt", "Hello.").await.expect(201).json();
        assert_eq!((id(&deleted), deleted["deleted_at"].is_null()), (id(&first.json()), false));
        shop.app.clock().advance(Duration::from_secs(24 * 60 * 60));
        let anew = sized(&alice, "one", "name=a.txt", "Jello.").await.expect(201);
        assert_eq!(anew.header("idempotent-replayed"), None);
        assert_ne!(id(&anew.json()), id(&first.json()));
        sized(&alice, "one", "name=a.txt", "Hello.").await.expect_error(409, "IDEMPOTENCY_KEY_REUSED");
    }

    async fn what_was_not_stored_leaves_its_key_free(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let wrong = format!("name=a.txt&sha256={}", "0".repeat(64));
        sized(&alice, "one", &wrong, "Hello.").await.expect_error(422, "CONTENT_MISMATCH");
        sized(&alice, "one", "name=b.txt", "Other.").await.expect(201);
        let (body, begins) = silent(b"Hello.");
        die_during(request(&alice, "two", "name=a.txt").header("content-length", "100").body(body), begins).await;
        let stored = sized(&alice, "two", "name=a.txt", "Hello.").await.expect(201);
        assert_eq!(stored.header("idempotent-replayed"), None);
        assert_eq!(shop.objects().await, 2);
    }

    async fn of_many_at_once_the_first_is_kept(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let same = (0..5).map(|_| async { sized(&alice, "one", "name=a.txt", "Hello.").await.expect(201) });
        let answers = futures_util::future::join_all(same).await;
        let first = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
        assert!(first == 1 && answers.iter().all(|answer| answer.json() == answers[0].json()), "{first} were first");
        assert_eq!((shop.objects().await, shop.counted.of("file_uploads")), (1, 1));
        let other = ["Hello.", "Jello."].map(|body| {
            let alice = &alice;
            async move { sized(alice, "two", "name=a.txt", body).await.status.as_u16() }
        });
        let mut statuses = futures_util::future::join_all(other).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
        assert_eq!(shop.objects().await, 2);
        assert_eq!(alice.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"], 12);
    }
}
