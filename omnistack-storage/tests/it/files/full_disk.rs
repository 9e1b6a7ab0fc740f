//! Tests with a full disk: a provider whose writes fail. `peers::full_disk` uses a disk that is really full.

use async_trait::async_trait;
use omnistack_storage::{
    ByteRange, Capabilities, Error, Files, ListResult, Memory, Object, ObjectKey, ObjectMetadata, PutOptions,
    PutResult, StorageProvider, UploadBody,
};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{FILES, upload, with};

/// A provider with a limited size in bytes.
#[derive(Debug)]
struct SmallDisk {
    memory: Memory,
    room: u64,
}

#[async_trait]
impl StorageProvider for SmallDisk {
    fn name(&self) -> &'static str {
        "small"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    async fn put(&self, key: &ObjectKey, mut upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error> {
        let mut bytes = Vec::new();
        while let Some(more) = upload.next().await? {
            bytes.extend_from_slice(&more);
            if bytes.len() as u64 > self.room {
                return Err(Error::from(std::io::Error::from(std::io::ErrorKind::StorageFull)));
            }
        }
        self.memory.put(key, bytes.into(), options).await
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
        self.memory.delete(key).await
    }
}

on_each_database! {
    async fn there_is_no_room(database: TestDatabase) {
        let files = Files::new(SmallDisk { memory: Memory::default(), room: 1000 });
        let shop = with(database, files, &[], Some(1_000_000)).await;
        let alice = shop.app.user();
        let answer = upload(&alice, "a.txt", "text/plain", vec![b'a'; 100_000]).await;
        answer.expect_error(507, "STORAGE_FULL");
        assert_eq!(shop.objects().await, 0);
        assert_eq!(alice.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"], 0);
        assert_eq!(alice.get(FILES).await.expect_ok().json()["items"].as_array().unwrap().len(), 0);
        assert_eq!((shop.counted.of("storage_bytes"), shop.counted.of("file_uploads")), (0, 0));
        upload(&alice, "a.txt", "text/plain", "a").await.expect(201);
    }
}
