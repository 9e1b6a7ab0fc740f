//! Tests of direct uploads and signed URLs.

use std::{convert::Infallible, future::IntoFuture as _, time::Duration};

use axum::body::Body;
use futures_util::{StreamExt as _, stream};
use omnistack_core::{app::App, config::Config, crypto::Sha256, http::Method};
use omnistack_storage::{Files, Memory};
use omnistack_testkit::{TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{FILES, FilesApp, PNG, files_app, id, memory, upload, with};

/// Returns the path of a signed URL.
fn path(signed: &Value) -> String {
    signed["url"].as_str().unwrap().strip_prefix("http://127.0.0.1:8080").unwrap().to_owned()
}

async fn send(shop: &FilesApp, upload: &Value, content_type: &str, bytes: impl AsRef<[u8]>) -> TestResponse {
    let request = shop.app.anonymous().request(Method::PUT, path(upload)).header("content-type", content_type);
    request.header("content-length", bytes.as_ref().len().to_string()).body(bytes.as_ref().to_vec()).await
}

fn announced(content_type: &str, bytes: &[u8]) -> Value {
    json!({ "name": "a", "content_type": content_type, "size": bytes.len() })
}

on_each_database! {
    async fn an_operator_who_acts_as_a_user_makes_no_links(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let file = upload(&alice, "plan.png", "image/png", PNG).await.expect(201).json();
        let user = alice.identity().unwrap().clone();
        let operator = user.user;
        let acting = shop.app.client_as(user.with_impersonator(operator));
        let link = format!("{FILES}/{}/link", id(&file));
        acting.post(&link, json!({})).await.expect_error(403, "IMPERSONATION_REFUSED");
        acting.get(format!("{FILES}/{}/content", id(&file))).await.expect(200);
        alice.post(&link, json!({})).await.expect(200);
    }

    async fn straight_to_the_storage(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let answer = alice.post(format!("{FILES}/uploads"), announced("image/png", PNG)).await.expect(201).json();
        let (file, upload) = (&answer["file"], &answer["upload"]);
        assert_eq!((&file["state"], &upload["method"]), (&json!("awaited"), &json!("PUT")));
        assert_eq!(upload["headers"], json!({ "content-type": "image/png" }));
        let at = format!("{FILES}/{}", id(file));
        alice.post(format!("{at}/confirm"), ()).await.expect_error(409, "NOT_UPLOADED");
        alice.get(format!("{at}/content")).await.expect(404);
        assert_eq!(alice.get(FILES).await.expect_ok().json()["items"].as_array().unwrap().len(), 0);
        assert_eq!(alice.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"], PNG.len());

        send(&shop, upload, "text/html", PNG).await.expect_error(403, "LINK_REFUSED");
        send(&shop, upload, "image/png", b"short").await.expect_error(422, "CONTENT_MISMATCH");
        send(&shop, upload, "image/png", [PNG, b"more"].concat()).await.expect_error(413, "FILE_TOO_LARGE");
        assert_eq!(shop.objects().await, 0);
        send(&shop, upload, "image/png", PNG).await.expect(204);
        alice.get(format!("{at}/content")).await.expect(404);
        let stored = alice.post(format!("{at}/confirm"), ()).await.expect_ok().json();
        assert_eq!((&stored["state"], &stored["sha256"]), (&json!("stored"), &json!(Sha256::digest(PNG).to_string())));
        assert_eq!(alice.post(format!("{at}/confirm"), ()).await.expect_ok().json(), stored, "completing it twice changes nothing");
        assert_eq!(alice.get(format!("{at}/content")).await.expect_ok().body, PNG);
        assert_eq!(shop.counted.of("storage_bytes"), i64::try_from(PNG.len()).unwrap());

        // The signed URL is refused once the upload is complete.
        let other = vec![b'x'; PNG.len()];
        send(&shop, upload, "image/png", &other).await.expect_error(403, "LINK_REFUSED");
        assert_eq!(alice.get(format!("{at}/content")).await.expect_ok().body, PNG);
        assert_eq!(shop.objects().await, 1);
        // A bucket accepts the bytes until the URL expires. They do not change the file, and the cleanup deletes
        // them.
        let tenant = alice.identity().unwrap().tenant.unwrap();
        let key = format!("incoming/{tenant}/{}", id(file)).parse().unwrap();
        shop.storage.put(&key, other).await.unwrap();
        assert_eq!(alice.get(format!("{at}/content")).await.expect_ok().body, PNG);
        alice.delete(&at).await.expect(204);
        send(&shop, upload, "image/png", PNG).await.expect_error(403, "LINK_REFUSED");
        shop.app.clock().advance(Duration::from_secs(61 * 60));
        assert_eq!(shop.sweep().await, 0);
        send(&shop, upload, "image/png", PNG).await.expect_error(403, "LINK_REFUSED");
        shop.app.clock().advance(Duration::from_secs(60 * 60));
        assert_eq!((shop.sweep().await, shop.objects().await), (1, 1));
    }

    async fn what_is_announced_can_be_deleted(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let (alice, eve) = (shop.app.user(), shop.app.user());
        let answer = alice.post(format!("{FILES}/uploads"), announced("image/png", PNG)).await.expect(201).json();
        send(&shop, &answer["upload"], "image/png", PNG).await.expect(204);
        let at = format!("{FILES}/{}", id(&answer["file"]));
        eve.delete(&at).await.expect(404);
        alice.delete(&at).await.expect(204);
        assert_eq!(shop.objects().await, 0);
        assert_eq!(alice.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"], 0);
        send(&shop, &answer["upload"], "image/png", PNG).await.expect_error(403, "LINK_REFUSED");
        alice.post(format!("{at}/confirm"), ()).await.expect(404);
        assert_eq!(shop.objects().await, 0);
    }

    async fn bytes_that_arrive_while_a_file_is_deleted_are_not_kept(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let answer = alice.post(format!("{FILES}/uploads"), announced("image/png", PNG)).await.expect(201).json();
        let at = format!("{FILES}/{}", id(&answer["file"]));
        let ((begun, begins), (delete, deleted)) = (oneshot::channel(), oneshot::channel());
        let first = stream::once(async move {
            begun.send(()).unwrap();
            Ok::<_, Infallible>(&PNG[..4])
        });
        let rest = stream::once(async move {
            deleted.await.unwrap();
            Ok(&PNG[4..])
        });
        let body = Body::from_stream(first.chain(rest));
        let put = shop.app.anonymous().request(Method::PUT, path(&answer["upload"])).header("content-type", "image/png");
        let put = put.header("content-length", PNG.len().to_string()).body(body);
        let delete = async {
            begins.await.unwrap();
            alice.delete(&at).await.expect(204);
            delete.send(()).unwrap();
        };
        let (answer, ()) = tokio::join!(put.into_future(), delete);
        answer.expect_error(403, "LINK_REFUSED");
        assert_eq!(shop.objects().await, 0);
    }

    async fn what_arrives_is_looked_at(database: TestDatabase) {
        let shop = files_app(database, &[("FILES_MAX_SIZE", "1000B")], None).await;
        let alice = shop.app.user();
        let program = b"MZ\x90\0 a program";
        for (body, bytes, status, code) in [
            (announced("image/png", program), program.as_slice(), 415, "FILE_TYPE_MISMATCH"),
            (
                json!({ "name": "a", "content_type": "text/plain", "size": 1, "sha256": Sha256::digest("b") }),
                b"a",
                422,
                "CONTENT_MISMATCH",
            ),
        ] {
            let answer = alice.post(format!("{FILES}/uploads"), &body).await.expect(201).json();
            send(&shop, &answer["upload"], body["content_type"].as_str().unwrap(), bytes).await.expect(204);
            let at = format!("{FILES}/{}", id(&answer["file"]));
            alice.post(format!("{at}/confirm"), ()).await.expect_error(status, code);
            alice.get(at).await.expect(404);
            assert_eq!(shop.objects().await, 0);
        }
        for (body, status) in [
            (json!({ "name": "a", "content_type": "image/png", "size": 1001 }), 413),
            (json!({ "name": "a", "content_type": "image/png" }), 422),
            (json!({ "name": "../a", "content_type": "image/png", "size": 1 }), 422),
            (json!({ "name": "a", "content_type": "png\r\nx: y", "size": 1 }), 422),
            (json!({ "name": "a", "content_type": "image/png", "size": -1 }), 422),
            (json!({ "name": "a", "content_type": "image/png", "size": 1, "sha256": "00" }), 422),
        ] {
            alice.post(format!("{FILES}/uploads"), &body).await.expect(status);
        }
        assert_eq!(alice.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"], 0);
    }

    async fn what_never_arrives_is_forgotten(database: TestDatabase) {
        let shop = files_app(database, &[], Some(100)).await;
        let alice = shop.app.user();
        let body = json!({ "name": "a", "content_type": "text/plain", "size": 100 });
        let answer = alice.post(format!("{FILES}/uploads"), &body).await.expect(201).json();
        alice.post(format!("{FILES}/uploads"), &body).await.expect_error(402, "PLAN_LIMIT_REACHED");
        send(&shop, &answer["upload"], "text/plain", vec![b'a'; 100]).await.expect(204);
        shop.app.clock().advance(Duration::from_secs(121 * 60));
        assert_eq!((shop.sweep().await, shop.objects().await), (1, 0));
        alice.post(format!("{FILES}/{}/confirm", id(&answer["file"])), ()).await.expect(404);
        alice.post(format!("{FILES}/uploads"), &body).await.expect(201);
    }

    async fn links_for_reading(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let file = upload(&alice, "Gr%C3%BC%C3%9Fe.txt", "text/plain", "0123456789").await.expect(201).json();
        let make = format!("{FILES}/{}/link", id(&file));
        let link = alice.post(&make, json!({ "expires_in_seconds": 60 })).await.expect_ok().json();
        assert_eq!((&link["method"], &link["expires_at"]), (&json!("GET"), &json!("2030-01-01T00:01:00Z")));
        let (path, anybody) = (path(&link), shop.app.anonymous());
        let answer = anybody.get(&path).await.expect_ok();
        assert_eq!((answer.text().as_str(), answer.header("content-type")), ("0123456789", Some("text/plain; charset=utf-8")));
        let name = answer.header("content-disposition").unwrap();
        assert!(name.starts_with("attachment") && name.ends_with("UTF-8''Gr%C3%BC%C3%9Fe.txt"), "{name}");
        assert_eq!(anybody.get(&path).header("range", "bytes=3-4").await.expect(206).text(), "34");
        anybody.get(&path).header("range", "bytes=10-").await.expect(416);
        anybody.request(Method::PUT, &path).body("x").await.expect_error(403, "LINK_REFUSED");
        // Forged URLs: each part is changed in turn.
        for at in (path.len() - 60..path.len()).step_by(7) {
            let mut forged = path.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            anybody.get(forged).await.expect_error(403, "LINK_REFUSED");
        }
        for odd in ["x", "v1.test.AAAA", "%2e%2e%2fetc", &"A".repeat(4096)] {
            anybody.get(format!("/api/v1/public/files/links/{odd}")).await.expect_error(403, "LINK_REFUSED");
        }
        shop.app.clock().advance(Duration::from_secs(60));
        anybody.get(&path).await.expect_error(403, "LINK_REFUSED");
        for seconds in [0, 604_801] {
            alice.post(&make, json!({ "expires_in_seconds": seconds })).await.expect(422);
        }
    }

    async fn a_provider_without_links(database: TestDatabase) {
        let shop = with(database, Files::new(memory()), &[], None).await;
        let alice = shop.app.user();
        alice.post(format!("{FILES}/uploads"), announced("image/png", PNG)).await.expect_error(409, "UNSUPPORTED");
        let file = upload(&alice, "a.txt", "text/plain", "a").await.expect(201).json();
        let link = alice.post(format!("{FILES}/{}/link", id(&file)), json!({})).await;
        link.expect_error(409, "UNSUPPORTED");
    }
}

/// URLs that the app signs itself would lead nowhere with the wrong public URL; those of a bucket do not begin
/// with it.
#[tokio::test]
async fn production_asks_for_the_address_links_begin_with() {
    let elsewhere = || Files::new(Memory::default());
    for (environment, files, address, good) in [
        ("production", Files::from_env(), None, false),
        ("production", Files::from_env(), Some("http://app.example.com"), false),
        ("production", Files::from_env(), Some("https://app.example.com"), true),
        ("production", elsewhere(), None, true),
        ("development", Files::from_env(), None, true),
    ] {
        let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", environment)]));
        let app = address.into_iter().fold(app.with(files), |app, address| app.set("PUBLIC_URL", address));
        let problems = app.build().err().map(|problems| problems.to_string()).unwrap_or_default();
        assert_eq!(
            !problems.contains("links to files need the public address"),
            good,
            "{environment} {address:?}: {problems}"
        );
    }
}
