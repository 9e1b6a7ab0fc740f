//! The conformance tests of each provider.

use std::path::PathBuf;

use omnistack_core::{clock::Clock, crypto::KeyRing};
use omnistack_storage::{Local, Memory, UrlSigner};
use omnistack_testkit::{storage::StorageProviderUnderTest, storage_conformance};

/// A directory of one test, deleted when it is dropped.
pub(crate) struct TempDirectory(pub(crate) PathBuf);

impl TempDirectory {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("omnistack-storage-{}", uuid::Uuid::new_v4())))
    }
}

impl Drop for TempDirectory {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

fn links() -> UrlSigner {
    UrlSigner::new(KeyRing::new_key("test").parse().unwrap(), Clock::system(), "https://app.example.com")
}

async fn memory() -> StorageProviderUnderTest {
    StorageProviderUnderTest::new(Memory::default())
}

async fn memory_with_links() -> StorageProviderUnderTest {
    StorageProviderUnderTest::new(Memory::default().url_signer(links()))
}

async fn local() -> StorageProviderUnderTest {
    let folder = TempDirectory::new();
    StorageProviderUnderTest::new(Local::new(&folder.0).url_signer(links())).with_resource(folder)
}

storage_conformance!(memory);
storage_conformance!(memory_with_links);
storage_conformance!(local);
