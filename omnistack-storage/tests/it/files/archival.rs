//! Old files move away, and come back.

use std::time::Duration;

use omnistack_core::clock::Timestamp;
use omnistack_storage::{Archival, Files, Local};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{FILES, PNG, Shop, id, shop, upload, with};
use crate::laws::Folder;

const ADMIN: &str = "/api/v1/admin/archival";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn run(shop: &Shop) -> usize {
    let archival: Archival = shop.app.app().ctx().get().unwrap();
    archival.run().await.unwrap()
}

on_each_database! {
    async fn by_age_and_type_and_back_for_a_while(database: TestDatabase) {
        let settings = [("ARCHIVAL_AFTER", "30d"), ("ARCHIVAL_TYPES", "image/*"), ("ARCHIVAL_CLASS", "DEEP_ARCHIVE")];
        let shop = shop(database, &settings, None).await;
        assert_eq!(shop.app.app().runner().crons().len(), 2);
        let (alice, bob, admin) = (shop.app.user(), shop.app.user(), shop.app.admin());
        let old = id(&upload(&alice, "a.png", "image/png", PNG).await.expect(201).json());
        let bobs = id(&upload(&bob, "b.png", "image/png", PNG).await.expect(201).json());
        let text = id(&upload(&alice, "a.txt", "text/plain", "a").await.expect(201).json());
        shop.app.clock().advance(DAY * 20);
        let young = id(&upload(&alice, "c.png", "image/png", PNG).await.expect(201).json());
        assert_eq!(run(&shop).await, 0);
        shop.app.clock().advance(DAY * 11);
        assert_eq!(run(&shop).await, 2);
        assert_eq!(run(&shop).await, 0, "twice is once");
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
        // What is archived can be deleted, and is removed.
        alice.delete(format!("{FILES}/{old}")).await.expect(204);
        shop.app.clock().advance(DAY * 31);
        assert_eq!((shop.sweep().await, shop.objects().await), (1, 3));
    }

    async fn one_file_by_hand(database: TestDatabase) {
        let shop = shop(database, &[], None).await;
        assert_eq!(shop.app.app().runner().crons().len(), 1, "without an age nothing is archived by itself");
        let (alice, admin) = (shop.app.user(), shop.app.admin());
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

    async fn a_directory_has_no_archive(database: TestDatabase) {
        let folder = Folder::new();
        let files = Files::new(Local::new(&folder.0));
        let shop = with(database, files, &[("ARCHIVAL_AFTER", "1d")], None).await;
        let (alice, admin) = (shop.app.user(), shop.app.admin());
        let file = id(&upload(&alice, "a.txt", "text/plain", "a").await.expect(201).json());
        admin.post(format!("{ADMIN}/archive"), json!({ "file_id": file })).await.expect_error(501, "UNSUPPORTED");
        admin.post(format!("{ADMIN}/archive"), json!({})).await.expect_error(501, "UNSUPPORTED");
        assert_eq!(alice.get(format!("{FILES}/{file}/content")).await.expect_ok().text(), "a");
    }
}
