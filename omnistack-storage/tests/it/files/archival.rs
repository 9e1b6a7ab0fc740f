//! Tests of archiving and restoring files.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{clock::Timestamp, http::Method};
use omnistack_storage::{
    Archival, ArchiveRule, ByteRange, Capabilities, Error, ErrorKind, Files, ListResult, Local, Memory, Object,
    ObjectKey, ObjectMetadata, PutOptions, PutResult, Storage, StorageProvider, UploadBody,
};
use omnistack_testkit::{TestClient, TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};

use super::{FILES, FilesApp, PNG, files_app, id, upload, with};
use crate::conformance::TempDirectory;

const ADMIN: &str = "/api/v1/admin/archival";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn run(shop: &FilesApp) -> usize {
    let archival: Archival = shop.app.app().context().get().unwrap();
    archival.run().await.unwrap()
}

async fn put(client: &TestClient, path: &str, body: Value) -> TestResponse {
    client.request(Method::PUT, path).json(body).await
}

/// A provider in memory whose deletions fail on demand.
#[derive(Clone, Debug)]
struct FailingDelete {
    memory: Memory,
    fails: Arc<AtomicBool>,
}

#[async_trait]
impl StorageProvider for FailingDelete {
    fn name(&self) -> &'static str {
        "flaky"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    async fn put(&self, key: &ObjectKey, upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error> {
        self.memory.put(key, upload, options).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
        self.memory.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        self.memory.head(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
        self.memory.list(prefix, after, limit).await
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error> {
        self.memory.copy(from, to, storage_class).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "away"));
        }
        self.memory.delete(key).await
    }
}

on_each_database! {
    async fn by_age_and_type_and_back_for_a_while(database: TestDatabase) {
        let settings = [("ARCHIVAL_AFTER", "30d"), ("ARCHIVAL_TYPES", "image/*"), ("ARCHIVAL_CLASS", "DEEP_ARCHIVE")];
        let shop = files_app(database, &settings, None).await;
        assert!(shop.is_scheduled("files.archive"));
        let (alice, bob, admin) = (shop.app.user(), shop.app.user(), shop.app.operator());
        let old = id(&upload(&alice, "a.png", "image/png", PNG).await.expect(201).json());
        let bobs = id(&upload(&bob, "b.png", "image/png", PNG).await.expect(201).json());
        let text = id(&upload(&alice, "a.txt", "text/plain", "a").await.expect(201).json());
        shop.app.clock().advance(DAY * 20);
        let young = id(&upload(&alice, "c.png", "image/png", PNG).await.expect(201).json());
        assert_eq!(run(&shop).await, 0);
        shop.app.clock().advance(DAY * 11);
        assert_eq!(run(&shop).await, 2);
        assert_eq!(run(&shop).await, 0, "a second run changes nothing");
        let content = |file: &str| format!("{FILES}/{file}/content");
        for file in [&text, &young] {
            alice.get(content(file)).await.expect(200);
        }
        bob.get(content(&bobs)).await.expect_error(409, "FILE_ARCHIVED");
        alice.get(content(&old)).await.expect_error(409, "FILE_ARCHIVED");
        assert_eq!(alice.get(format!("{FILES}/{old}")).await.expect_ok().json()["storage_class"], "DEEP_ARCHIVE");

        let status = admin.get(format!("{ADMIN}/status?file_id={old}")).await.expect_ok().json();
        assert_eq!((&status["file"]["state"], &status["after_seconds"]), (&json!("archived"), &json!(30 * 86_400)));
        let of = |class: Value| {
            let classes = status["classes"].as_array().unwrap();
            classes.iter().find(|used| used["storage_class"] == class).unwrap().clone()
        };
        assert_eq!(of(json!("DEEP_ARCHIVE"))["files"], 2);
        assert_eq!(of(json!("DEEP_ARCHIVE"))["bytes"], 2 * PNG.len());
        assert_eq!(of(Value::Null)["files"], 2);

        let restored = admin.post(format!("{ADMIN}/restore"), json!({ "file_id": old, "days": 2, "tier": "bulk" })).await;
        let restored = restored.expect_ok().json();
        assert_eq!(restored["state"], "restored");
        let until: Timestamp = restored["restored_until"].as_str().unwrap().parse().unwrap();
        assert_eq!(alice.get(content(&old)).await.expect_ok().body, PNG);
        bob.get(content(&bobs)).await.expect(409);
        shop.app.clock().set(until);
        alice.get(content(&old)).await.expect_error(409, "FILE_ARCHIVED");
        let status = admin.get(format!("{ADMIN}/status?file_id={old}")).await.expect_ok().json();
        assert_eq!(status["file"]["state"], "archived");
        // An archived file can be deleted, and is purged.
        alice.delete(format!("{FILES}/{old}")).await.expect(204);
        shop.app.clock().advance(DAY * 31);
        assert_eq!((shop.sweep().await, shop.objects().await), (1, 3));
    }

    async fn one_file_by_hand(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        assert!(!shop.is_scheduled("files.archive"), "without a rule no nightly job runs");
        let (alice, admin) = (shop.app.user(), shop.app.operator());
        let file = id(&upload(&alice, "a.txt", "text/plain", "a").await.expect(201).json());
        let body = json!({ "file_id": file });
        admin.post(format!("{ADMIN}/restore"), &body).await.expect_error(409, "NOT_ARCHIVED");
        let done = admin.post(format!("{ADMIN}/archive"), &body).await.expect_ok().json();
        assert_eq!((&done["moved"], &done["file"]["storage_class"]), (&json!(1), &json!("GLACIER")));
        admin.post(format!("{ADMIN}/archive"), &body).await.expect_ok();
        admin.post(format!("{ADMIN}/archive"), json!({})).await.expect_ok();
        for (days, status) in [(json!(0), 422), (json!(366), 422), (json!(-1), 422), (json!("a"), 422), (json!(1), 200)] {
            admin.post(format!("{ADMIN}/restore"), json!({ "file_id": file, "days": days })).await.expect(status);
        }
        let nobody = json!({ "file_id": "01900000-0000-7000-8000-000000000000" });
        admin.post(format!("{ADMIN}/archive"), &nobody).await.expect(404);
        admin.post(format!("{ADMIN}/restore"), &nobody).await.expect(404);
        admin.get(format!("{ADMIN}/status?file_id=nonsense")).await.expect(422);
        for path in ["archive", "restore"] {
            alice.post(format!("{ADMIN}/{path}"), &body).await.expect(403);
            shop.app.anonymous().post(format!("{ADMIN}/{path}"), &body).await.expect(401);
        }
        alice.get(format!("{ADMIN}/status")).await.expect(403);
    }

    async fn by_name_and_by_tag(database: TestDatabase) {
        let settings = [("ARCHIVAL_PREFIXES", "export-,log-"), ("ARCHIVAL_AFTER", "1d")];
        let files = Files::from_env().archive_rule(ArchiveRule::default().tag("cold"));
        let shop = with(database, files, &settings, None).await;
        assert!(shop.is_scheduled("files.archive"));
        let alice = shop.app.user();
        let mut ids = std::collections::BTreeMap::new();
        for name in ["export-1.txt", "log-1.txt", "my-export-2.txt", "tagged.txt&tags=warm,cold", "other.txt&tags=warm"] {
            ids.insert(name, id(&upload(&alice, name, "text/plain", "a").await.expect(201).json()));
        }
        shop.app.clock().advance(Duration::from_secs(1));
        assert_eq!(run(&shop).await, 1, "the rule with the tag has no age");
        shop.app.clock().advance(DAY);
        assert_eq!(run(&shop).await, 2);
        for (name, file) in &ids {
            let status = if name.starts_with("my-") || name.starts_with("other") { 200 } else { 409 };
            alice.get(format!("{FILES}/{file}/content")).await.expect(status);
        }
        let other = &ids["other.txt&tags=warm"];
        let tags = format!("{FILES}/{other}/tags");
        let marked = put(&alice, &tags, json!({ "tags": ["cold", "a.b_c-1"] })).await.expect_ok().json();
        assert_eq!(marked["tags"], json!(["cold", "a.b_c-1"]));
        assert_eq!(alice.get(format!("{FILES}/{other}")).await.expect_ok().json(), marked);
        assert_eq!(run(&shop).await, 1);
        let many: Vec<_> = (0..11).map(|tag| tag.to_string()).collect();
        for odd in [json!(["A"]), json!([""]), json!(["a b"]), json!(["é"]), json!(["a".repeat(51)]), json!(many), json!("a")] {
            put(&alice, &tags, json!({ "tags": odd })).await.expect(422);
        }
        upload(&alice, "a.txt&tags=A", "text/plain", "a").await.expect(422);
        put(&shop.app.user(), &tags, json!({ "tags": [] })).await.expect(404);
    }

    async fn to_a_directory_elsewhere_and_back(database: TestDatabase) {
        let cold = TempDirectory::new();
        let settings = [("ARCHIVAL_AFTER", "30d"), ("ARCHIVAL_DIRECTORY", cold.0.to_str().unwrap())];
        let shop = files_app(database, &settings, None).await;
        let archive = Storage::new(Local::new(&cold.0));
        let there = async || archive.list("", None, 100).await.unwrap().objects.len();
        let (alice, admin) = (shop.app.user(), shop.app.operator());
        let old = id(&upload(&alice, "a.png", "image/png", PNG).await.expect(201).json());
        let kept = id(&upload(&alice, "b.png", "image/png", PNG).await.expect(201).json());
        let content = format!("{FILES}/{old}/content");
        shop.app.clock().advance(DAY * 31);
        assert_eq!((run(&shop).await, shop.objects().await, there().await), (2, 0, 2));
        assert_eq!((run(&shop).await, there().await), (0, 2), "a second run changes nothing");
        alice.get(&content).await.expect_error(409, "FILE_ARCHIVED");
        alice.post(format!("{FILES}/{old}/link"), json!({})).await.expect_error(409, "FILE_ARCHIVED");
        let state = async || admin.get(format!("{ADMIN}/status?file_id={old}")).await.expect_ok().json()["file"].clone();
        assert_eq!((&state().await["state"], &state().await["storage_class"]), (&json!("archived"), &json!("elsewhere")));

        let ask = json!({ "file_id": old, "days": 2, "tier": "expedited" });
        assert_eq!(admin.post(format!("{ADMIN}/restore"), &ask).await.expect_ok().json()["state"], "restoring");
        admin.post(format!("{ADMIN}/restore"), &ask).await.expect_ok();
        alice.get(&content).await.expect_error(409, "FILE_ARCHIVED");
        shop.app.app().runner().run_until_idle().await.unwrap();
        assert_eq!(state().await["state"], "restored");
        let until: Timestamp = state().await["restored_until"].as_str().unwrap().parse().unwrap();
        assert_eq!(until, shop.app.clock().clock().now() + DAY * 2);
        assert_eq!(alice.get(&content).await.expect_ok().body, PNG);
        alice.post(format!("{FILES}/{old}/link"), json!({})).await.expect_ok();
        // A second request extends the time.
        admin.post(format!("{ADMIN}/restore"), json!({ "file_id": old, "days": 5 })).await.expect_ok();
        shop.app.app().runner().run_until_idle().await.unwrap();
        shop.app.clock().set(until);
        assert_eq!((alice.get(&content).await.expect_ok().body, run(&shop).await), (PNG.into(), 0));
        shop.app.clock().advance(DAY * 3);
        alice.get(&content).await.expect_error(409, "FILE_ARCHIVED");
        assert_eq!(shop.objects().await, 1, "until the nightly job has run");
        assert_eq!((run(&shop).await, shop.objects().await, there().await), (0, 0, 2));
        assert_eq!(state().await["state"], "archived");

        // A deleted file is deleted from the archive as well.
        alice.delete(format!("{FILES}/{old}")).await.expect(204);
        shop.app.clock().advance(DAY * 31);
        assert_eq!((shop.sweep().await, there().await), (1, 1));
        alice.get(format!("{FILES}/{kept}")).await.expect_ok();
    }

    async fn what_stops_in_between_is_set_right(database: TestDatabase) {
        let (cold, settings) = (Memory::default(), [("ARCHIVAL_AFTER", "1d")]);
        let flaky = FailingDelete { memory: Memory::default(), fails: Arc::default() };
        let files = Files::new(flaky.clone()).archive_to(cold.clone());
        let shop = with(database, files, &settings, None).await;
        let (alice, admin, archive) = (shop.app.user(), shop.app.operator(), Storage::new(cold));
        let file = id(&upload(&alice, "a.txt", "text/plain", "a").await.expect(201).json());
        let content = format!("{FILES}/{file}/content");
        shop.app.clock().advance(DAY * 2);
        let archival: Archival = shop.app.app().context().get().unwrap();
        // The copy in the main storage can't be deleted now: the file is archived nevertheless, and the next run
        // deletes the copy.
        flaky.fails.store(true, Ordering::Relaxed);
        archival.run().await.unwrap_err();
        assert_eq!(shop.objects().await, 1);
        alice.get(&content).await.expect_error(409, "FILE_ARCHIVED");
        admin.post(format!("{ADMIN}/restore"), json!({ "file_id": file })).await.expect(503);
        flaky.fails.store(false, Ordering::Relaxed);
        assert_eq!((archival.run().await.unwrap(), shop.objects().await), (0, 0));
        // A restored file is checked: other bytes are refused.
        let key = archive.list("", None, 1).await.unwrap().objects[0].key.clone();
        archive.put(&key, "b").await.unwrap();
        admin.post(format!("{ADMIN}/restore"), json!({ "file_id": file })).await.expect_ok();
        shop.app.app().runner().run_until_idle().await.unwrap();
        assert_eq!(shop.objects().await, 0);
        alice.get(&content).await.expect_error(409, "FILE_ARCHIVED");
        archive.put(&key, "a").await.unwrap();
        shop.app.clock().advance(DAY);
        shop.app.app().runner().run_until_idle().await.unwrap();
        assert_eq!(alice.get(&content).await.expect_ok().text(), "a");
    }

    async fn archives_are_kept_so_long(database: TestDatabase) {
        let shop = files_app(database, &[("ARCHIVAL_AFTER", "30d"), ("ARCHIVAL_RETENTION", "100d")], None).await;
        let alice = shop.app.user();
        let file = id(&upload(&alice, "a.txt", "text/plain", "a").await.expect(201).json());
        shop.app.clock().advance(DAY * 31);
        assert_eq!(run(&shop).await, 1);
        shop.app.clock().advance(DAY * 100);
        run(&shop).await;
        assert!(alice.get(format!("{FILES}/{file}")).await.expect_ok().json()["deleted_at"].is_null());
        shop.app.clock().advance(Duration::from_secs(1));
        run(&shop).await;
        alice.get(format!("{FILES}/{file}/content")).await.expect(404);
        assert_eq!(shop.sweep().await, 0, "it can still be restored");
        shop.app.clock().advance(DAY * 31);
        assert_eq!((shop.sweep().await, shop.objects().await), (1, 0));
    }

    async fn a_directory_has_no_archive(database: TestDatabase) {
        let folder = TempDirectory::new();
        let files = Files::new(Local::new(&folder.0));
        let shop = with(database, files, &[("ARCHIVAL_AFTER", "1d")], None).await;
        let (alice, admin) = (shop.app.user(), shop.app.operator());
        let file = id(&upload(&alice, "a.txt", "text/plain", "a").await.expect(201).json());
        admin.post(format!("{ADMIN}/archive"), json!({ "file_id": file })).await.expect_error(409, "UNSUPPORTED");
        admin.post(format!("{ADMIN}/archive"), json!({})).await.expect_error(409, "UNSUPPORTED");
        assert_eq!(alice.get(format!("{FILES}/{file}/content")).await.expect_ok().text(), "a");
    }
}
