//! What an archive is written to.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{BoxError, crypto::SealingWriter};

/// Bytes that are sent to a location at once.
const MESSAGE_BYTES: usize = 256 * 1024;

/// A file, or a stream to a location.
pub(super) enum Sink {
    File(FileSink),
    Stream(StreamSink),
}

impl Sink {
    /// Makes what was written durable and visible.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::File(file) => file.finish(),
            Self::Stream(stream) => stream.finish(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.file.flush(),
            Self::Stream(_) => Ok(()),
        }
    }
}

/// A file that gets its name when it is complete.
pub(super) struct FileSink {
    /// Locked. The system unlocks it also if the process is killed.
    file: BufWriter<File>,
    /// The file of a backup that was killed, which this one replaces. Locked, so that only one replaces it.
    _replaced: Option<File>,
    partial: PathBuf,
    path: PathBuf,
    is_finished: bool,
}

impl FileSink {
    /// Creates the file, which only its owner can read.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let replaced = OpenOptions::new().write(true).open(&partial);
        if let Ok(replaced) = &replaced {
            lock(replaced)?;
        }
        // What another backup has created meanwhile stays: one of the two creates the file below.
        let is_absent = replaced.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if !is_absent || partial.is_symlink() {
            // A new file has the mode below, and is no link to another place.
            match fs::remove_file(&partial) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&partial)?;
        lock(&file)?;
        let (file, path) = (BufWriter::new(file), path.to_owned());
        Ok(Self { file, _replaced: replaced.ok(), partial, path, is_finished: false })
    }

    fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        self.is_finished = true;
        Ok(())
    }
}

/// Locks a file. Fails if another backup has locked it.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another backup is writing it: wait until it has ended, or use another name",
        )),
        // A file system without locks refuses every lock.
        Err(TryLockError::Error(_)) | Ok(()) => Ok(()),
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if !self.is_finished {
            _ = fs::remove_file(&self.partial);
        }
    }
}

/// A stream to a location. Unless it is finished, it ends with an error, so that the location keeps no incomplete
/// archive.
pub(super) struct StreamSink {
    sender: mpsc::Sender<Result<Bytes, BoxError>>,
    buffer: Vec<u8>,
    is_finished: bool,
}

impl StreamSink {
    pub(super) fn new(sender: mpsc::Sender<Result<Bytes, BoxError>>) -> Self {
        Self { sender, buffer: Vec::with_capacity(MESSAGE_BYTES), is_finished: false }
    }

    fn send(&mut self) -> io::Result<()> {
        let bytes = std::mem::replace(&mut self.buffer, Vec::with_capacity(MESSAGE_BYTES));
        let sent = self.sender.blocking_send(Ok(bytes.into()));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the location takes no more"))
    }

    fn finish(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.send()?;
        }
        self.is_finished = true;
        Ok(())
    }
}

impl Write for StreamSink {
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

impl Drop for StreamSink {
    fn drop(&mut self) {
        if !self.is_finished {
            _ = self.sender.blocking_send(Err("the backup was not completed".into()));
        }
    }
}

/// A sink that may be sealed.
pub(super) enum SealableSink {
    Plain(Sink),
    Sealed(Box<SealingWriter<Sink>>),
}

impl SealableSink {
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.finish(),
            Self::Sealed(writer) => writer.finish()?.finish(),
        }
    }
}

impl Write for SealableSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(sink) => sink.write(bytes),
            Self::Sealed(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.flush(),
            Self::Sealed(writer) => writer.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::temporary::TemporaryFolder;

    #[test]
    fn one_backup_at_a_time_writes_a_file_and_replaces_what_a_killed_one_left() {
        let folder = TemporaryFolder::create(None).unwrap();
        let (archive, partial) = (folder.path().join("night.tar"), folder.path().join("night.tar.partial"));
        // A killed backup leaves an incomplete file, which nothing locks.
        fs::write(&partial, "half").unwrap();
        let mut first = FileSink::create(&archive).unwrap();
        let error = FileSink::create(&archive).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("another backup is writing it"), "{error}");
        first.file.write_all(b"whole").unwrap();
        first.finish().unwrap();
        assert_eq!(fs::read(&archive).unwrap(), b"whole");
        assert!(!partial.exists());

        drop(FileSink::create(&archive).unwrap());
        assert!(!partial.exists(), "one that fails leaves nothing");
        assert_eq!(fs::read(&archive).unwrap(), b"whole", "and the last archive stays");

        #[cfg(unix)]
        {
            let elsewhere = folder.path().join("elsewhere");
            std::os::unix::fs::symlink(&elsewhere, &partial).unwrap();
            FileSink::create(&archive).unwrap().finish().unwrap();
            assert!(!elsewhere.exists(), "a link to another place is replaced");
        }
    }
}
