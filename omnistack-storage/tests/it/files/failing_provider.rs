//! Tests of the routes with a storage provider that fails.

use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use omnistack_core::http::Method;
use omnistack_storage::{
    ByteRange, Capabilities, Error, ErrorKind, Files, ListResult, Memory, Object, ObjectKey, ObjectMetadata,
    PresignRequest, PresignedRequest, PutOptions, PutResult, RestoreTier, StorageProvider, UploadBody, UrlSigner,
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{FILES, PNG, id, upload, with};

/// A provider in memory whose calls fail once a kind of error is set.
#[derive(Clone, Debug, Default)]
struct FailingProvider {
    memory: Memory,
    signer: Arc<OnceLock<UrlSigner>>,
    failure: Arc<Mutex<Option<ErrorKind>>>,
}

impl FailingProvider {
    fn fail_with(&self, kind: Option<ErrorKind>) {
        *self.failure.lock().unwrap() = kind;
    }

    fn memory(&self) -> Memory {
        match self.signer.get() {
            Some(signer) => self.memory.clone().url_signer(signer.clone()),
            None => self.memory.clone(),
        }
    }

    fn call(&self) -> Result<Memory, Error> {
        match *self.failure.lock().unwrap() {
            Some(kind) => Err(Error::new(kind, "the provider of this test fails")),
            None => Ok(self.memory()),
        }
    }
}

#[async_trait]
impl StorageProvider for FailingProvider {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory().capabilities()
    }

    async fn put(&self, key: &ObjectKey, upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error> {
        self.call()?.put(key, upload, options).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
        self.call()?.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        self.call()?.head(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
        self.call()?.list(prefix, after, limit).await
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error> {
        self.call()?.copy(from, to, storage_class).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.call()?.delete(key).await
    }

    async fn presign(&self, request: &PresignRequest) -> Result<PresignedRequest, Error> {
        self.call()?.presign(request).await
    }

    async fn restore(&self, key: &ObjectKey, days: u32, tier: RestoreTier) -> Result<(), Error> {
        self.call()?.restore(key, days, tier).await
    }
}

on_each_database! {
    async fn errors_of_the_provider_become_responses(database: TestDatabase) {
        let provider = FailingProvider::default();
        let files = Files::new(provider.clone());
        #[cfg(feature = "thumbnails")]
        let files = files.thumbnail(omnistack_storage::Thumbnail::new("small", 16, 16));
        let shop = with(database, files, &[], None).await;
        provider.signer.set(shop.app.app().context().get().unwrap()).unwrap();
        let (alice, operator, anonymous) = (shop.app.user(), shop.app.operator(), shop.app.anonymous());
        let file = id(&upload(&alice, "a.png", "image/png", PNG).await.expect(201).json());
        let new = json!({ "name": "b.txt", "content_type": "text/plain", "size": 6 });
        let direct = alice.post(format!("{FILES}/uploads"), &new).await.expect(201).json();
        let path = |url: &serde_json::Value| url.as_str().unwrap().split_once("/api/").map(|(_, rest)| format!("/api/{rest}")).unwrap();
        let send_to = path(&direct["upload"]["url"]);
        let send = || anonymous.request(Method::PUT, &send_to).header("content-type", "text/plain").body("Hello.");
        send().await.expect(204);
        let awaited = id(&direct["file"]);
        let link = alice.post(format!("{FILES}/{file}/link"), json!({})).await.expect(200).json();

        provider.fail_with(Some(ErrorKind::StorageFull));
        for answer in [
            upload(&alice, "c.txt", "text/plain", "Hello.").await,
            send().await,
            operator.post("/api/v1/admin/archival/archive", json!({ "file_id": file })).await,
        ] {
            answer.expect_error(507, "STORAGE_FULL");
        }
        provider.fail_with(Some(ErrorKind::Unavailable));
        let mut answers = vec![
            upload(&alice, "c.txt", "text/plain", "Hello.").await,
            alice.get(format!("{FILES}/{file}/content")).await,
            alice.post(format!("{FILES}/uploads"), &new).await,
            alice.post(format!("{FILES}/{awaited}/confirm"), json!({})).await,
            alice.post(format!("{FILES}/{file}/link"), json!({})).await,
            alice.delete(format!("{FILES}/{awaited}")).await,
            anonymous.get(path(&link["url"])).await,
            operator.post("/api/v1/admin/archival/archive", json!({ "file_id": file })).await,
            operator.post("/api/v1/admin/archival/restore", json!({ "file_id": file })).await,
            operator.get(format!("/api/v1/admin/archival/status?file_id={file}")).await,
        ];
        if cfg!(feature = "thumbnails") {
            answers.push(alice.get(format!("{FILES}/{file}/thumbnail")).await);
        }
        for answer in answers {
            answer.expect_error(503, "STORAGE_UNAVAILABLE");
        }
        provider.fail_with(None);
        alice.get(format!("{FILES}/{file}/content")).await.expect_ok();
    }
}
