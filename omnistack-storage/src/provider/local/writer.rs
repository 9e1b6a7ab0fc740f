//! Writing a file while its bytes come.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::{Error, ErrorKind};

/// How much is written at once.
const BATCH: usize = 1 << 20;
/// How much is written before the disk is told to begin with it, so that little is left to wait for at the end.
const UNSYNCED: usize = 8 << 20;

/// A new file. One batch is gathered while the one before is written, where blocking is allowed.
pub(super) struct Writer {
    file: Arc<fs::File>,
    batch: Vec<u8>,
    writing: Option<JoinHandle<io::Result<Vec<u8>>>>,
    syncing: Option<JoinHandle<io::Result<()>>>,
    unsynced: usize,
}

impl Writer {
    pub(super) async fn create(path: PathBuf) -> Result<Self, Error> {
        let file = done(spawn_blocking(|| fs::File::create_new(path))).await?;
        Ok(Self { file: Arc::new(file), batch: Vec::new(), writing: None, syncing: None, unsynced: 0 })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.batch.extend_from_slice(bytes);
        if self.batch.len() < BATCH {
            return Ok(());
        }
        self.begin_write().await
    }

    /// Waits until everything is on the disk.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        self.begin_write().await?;
        self.written().await?;
        if let Some(syncing) = self.syncing.take() {
            done(syncing).await?;
        }
        let file = self.file;
        done(spawn_blocking(move || file.sync_all())).await
    }

    async fn begin_write(&mut self) -> Result<(), Error> {
        let next = self.written().await?;
        let batch = std::mem::replace(&mut self.batch, next);
        self.unsynced += batch.len();
        let file = self.file.clone();
        self.writing = Some(spawn_blocking(move || {
            (&*file).write_all(&batch)?;
            Ok(batch)
        }));
        self.begin_sync().await
    }

    /// Waits for the batch that is being written; an empty one.
    async fn written(&mut self) -> Result<Vec<u8>, Error> {
        let Some(writing) = self.writing.take() else { return Ok(Vec::new()) };
        let mut batch = done(writing).await?;
        batch.clear();
        Ok(batch)
    }

    /// One at a time. What it fails with is told once, so it is asked.
    async fn begin_sync(&mut self) -> Result<(), Error> {
        if self.unsynced < UNSYNCED || self.syncing.as_ref().is_some_and(|syncing| !syncing.is_finished()) {
            return Ok(());
        }
        if let Some(syncing) = self.syncing.take() {
            done(syncing).await?;
        }
        self.unsynced = 0;
        let file = self.file.clone();
        self.syncing = Some(spawn_blocking(move || file.sync_data()));
        Ok(())
    }
}

async fn done<T>(work: JoinHandle<io::Result<T>>) -> Result<T, Error> {
    Ok(work.await.map_err(|error| Error::new(ErrorKind::Other, error))??)
}
