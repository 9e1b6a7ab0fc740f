//! Tests of exports of tenants.

use std::io::{Cursor, Read as _};

use omnistack_core::{
    async_trait,
    audit::{AuditEntry, AuditLog},
    db,
    email::{FindUserContact, UserContact, UserContacts},
    identity::{AuthenticationContext, Identity, Permissions, TenantId, UserId},
};
use omnistack_storage::{ExportService, Files, Memory};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::Value;

use crate::files::{PNG, upload};

const EXPORTS: &str = "/api/v1/app/exports";

/// Every user has an address.
struct Directory;

#[async_trait]
impl FindUserContact for Directory {
    async fn find(&self, user: UserId, _: Option<TenantId>) -> Result<Option<UserContact>, db::Error> {
        Ok(format!("{user}@example.com").parse().ok().map(|address| UserContact::new(address, None)))
    }
}

async fn start(database: TestDatabase) -> TestApp {
    TestApp::start(database, |app| {
        app.set("STORAGE_PROVIDER", "memory").with(Files::from_env()).replace(UserContacts::new(Directory))
    })
    .await
}

/// Signs a user in.
fn sign_in(shop: &TestApp, user: &Identity) -> TestClient {
    let proof = AuthenticationContext { authenticated_at: shop.clock().clock().now(), second_factor: false };
    shop.client_as(user.clone().with_authentication(proof))
}

/// Signs a new user in, with all permissions in a new tenant.
fn new_user(shop: &TestApp) -> TestClient {
    sign_in(shop, shop.user().identity().unwrap())
}

fn lines(zip: &mut zip::ZipArchive<Cursor<Vec<u8>>>, name: &str) -> Vec<Value> {
    let mut text = String::new();
    zip.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

on_each_database! {
    async fn a_tenant_gets_its_rows_and_files_and_a_link_by_mail(database: TestDatabase) {
        let shop = start(database).await;
        let (alice, bob) = (new_user(&shop), new_user(&shop));
        let caller = alice.identity().unwrap().clone();
        upload(&alice, "photo.png", "image/png", PNG).await.expect(201);
        upload(&bob, "other.png", "image/png", PNG).await.expect(201);
        let log: AuditLog = shop.app().context().get().unwrap();
        let tenant = caller.tenant.unwrap();
        let mut tx = shop.db().tenant(tenant).begin().await.unwrap();
        log.record_in(&mut tx, AuditEntry::new("thing.done").actor(&caller)).await.unwrap();
        tx.commit().await.unwrap();

        let export = alice.post(EXPORTS, ()).await.expect(202).json();
        alice.post(EXPORTS, ()).await.expect_error(409, "EXPORT_IN_PROGRESS");
        let path = format!("{EXPORTS}/{}", export["id"].as_str().unwrap());
        assert_eq!(alice.get(&path).await.expect(200).json()["url"], Value::Null);
        bob.get(&path).await.expect_error(404, "NOT_FOUND");
        shop.run_jobs().await;

        let ready = alice.get(&path).await.expect(200).json();
        assert_eq!(ready["export"]["state"], "ready");
        let link = shop.sent_mails().to(&format!("{}@example.com", caller.user)).link();
        let local = &link[link.find("/api/").unwrap()..];
        let archive = shop.anonymous().get(local).await.expect(200);
        assert_eq!(Value::from(archive.body.len()), ready["export"]["size"]);
        let mut zip = zip::ZipArchive::new(Cursor::new(archive.body.to_vec())).unwrap();
        let files = lines(&mut zip, "files.ndjson");
        assert_eq!((files.len(), &files[0]["name"]), (1, &Value::from("photo.png")));
        let name = format!("files/{}/photo.png", files[0]["id"].as_str().unwrap());
        let mut bytes = Vec::new();
        zip.by_name(&name).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, PNG);
        let audit = lines(&mut zip, "audit.ndjson");
        assert!(audit.iter().any(|line| line["action"] == "thing.done"), "{audit:?}");
        assert!(audit.iter().any(|line| line["action"] == "tenant.export_requested"), "{audit:?}");

        // The archive is deleted after its time.
        shop.clock().advance(std::time::Duration::from_secs(8 * 24 * 60 * 60));
        let exports: ExportService = shop.app().context().get().unwrap();
        assert_eq!(exports.delete_expired().await.unwrap(), 1);
        sign_in(&shop, &caller).get(&path).await.expect_error(404, "NOT_FOUND");
        shop.anonymous().get(local).await.expect(403);
    }

    async fn an_archive_asks_for_a_recent_sign_in(database: TestDatabase) {
        let shop = start(database).await;
        let alice = new_user(&shop);
        let export = alice.post(EXPORTS, ()).await.expect(202).json();
        shop.run_jobs().await;
        shop.clock().advance(std::time::Duration::from_secs(601));
        alice.post(EXPORTS, ()).await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        let path = format!("{EXPORTS}/{}", export["id"].as_str().unwrap());
        alice.get(&path).await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        assert_eq!(alice.get(EXPORTS).await.expect(200).json()["items"][0]["id"], export["id"]);
        let again = sign_in(&shop, alice.identity().unwrap());
        assert_eq!(again.get(&path).await.expect(200).json()["export"]["state"], "ready");
    }

    async fn only_who_manages_exports_gets_one(database: TestDatabase) {
        let shop = start(database).await;
        let alice = shop.user().identity().unwrap().clone();
        let developer = shop.client_as(alice.with_permissions("*:read *:write".parse::<Permissions>().unwrap()));
        developer.post(EXPORTS, ()).await.expect_error(403, "PERMISSION_DENIED");
        developer.get(EXPORTS).await.expect_error(403, "PERMISSION_DENIED");
    }
}

#[tokio::test]
async fn a_provider_without_signed_urls_is_named() {
    let shop = TestApp::start(TestDatabase::sqlite(), |app| app.with(Files::new(Memory::default()))).await;
    let alice = new_user(&shop);
    let export = alice.post(EXPORTS, ()).await.expect(202).json();
    shop.run_jobs().await;
    // The provider has no signed URLs, so the archive is there, and the link is not.
    let path = format!("{EXPORTS}/{}", export["id"].as_str().unwrap());
    alice.get(&path).await.expect_error(409, "UNSUPPORTED");
    assert_eq!(alice.get(EXPORTS).await.expect(200).json()["items"][0]["state"], "ready");
}
