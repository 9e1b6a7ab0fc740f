//! Tests of uploads that stop, and of direct uploads that never complete.

use std::{future::IntoFuture as _, time::Duration};

use omnistack_core::{app::App, config::Config, http::Method};
use omnistack_storage::{Files, Memory};
use omnistack_testkit::{TestClient, TestDatabase, TestRequest, on_each_database};
use serde_json::{Value, json};

use super::{FILES, FilesApp, die_during, files_app, id, silent, upload};

const MAX_TEST_WAIT: Duration = Duration::from_secs(20);

fn hundred_bytes(client: &TestClient) -> TestRequest {
    client.request(Method::POST, format!("{FILES}?name=a.txt")).header("content-length", "100")
}

async fn used(client: &TestClient) -> Value {
    client.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"].clone()
}

async fn announce(client: &TestClient) -> omnistack_testkit::TestResponse {
    let body = json!({ "name": "a", "content_type": "text/plain", "size": 10 });
    client.post(format!("{FILES}/uploads"), body).await
}

/// Waits until the row, the bytes and the reservation of an upload are gone.
async fn nothing_left(shop: &FilesApp, client: &TestClient) {
    let waiting = async {
        while used(client).await != 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(MAX_TEST_WAIT, waiting).await.unwrap();
    assert_eq!(shop.objects().await, 0);
    assert_eq!(shop.counted.of("storage_bytes"), 0);
}

on_each_database! {
    async fn a_silent_upload_is_given_up(database: TestDatabase) {
        let shop = files_app(database, &[("FILES_UPLOAD_IDLE", "1s")], None).await;
        let alice = shop.app.user();
        let (plain, _) = silent(b"Hello.");
        let (form, _) = silent(b"--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nHello.");
        let (nothing, _) = silent(b"");
        let (no_field, _) = silent(b"--xyz\r\n");
        let multipart = "multipart/form-data; boundary=xyz";
        for (content_type, body) in
            [("text/plain", plain), (multipart, form), ("text/plain", nothing), (multipart, no_field)]
        {
            let request = hundred_bytes(&alice).header("content-type", content_type).body(body);
            let answer = tokio::time::timeout(MAX_TEST_WAIT, request.into_future()).await.unwrap();
            answer.expect_error(408, "UPLOAD_STALLED");
            assert_eq!((used(&alice).await, shop.objects().await), (0.into(), 0), "{content_type}");
        }
        let link = announce(&alice).await.expect(201).json()["upload"]["url"].as_str().unwrap().to_owned();
        let link = link.strip_prefix("http://127.0.0.1:8080").unwrap();
        let put = shop.app.anonymous().request(Method::PUT, link).header("content-type", "text/plain");
        let answer = tokio::time::timeout(MAX_TEST_WAIT, put.body(silent(b"Hello.").0).into_future()).await.unwrap();
        answer.expect_error(408, "UPLOAD_STALLED");
        assert_eq!(shop.objects().await, 0);
    }

    async fn who_leaves_takes_the_reservation_along(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let (body, begins) = silent(b"Hello.");
        let mut request = hundred_bytes(&alice).body(body).into_future();
        tokio::select! {
            answer = &mut request => panic!("unexpected response {}", answer.status),
            begun = begins => begun.unwrap(),
        }
        assert_eq!(used(&alice).await, 100);
        drop(request);
        nothing_left(&shop, &alice).await;
    }

    async fn what_a_dead_process_left_is_swept(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let (body, begins) = silent(b"Hello.");
        die_during(hundred_bytes(&alice).body(body), begins).await;
        assert_eq!((used(&alice).await, shop.sweep().await), (100.into(), 0));
        shop.app.clock().advance(Duration::from_secs(60 * 60 + 31));
        assert_eq!((shop.sweep().await, used(&alice).await), (1, 0.into()));
        nothing_left(&shop, &alice).await;
    }

    async fn unfinished_uploads_are_counted(database: TestDatabase) {
        let shop = files_app(database, &[("FILES_OPEN_UPLOADS", "3")], None).await;
        let (alice, bob) = (shop.app.user(), shop.app.user());
        let answers = futures_util::future::join_all((0..8).map(|_| announce(&alice))).await;
        let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
        assert_eq!((taken.len(), refused.len()), (3, 5));
        for answer in refused {
            assert_eq!(answer.header("retry-after"), Some("30"));
            answer.expect_error(429, "TOO_MANY_UPLOADS");
        }
        upload(&alice, "a.txt", "text/plain", "a").await.expect_error(429, "TOO_MANY_UPLOADS");
        assert_eq!(used(&alice).await, 30);
        announce(&bob).await.expect(201);
        let announced = id(&taken[0].json()["file"]);
        alice.delete(format!("{FILES}/{announced}")).await.expect(204);
        upload(&alice, "a.txt", "text/plain", "a").await.expect(201);
        announce(&alice).await.expect(201);
        announce(&alice).await.expect(429);
        // Uploads that have expired do not count, even before the cleanup runs.
        shop.app.clock().advance(Duration::from_secs(121 * 60));
        announce(&alice).await.expect(201);
    }
}

#[tokio::test]
async fn limits_have_limits() {
    for (name, value, good) in [
        ("FILES_UPLOAD_IDLE", "1s", true),
        ("FILES_UPLOAD_IDLE", "500ms", false),
        ("FILES_UPLOAD_IDLE", "11m", false),
        ("FILES_OPEN_UPLOADS", "1", true),
        ("FILES_OPEN_UPLOADS", "0", false),
        ("FILES_OPEN_UPLOADS", "10001", false),
        ("FILES_TYPES", "image/*,application/pdf", true),
        ("FILES_TYPES", "image/*,pdf", false),
        ("ARCHIVAL_TYPES", "video/*", true),
        ("ARCHIVAL_TYPES", "video", false),
    ] {
        let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), (name, value)]));
        let problems = app.with(Files::new(Memory::default())).build().err().map(|problems| problems.to_string());
        assert_eq!(!problems.unwrap_or_default().contains(name), good, "{name}={value}");
    }
}
