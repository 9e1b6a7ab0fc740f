//! Writing a file while its bytes arrive.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::{Error, ErrorKind};

/// Number of bytes that are written at a time.
const BATCH_BYTES: usize = 1 << 20;
/// Number of bytes that are written before a sync to the disk begins, so that the final sync is short.
const UNSYNCED_BYTES: usize = 8 << 20;

/// A new file. Collects one batch of bytes while the previous one is written on a thread for blocking work.
pub(super) struct BatchWriter {
    file: Arc<fs::File>,
    batch: Vec<u8>,
    writing: Option<JoinHandle<io::Result<Vec<u8>>>>,
    syncing: Option<JoinHandle<io::Result<()>>>,
    unsynced: usize,
}

impl BatchWriter {
    pub(super) async fn create(path: PathBuf) -> Result<Self, Error> {
        let file = join_io(spawn_blocking(|| fs::File::create_new(path))).await?;
        Ok(Self { file: Arc::new(file), batch: Vec::new(), writing: None, syncing: None, unsynced: 0 })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.batch.extend_from_slice(bytes);
        if self.batch.len() < BATCH_BYTES {
            return Ok(());
        }
        self.begin_write().await
    }

    /// Writes the rest and waits until the file is synced to the disk.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        self.begin_write().await?;
        self.wait_for_write().await?;
        if let Some(syncing) = self.syncing.take() {
            join_io(syncing).await?;
        }
        let file = self.file;
        join_io(spawn_blocking(move || file.sync_all())).await
    }

    async fn begin_write(&mut self) -> Result<(), Error> {
        let next = self.wait_for_write().await?;
        let batch = std::mem::replace(&mut self.batch, next);
        self.unsynced += batch.len();
        let file = self.file.clone();
        self.writing = Some(spawn_blocking(move || {
            (&*file).write_all(&batch)?;
            Ok(batch)
        }));
        self.begin_sync().await
    }

    /// Waits until the current batch is written, and returns its buffer, which is empty.
    async fn wait_for_write(&mut self) -> Result<Vec<u8>, Error> {
        let Some(writing) = self.writing.take() else { return Ok(Vec::new()) };
        let mut batch = join_io(writing).await?;
        batch.clear();
        Ok(batch)
    }

    /// Starts a sync if enough bytes were written and none is running. The result of the previous sync is
    /// checked, because the system reports a failure only once.
    async fn begin_sync(&mut self) -> Result<(), Error> {
        if self.unsynced < UNSYNCED_BYTES || self.syncing.as_ref().is_some_and(|syncing| !syncing.is_finished()) {
            return Ok(());
        }
        if let Some(syncing) = self.syncing.take() {
            join_io(syncing).await?;
        }
        self.unsynced = 0;
        let file = self.file.clone();
        self.syncing = Some(spawn_blocking(move || file.sync_data()));
        Ok(())
    }
}

async fn join_io<T>(work: JoinHandle<io::Result<T>>) -> Result<T, Error> {
    Ok(work.await.map_err(|error| Error::new(ErrorKind::Other, error))??)
}
