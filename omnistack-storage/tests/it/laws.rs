//! The conformance tests of each provider.

use std::path::PathBuf;

use omnistack_core::{clock::Clock, crypto::KeyRing};
use omnistack_storage::{Links, Local, Memory};
use omnistack_testkit::{storage::Subject, storage_conformance};

/// A directory of one test, deleted when it is dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("omnistack-storage-{}", uuid::Uuid::new_v4())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

fn links() -> Links {
    Links::new(KeyRing::new_key("test").parse().unwrap(), Clock::system(), "https://app.example.com")
}

async fn memory() -> Subject {
    Subject::new(Memory::default())
}

async fn memory_with_links() -> Subject {
    Subject::new(Memory::default().links(links()))
}

async fn local() -> Subject {
    let folder = Folder::new();
    Subject::new(Local::new(&folder.0).links(links())).keep(folder)
}

storage_conformance!(memory);
storage_conformance!(memory_with_links);
storage_conformance!(local);
