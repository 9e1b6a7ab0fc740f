//! Tests of uploads through the app.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{extract::State, routing::post};
use bytes::Bytes;
use omnistack_core::{
    BoxError,
    app::AppBuilder,
    crypto::Sha256,
    http::{Error, Json, Method, Request},
    identity::Identity,
    module::{Api, Context, Module, Mount, Registry},
};
use omnistack_storage::{File, FileScanner, FileService, Files, NewFile, ObjectKey, ScanResult, Storage};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use super::{FILES, PNG, files_app, id, upload, with};

const FORM: &str = "multipart/form-data; boundary=xyz";

fn form(head: &str, body: &[u8], end: &str) -> Bytes {
    [b"--xyz\r\n", head.as_bytes(), b"\r\n\r\n", body, end.as_bytes()].concat().into()
}

/// A module with an upload route of its own.
struct Plans;

impl Module for Plans {
    fn name(&self) -> &'static str {
        "plans"
    }

    fn register(&self, registry: &mut Registry) {
        let mount = Mount::app("/plans").body_limit(4 << 20).without_idempotency();
        let api = Api::<FileService>::new().hidden("/", post(upload_plan));
        registry.routes(mount, api, Context::get);
    }
}

async fn upload_plan(
    State(files): State<FileService>,
    caller: Identity,
    request: Request,
) -> Result<Json<File>, Error> {
    Ok(Json(files.upload_request(&caller, NewFile::new("plan.png"), request).await?.file))
}

on_each_database! {
    async fn a_route_of_the_app_takes_an_upload(database: TestDatabase) {
        let files = |app: AppBuilder| app.set("STORAGE_PROVIDER", "memory").with(Files::from_env()).with(Plans);
        let app = TestApp::start(database, files).await;
        let alice = app.user();
        let send = |content_type: &str, key: &str, body: Bytes| {
            let request = alice.request(Method::POST, "/api/v1/app/plans").header("content-type", content_type);
            request.header("idempotency-key", key).body(body)
        };
        // More than the body of another route may have.
        let large = Bytes::from([PNG, vec![0; 2_000_000].as_slice()].concat());
        let stored = send("image/png", "key-1", large.clone()).await.expect(200).json();
        assert_eq!((&stored["name"], &stored["size"]), (&json!("plan.png"), &json!(large.len())));
        let content = alice.get(format!("{FILES}/{}/content", id(&stored))).await.expect_ok();
        assert_eq!(content.body, large);
        assert_eq!(send("image/png", "key-1", large).await.expect(200).json()["id"], stored["id"], "sent again");

        let head = "Content-Disposition: form-data; name=\"file\"; filename=\"scan.png\"\r\nContent-Type: image/png";
        let stored = send(FORM, "key-2", form(head, PNG, "\r\n--xyz--\r\n")).await.expect(200).json();
        assert_eq!((&stored["name"], &stored["size"]), (&json!("plan.png"), &json!(PNG.len())));
    }

    async fn a_file_comes_and_is_read(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let file = upload(&alice, "photo.png", "image/png", PNG).await.expect(201).json();
        assert_eq!(file["name"], "photo.png");
        assert_eq!(file["content_type"], "image/png");
        assert_eq!(file["size"], PNG.len());
        assert_eq!(file["sha256"], Sha256::digest(PNG).to_string());
        assert_eq!(file["state"], "stored");
        let path = format!("{FILES}/{}", id(&file));
        assert_eq!(alice.get(&path).await.expect_ok().json(), file);
        let content = alice.get(format!("{path}/content")).await.expect_ok();
        assert_eq!(content.body, PNG);
        assert_eq!(content.header("content-type"), Some("image/png"));
        assert_eq!(content.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(content.header("content-length"), Some(PNG.len().to_string().as_str()));
        assert!(content.header("content-disposition").unwrap().starts_with("attachment; filename=\"photo.png\""));
        assert!(content.header("content-security-policy").unwrap().contains("sandbox"));
        let size = i64::try_from(PNG.len()).unwrap();
        assert_eq!((shop.counted.of("storage_bytes"), shop.counted.of("file_uploads")), (size, 1));
        assert_eq!(shop.counted.of("file_downloads"), 1);
        let caller = alice.identity().unwrap();
        for meter in ["storage_bytes", "file_uploads", "file_downloads"] {
            let events = shop.counted.events(meter);
            assert_eq!(events.len(), 1, "{meter}");
            let event = &events[0];
            assert_eq!((event.tenant, event.user), (caller.tenant.unwrap(), Some(caller.user)), "{meter}");
            assert_eq!(event.category.as_deref(), Some("image/png"), "{meter}");
        }
        let used = alice.get(format!("{FILES}/usage")).await.expect_ok().json();
        assert_eq!((&used["bytes"], &used["limit"]), (&PNG.len().into(), &serde_json::Value::Null));
    }

    async fn forms_and_their_ends(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain";
        let other = "\r\n--xyz\r\nContent-Disposition: form-data; name=\"more\"\r\n\r\n1\r\n--xyz--\r\n";
        let large = vec![b'a'; 300_000];
        for (what, head, body, end, status) in [
            ("whole", file, b"Hello.".as_slice(), "\r\n--xyz--\r\n", 201),
            ("large", file, large.as_slice(), "\r\n--xyz--\r\n", 201),
            ("empty", file, b"", "\r\n--xyz--\r\n", 201),
            ("cut in the file", file, b"Hel", "", 400),
            ("cut in a large file", file, &large, "", 400),
            ("cut in the last border", file, b"Hello.", "\r\n--xy", 400),
            ("another field behind it", file, b"Hello.", other, 422),
            ("another field", "Content-Disposition: form-data; name=\"photo\"; filename=\"a\"", b"1", "\r\n--xyz--\r\n", 422),
            ("no name", "Content-Disposition: form-data; name=\"file\"", b"1", "\r\n--xyz--\r\n", 422),
            ("a path", "Content-Disposition: form-data; name=\"file\"; filename=\"../../etc/passwd\"", b"1", "\r\n--xyz--\r\n", 422),
        ] {
            let before = shop.objects().await;
            let request = alice.request(Method::POST, FILES).header("content-type", FORM).body(form(head, body, end));
            let answer = request.await;
            assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text());
            assert_eq!(shop.objects().await - before, usize::from(status == 201), "{what}");
            if status == 201 {
                assert_eq!(answer.json()["size"], body.len(), "{what}");
            }
        }
        let listed = alice.get(FILES).await.expect_ok().json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 3);
        let used = alice.get(format!("{FILES}/usage")).await.expect_ok().json();
        assert_eq!(used["bytes"], 300_006);
    }

    async fn what_is_not_taken(database: TestDatabase) {
        let settings = [("FILES_MAX_SIZE", "1000B"), ("FILES_TYPES", "image/*,text/plain")];
        let shop = files_app(database, &settings, None).await;
        let alice = shop.app.user();
        let long = format!("{}.txt", "a".repeat(252));
        for (name, content_type, bytes, status, code) in [
            ("a.png", "image/png", PNG.to_vec(), 201, ""),
            ("a.png", "", PNG.to_vec(), 201, ""),
            ("a.png", "image/png", b"MZ\x90\0 a program".to_vec(), 415, "FILE_TYPE_MISMATCH"),
            ("a.pdf", "application/pdf", b"%PDF-1.7".to_vec(), 415, "FILE_TYPE_REFUSED"),
            ("a.txt", "text/plain", b"<!DOCTYPE html><script>alert(1)</script>".to_vec(), 415, "FILE_TYPE_REFUSED"),
            ("a.svg", "image/png", b"<svg onload='x'></svg>".to_vec(), 201, ""),
            ("a.txt", "text/plain", vec![b'a'; 1000], 201, ""),
            ("a.txt", "text/plain", vec![b'a'; 1001], 413, "FILE_TOO_LARGE"),
            ("a.txt", "text/plain", vec![b'a'; 100_000], 413, "FILE_TOO_LARGE"),
            ("a.txt", "plain", b"a".to_vec(), 422, "VALIDATION_FAILED"),
            ("", "text/plain", b"a".to_vec(), 422, "VALIDATION_FAILED"),
            ("%20", "text/plain", b"a".to_vec(), 422, "VALIDATION_FAILED"),
            ("..", "text/plain", b"a".to_vec(), 422, "VALIDATION_FAILED"),
            ("..%2F..%2Fetc%2Fpasswd", "text/plain", b"a".to_vec(), 422, "VALIDATION_FAILED"),
            ("..%5C..%5Cboot.ini", "text/plain", b"a".to_vec(), 422, "VALIDATION_FAILED"),
            ("a%0D%0AX-A:%20b", "text/plain", b"a".to_vec(), 422, "VALIDATION_FAILED"),
            ("a%E2%80%AEgpj.exe", "text/plain", b"a".to_vec(), 422, "VALIDATION_FAILED"),
            ("a%00", "text/plain", b"a".to_vec(), 400, "MALFORMED_URL"),
            ("a%FF", "text/plain", b"a".to_vec(), 400, "MALFORMED_URL"),
            (long.as_str(), "text/plain", b"a".to_vec(), 422, "VALIDATION_FAILED"),
            ("%F0%9F%8E%89%20Gr%C3%BC%C3%9Fe.txt", "text/plain", b"a".to_vec(), 201, ""),
            ("%252e%252e", "text/plain", b"a".to_vec(), 201, ""),
            ("a&sha256=00", "text/plain", b"a".to_vec(), 422, "VALIDATION_FAILED"),
        ] {
            let before = shop.objects().await;
            let path = format!("{FILES}?name={name}");
            let mut request = alice.request(Method::POST, path).header("content-length", bytes.len().to_string());
            if !content_type.is_empty() {
                request = request.header("content-type", content_type);
            }
            let answer = request.body(bytes).await;
            assert_eq!(answer.status.as_u16(), status, "{name} {content_type}: {}", answer.text());
            if status == 201 {
                assert_eq!(shop.objects().await, before + 1, "{name}");
            } else {
                answer.expect_error(status, code);
                assert_eq!(shop.objects().await, before, "{name}");
            }
        }
        shop.app.anonymous().post(FILES, "a").await.expect(401);
        let wrong = Sha256::digest("b");
        let answer = upload(&alice, &format!("a&sha256={wrong}"), "text/plain", "a").await;
        answer.expect_error(422, "CONTENT_MISMATCH");
        upload(&alice, &format!("a&sha256={}", Sha256::digest("a")), "text/plain", "a").await.expect(201);
    }

    async fn who_leaves_in_the_middle_leaves_nothing(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let pieces = [Ok(Bytes::from_static(b"Hello, ")), Err(std::io::Error::other("gone"))];
        let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
        let request = alice.request(Method::POST, format!("{FILES}?name=a.txt")).header("content-length", "100");
        request.body(body).await.expect_error(400, "UPLOAD_INTERRUPTED");
        let short = axum::body::Body::from_stream(futures_util::stream::iter([Ok::<_, Infallible>("Hello.")]));
        let request = alice.request(Method::POST, format!("{FILES}?name=a.txt")).header("content-length", "100");
        request.body(short).await.expect_error(422, "CONTENT_MISMATCH");
        assert_eq!(shop.objects().await, 0);
        assert_eq!(alice.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"], 0);
    }

    async fn a_plan_is_kept_to(database: TestDatabase) {
        let shop = files_app(database, &[], Some(100)).await;
        let (alice, bob) = (shop.app.user(), shop.app.user());
        let first = upload(&alice, "a.txt", "text/plain", vec![b'a'; 60]).await.expect(201).json();
        let refused = upload(&alice, "b.txt", "text/plain", vec![b'a'; 41]).await;
        let refused = refused.expect_error(402, "PLAN_LIMIT_REACHED");
        let details = json!({ "limit": "storage_bytes", "used": 60, "allowed": 100, "plan": "small" });
        assert_eq!(refused.json()["error"]["details"], details);
        upload(&alice, "b.txt", "text/plain", vec![b'a'; 101]).await.expect_error(402, "PLAN_LIMIT_REACHED");
        // The size is not declared.
        let stream = futures_util::stream::iter((0..41).map(|_| Ok::<_, Infallible>("a")));
        let request = alice.request(Method::POST, format!("{FILES}?name=c.txt"));
        let answer = request.body(axum::body::Body::from_stream(stream)).await;
        answer.expect_error(402, "PLAN_LIMIT_REACHED");
        upload(&bob, "a.txt", "text/plain", vec![b'a'; 100]).await.expect(201);
        upload(&alice, "d.txt", "text/plain", vec![b'a'; 40]).await.expect(201);
        assert_eq!(shop.objects().await, 3);
        // A deleted file counts towards the quota until it is purged.
        alice.delete(format!("{FILES}/{}", id(&first))).await.expect(204);
        upload(&alice, "e.txt", "text/plain", "a").await.expect_error(402, "PLAN_LIMIT_REACHED");
        shop.app.clock().advance(std::time::Duration::from_secs(31 * 24 * 60 * 60));
        assert_eq!(shop.sweep().await, 1);
        assert_eq!(shop.objects().await, 2);
        upload(&alice, "e.txt", "text/plain", vec![b'a'; 60]).await.expect(201);
        assert_eq!(shop.counted.of("storage_bytes"), 200);
    }

    async fn of_many_at_once_only_as_many_as_fit(database: TestDatabase) {
        let shop = files_app(database, &[], Some(100)).await;
        let alice = shop.app.user();
        let uploads = (0..8).map(|at| {
            let (alice, name) = (alice.clone(), format!("{at}.txt"));
            async move { upload(&alice, &name, "text/plain", vec![b'a'; 30]).await.status.as_u16() }
        });
        let statuses = futures_util::future::join_all(uploads).await;
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 3, "{statuses:?}");
        assert_eq!(shop.objects().await, 3);
    }

    async fn a_scanner_has_the_last_word(database: TestDatabase) {
        let seen = Seen::default();
        let shop = with(database, Files::from_env().scanner(seen.clone()), &[], None).await;
        let alice = shop.app.user();
        upload(&alice, "a.txt", "text/plain", "harmless").await.expect(201);
        upload(&alice, "b.txt", "text/plain", "a virus").await.expect_error(422, "FILE_REFUSED");
        upload(&alice, "c.txt", "text/plain", "too odd").await.expect_error(503, "SCANNER_UNAVAILABLE");
        assert_eq!(shop.objects().await, 1);
        assert_eq!(*seen.0.lock().unwrap(), ["harmless", "a virus", "too odd"]);
        assert_eq!(alice.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"], 8);
    }
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl FileScanner for Seen {
    async fn scan(&self, _: &File, key: &ObjectKey, storage: &Storage) -> Result<ScanResult, BoxError> {
        let text = String::from_utf8(storage.read(key, 1000).await?.to_vec())?;
        self.0.lock().unwrap().push(text.clone());
        match text {
            text if text.contains("virus") => Ok(ScanResult::Refused("it has a virus".into())),
            text if text.contains("odd") => Err("the scanner is away".into()),
            _ => Ok(ScanResult::Clean),
        }
    }
}
