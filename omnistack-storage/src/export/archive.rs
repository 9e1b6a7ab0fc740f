//! The archive of an export: a zip file that is streamed into the storage while it is written.

use std::io::{self, Write};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use omnistack_core::BoxError;
use serde_json::json;
use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking};
use tokio_util::io::{StreamReader, SyncIoBridge};
use zip::{
    CompressionMethod, ZipWriter,
    write::{SimpleFileOptions, StreamWriter},
};

use super::{ExportService, TenantExport};
use crate::{Error, ErrorKind, File, FileId, PutOptions, UploadBody, store as file_store};

/// Bytes that are sent to the storage at once.
const MESSAGE_BYTES: usize = 256 * 1024;
/// Messages to the storage that wait in memory.
const MAX_WAITING_MESSAGES: usize = 4;
/// Files that one query reads.
const FILES_PER_PAGE: i64 = 200;

impl ExportService {
    /// Creates the archive in the storage, and returns its size. An archive of an earlier attempt is replaced.
    pub(super) async fn create_archive(&self, export: &TenantExport) -> Result<u64, Error> {
        let (sender, mut receiver) = mpsc::channel(MAX_WAITING_MESSAGES);
        let (service, job, handle) = (self.clone(), export.clone(), Handle::current());
        let writing = spawn_blocking(move || {
            let mut writer = ArchiveStream::new(sender);
            let written = service.write(&job, &mut writer, &handle);
            let ended = written.and_then(|()| Ok(writer.finish()?));
            // The storage must not keep an archive that ends early.
            ended.inspect_err(|error| writer.fail(error))
        });
        let body = stream::poll_fn(move |context| receiver.poll_recv(context)).boxed();
        let options = PutOptions::content_type("application/zip");
        let stored = self.0.files.0.storage.put_with(&export.key()?, UploadBody::from_stream(body), &options).await;
        let written = writing.await.map_err(|error| Error::new(ErrorKind::Other, error))?;
        let stored = stored?;
        written.map_err(|error| Error::new(ErrorKind::Other, error))?;
        Ok(stored.size)
    }

    /// Writes the archive. Blocks.
    fn write(&self, export: &TenantExport, writer: &mut ArchiveStream, handle: &Handle) -> Result<(), BoxError> {
        let mut zip = ZipWriter::new_stream(writer);
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(true);
        zip.start_file("export.json", options)?;
        let about = json!({
            "app": self.0.app,
            "version": self.0.version,
            "tenant_id": export.tenant_id,
            "created_at": export.created_at,
            "rows": self.0.rows.names(),
        });
        serde_json::to_writer_pretty(&mut zip, &about)?;
        for name in self.0.rows.names() {
            let Some(mut rows) = self.0.rows.rows(name, export.tenant_id) else { continue };
            zip.start_file(format!("{name}.ndjson"), options)?;
            while let Some(row) = handle.block_on(rows.next()) {
                serde_json::to_writer(&mut zip, &row?)?;
                zip.write_all(b"\n")?;
            }
        }
        self.write_files(export, &mut zip, options, handle)?;
        zip.finish()?;
        Ok(())
    }

    /// Writes the tenant's files, and the list of them.
    fn write_files(
        &self,
        export: &TenantExport,
        zip: &mut ZipWriter<StreamWriter<&mut ArchiveStream>>,
        options: SimpleFileOptions,
        handle: &Handle,
    ) -> Result<(), BoxError> {
        let mut left_out = Vec::new();
        let mut list = Vec::new();
        let mut after = None;
        loop {
            let files = handle.block_on(self.page_of_files(export, after))?;
            let Some(last) = files.last() else { break };
            after = Some(last.id);
            for file in &files {
                serde_json::to_writer(&mut list, file)?;
                list.push(b'\n');
                match handle.block_on(self.0.files.open_object(file, None)) {
                    Ok(object) => {
                        zip.start_file(format!("files/{}/{}", file.id, file.name), options)?;
                        let body = object.body.map_err(io::Error::other).boxed();
                        let mut reader = SyncIoBridge::new_with_handle(StreamReader::new(body), handle.clone());
                        io::copy(&mut reader, zip)?;
                    }
                    Err(error)
                        if matches!(error.kind(), ErrorKind::Archived | ErrorKind::NotFound | ErrorKind::Other) =>
                    {
                        left_out.push(json!({ "id": file.id, "name": file.name, "reason": error.kind().as_str() }));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        zip.start_file("files.ndjson", options)?;
        zip.write_all(&list)?;
        if !left_out.is_empty() {
            zip.start_file("files-left-out.ndjson", options)?;
            for file in left_out {
                serde_json::to_writer(&mut *zip, &file)?;
                zip.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    async fn page_of_files(&self, export: &TenantExport, after: Option<FileId>) -> Result<Vec<File>, Error> {
        let mut tx = self.0.files.0.db.tenant(export.tenant_id).begin_read().await?;
        let files = file_store::list(&mut tx, export.tenant_id, false, after, FILES_PER_PAGE).await?;
        tx.commit().await?;
        Ok(files)
    }
}

/// The bytes of an archive on their way to the storage.
struct ArchiveStream {
    sender: mpsc::Sender<Result<Bytes, Error>>,
    buffer: Vec<u8>,
}

impl ArchiveStream {
    fn new(sender: mpsc::Sender<Result<Bytes, Error>>) -> Self {
        Self { sender, buffer: Vec::with_capacity(MESSAGE_BYTES) }
    }

    fn send(&mut self) -> io::Result<()> {
        let bytes = std::mem::replace(&mut self.buffer, Vec::with_capacity(MESSAGE_BYTES));
        let sent = self.sender.blocking_send(Ok(bytes.into()));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the storage takes no more"))
    }

    /// Sends what is left.
    fn finish(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send() }
    }

    /// Ends the stream with an error.
    fn fail(&mut self, error: &BoxError) {
        let error = Error::new(ErrorKind::Interrupted, error.to_string());
        _ = self.sender.blocking_send(Err(error));
    }
}

impl Write for ArchiveStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= MESSAGE_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
