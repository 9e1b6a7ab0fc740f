//! Archives: tar files of databases and objects, with a manifest at the end, sealed if there are keys.

use std::{
    fs::File,
    io::{self, Cursor, Read},
    path::Path,
    sync::{Arc, OnceLock},
};

use sha2::Digest as _;

use super::{
    Error,
    manifest::{ARCHIVE_VERSION, EntryRecord, MANIFEST, MANIFEST_HASH, Manifest},
    sink::{SealableSink, Sink},
};
use crate::{
    clock::Timestamp,
    crypto::{Error as CryptoError, KeyRing, OpeningReader, SealContext, SealingWriter, Sha256, StreamStart},
};

/// Largest manifest that is read. It has about 200 bytes for each object.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024 * 1024;

const MAX_HASH_BYTES: u64 = 1024;

/// Returns the context of the keys of archives.
fn seal_context() -> SealContext {
    SealContext::row("omnistack_backup", "archive", ARCHIVE_VERSION)
}

/// A writer of an archive. Every method blocks.
pub(super) struct ArchiveWriter {
    tar: tar::Builder<SealableSink>,
    now: Timestamp,
    entries: Vec<EntryRecord>,
}

impl ArchiveWriter {
    pub(super) fn new(sink: Sink, keys: Option<&KeyRing>, now: Timestamp) -> Result<Self, Error> {
        let sink = match keys {
            None => SealableSink::Plain(sink),
            Some(keys) => {
                let writer = SealingWriter::new(sink, keys, &seal_context());
                SealableSink::Sealed(Box::new(
                    writer.map_err(|error| Error::failed("the archive can't be written", error))?,
                ))
            }
        };
        Ok(Self { tar: tar::Builder::new(sink), now, entries: Vec::new() })
    }

    /// Appends a file.
    pub(super) fn append_file(&mut self, name: &str, path: &Path) -> Result<(), Error> {
        let failed = |error| Error::failed(format!("{} can't be read", path.display()), error);
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        self.append(name, size, None, file)
    }

    /// Appends an object of this size.
    pub(super) fn append(
        &mut self,
        name: &str,
        size: u64,
        content_type: Option<String>,
        content: impl Read,
    ) -> Result<(), Error> {
        let mut content = MeasuredReader::new(content, size);
        self.append_entry(name, size, &mut content)?;
        self.entries.push(EntryRecord { name: name.into(), size, sha256: content.sha256(), content_type });
        Ok(())
    }

    fn append_entry(&mut self, name: &str, size: u64, content: impl Read) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(self.now.as_seconds()).unwrap_or(0));
        let appended = self.tar.append_data(&mut header, name, content);
        appended.map_err(|error| Error::failed(format!("`{name}` can't be written to the archive"), error))
    }

    /// Appends the manifest with the entries, and completes the archive. Returns the manifest.
    pub(super) fn finish(mut self, mut manifest: Manifest) -> Result<Manifest, Error> {
        manifest.entries = std::mem::take(&mut self.entries);
        let failed = |error: io::Error| Error::failed("the archive can't be completed", error);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| failed(error.into()))?;
        let hash = Sha256::digest(&text).to_string();
        self.append_entry(MANIFEST, text.len() as u64, text.as_slice())?;
        self.append_entry(MANIFEST_HASH, hash.len() as u64, hash.as_bytes())?;
        self.tar.into_inner().map_err(failed)?.finish().map_err(failed)?;
        Ok(manifest)
    }
}

/// An archive that is read from its beginning to its end. Every method blocks.
pub(super) struct ArchiveReader<'a> {
    tar: tar::Archive<Box<dyn Read>>,
    name: &'a str,
    failure: Arc<OnceLock<String>>,
}

impl<'a> ArchiveReader<'a> {
    /// Opens the archive `name`, with the keys if it is sealed.
    pub(super) fn open(source: impl Read + 'static, keys: Option<&KeyRing>, name: &'a str) -> Result<Self, Error> {
        let failure = Arc::new(OnceLock::new());
        let mut source = SourceReader { inner: source, failure: Arc::clone(&failure) };
        let start =
            StreamStart::read(&mut source).map_err(|error| read_error(name, &failure, "its beginning", &error))?;
        let reader: Box<dyn Read> = match start {
            // A program that can write to the place of the archives, but has no key, must not choose what is restored.
            StreamStart::Plain(first) if keys.is_some() && !first.is_empty() => {
                return Err(Error::refused(format!(
                    "the archive {name} is not encrypted, although BACKUP_KEYS is set, so it may be none of this app. To use \
                     it all the same, unset BACKUP_KEYS"
                )));
            }
            StreamStart::Plain(first) => Box::new(Cursor::new(first).chain(source)),
            StreamStart::Sealed(key) => {
                let keys = keys.ok_or_else(|| {
                    Error::refused(format!(
                        "the archive {name} is encrypted: set BACKUP_KEYS to the key that sealed it"
                    ))
                })?;
                let opened = OpeningReader::new(source, &key, keys, &seal_context());
                Box::new(opened.map_err(|error| key_error(name, error))?)
            }
        };
        Ok(Self { tar: tar::Archive::new(reader), name, failure })
    }

    /// Calls `visit` with each entry before the manifest, in their order, then verifies all of them by the manifest, and
    /// returns it.
    pub(super) fn walk(
        mut self,
        mut visit: impl FnMut(&str, u64, &mut dyn Read) -> Result<(), Error>,
    ) -> Result<Manifest, Error> {
        let (name, failure) = (self.name, self.failure);
        let broken = |place: &str, error: &io::Error| read_error(name, &failure, place, error);
        let mut found: Vec<FoundEntry> = Vec::new();
        let mut manifest = None;
        let mut hash = None;
        let entries = self.tar.entries().map_err(|error| broken("its beginning", &error))?;
        for entry in entries {
            let after = found.last().map_or("its beginning".into(), |(last, ..)| format!("after `{last}`"));
            let mut entry = entry.map_err(|error| broken(&after, &error))?;
            // A sparse file of some bytes could be unpacked to any size. Archives have neither those nor links.
            if !entry.header().entry_type().is_file() {
                return Err(Error::damaged(name, format!("{after}: an entry is no plain file")));
            }
            let size = entry.size();
            let path = entry.path().map_err(|error| broken(&after, &error))?.to_string_lossy().into_owned();
            match path.as_str() {
                MANIFEST => {
                    let mut text = Vec::new();
                    let read = entry.take(MAX_MANIFEST_BYTES).read_to_end(&mut text);
                    read.map_err(|error| broken(&format!("`{MANIFEST}`"), &error))?;
                    manifest = Some(text);
                }
                MANIFEST_HASH => {
                    let mut text = Vec::new();
                    let read = entry.take(MAX_HASH_BYTES).read_to_end(&mut text);
                    read.map_err(|error| broken(&format!("`{MANIFEST_HASH}`"), &error))?;
                    hash = Some(text);
                }
                _ if manifest.is_some() => return Err(Error::damaged(name, format!("`{path}` follows the manifest"))),
                _ => {
                    let mut content = MeasuredReader::new(&mut entry, size);
                    let visited = visit(&path, size, &mut content);
                    // If the content could not be read, that is why the visit failed.
                    if content.error.is_none() {
                        visited?;
                        // Only the reader can fail, and it keeps its error.
                        _ = io::copy(&mut content, &mut io::sink());
                    }
                    if let Some(error) = content.error.take() {
                        return Err(broken(&format!("`{path}`"), &error));
                    }
                    let sha256 = content.sha256();
                    found.push((path, size, sha256));
                }
            }
        }
        let (Some(manifest), Some(hash)) = (manifest, hash) else {
            return Err(Error::damaged(name, "it has no manifest, so its end is missing"));
        };
        if Sha256::digest(&manifest).to_string().as_bytes() != hash {
            return Err(Error::damaged(name, format!("`{MANIFEST}` was changed")));
        }
        let manifest = parse(name, &manifest)?;
        compare(name, &manifest, &found)?;
        Ok(manifest)
    }
}

/// The name, the size and the hash of an entry that was read.
type FoundEntry = (String, u64, Sha256);

fn parse(name: &str, text: &[u8]) -> Result<Manifest, Error> {
    #[derive(serde::Deserialize)]
    struct ArchiveVersion {
        omnistack_backup: u32,
    }

    let unreadable = |error: serde_json::Error| Error::damaged(name, format!("`{MANIFEST}` can't be read: {error}"));
    let ArchiveVersion { omnistack_backup: version } = serde_json::from_slice(text).map_err(unreadable)?;
    if version != ARCHIVE_VERSION {
        let message = format!(
            "the archive {name} has version {version}, and this build reads version {ARCHIVE_VERSION}: restore it with the \
             release of the app that made it"
        );
        return Err(Error::refused(message));
    }
    serde_json::from_slice(text).map_err(unreadable)
}

/// Fails for the first entry that is not as in the manifest.
fn compare(name: &str, manifest: &Manifest, found: &[FoundEntry]) -> Result<(), Error> {
    for (index, expected) in manifest.entries.iter().enumerate() {
        let problem = match found.get(index) {
            None => "is missing",
            Some((name, ..)) if *name != expected.name => "is missing or not in its place",
            Some((_, size, _)) if *size != expected.size => "has another size than the manifest states",
            Some((.., sha256)) if *sha256 != expected.sha256 => "has another SHA-256 than the manifest states",
            Some(_) => continue,
        };
        return Err(Error::damaged(name, format!("`{}` {problem}", expected.name)));
    }
    match found.get(manifest.entries.len()) {
        Some((extra, ..)) => Err(Error::damaged(name, format!("`{extra}` is not in the manifest"))),
        None => Ok(()),
    }
}

/// Returns the error for an archive that can't be read there: the place that stores it failed, or it is damaged.
fn read_error(name: &str, failure: &OnceLock<String>, place: &str, error: &io::Error) -> Error {
    match failure.get() {
        Some(failure) => Error::failed(format!("the archive {name} can't be read"), failure.clone()),
        None => Error::damaged(name, format!("{place}: {error}")),
    }
}

fn key_error(name: &str, error: CryptoError) -> Error {
    match error {
        CryptoError::UnknownKey(id) => {
            Error::refused(format!("the archive {name} was sealed with the key `{id}`: add that key to BACKUP_KEYS"))
        }
        _ => Error::damaged(
            name,
            "its key can't be opened: it was changed, or BACKUP_KEYS has another key of the same id",
        ),
    }
}

/// A reader that counts and hashes, and fails if there are more or fewer bytes than expected. It keeps its error.
struct MeasuredReader<R> {
    inner: R,
    expected: u64,
    count: u64,
    hash: sha2::Sha256,
    error: Option<io::Error>,
}

impl<R: Read> MeasuredReader<R> {
    fn new(inner: R, expected: u64) -> Self {
        Self { inner, expected, count: 0, hash: sha2::Sha256::new(), error: None }
    }

    /// Returns the hash of the bytes that were read.
    fn sha256(&self) -> Sha256 {
        let hash: [u8; 32] = self.hash.clone().finalize().into();
        Sha256::from_array(hash)
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        let same = io::Error::new(kind, error.to_string());
        self.error = Some(error);
        same
    }
}

impl<R: Read> Read for MeasuredReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.inner.read(buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(self.fail(error)),
        };
        self.count += read as u64;
        let ended_early = read == 0 && !buffer.is_empty() && self.count < self.expected;
        if ended_early || self.count > self.expected {
            let text = format!("has {} bytes, and not {}", self.count, self.expected);
            return Err(self.fail(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// The source of an archive. It keeps the text of its error, to distinguish a place that fails from a damaged archive.
struct SourceReader<R> {
    inner: R,
    failure: Arc<OnceLock<String>>,
}

impl<R: Read> Read for SourceReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        if let Err(error) = &read
            && error.kind() != io::ErrorKind::Interrupted
        {
            _ = self.failure.set(error.to_string());
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::ErrorKind;

    /// Returns the error of an archive with one entry of this type.
    fn error_of(kind: tar::EntryType, keys: Option<&KeyRing>) -> Error {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(4);
        builder.append_data(&mut header, "database.sqlite", b"rows".as_slice()).unwrap();
        let bytes = builder.into_inner().unwrap();
        let walked = ArchiveReader::open(Cursor::new(bytes), keys, "night.tar").and_then(|archive| {
            archive.walk(|_, _, content| io::copy(content, &mut io::sink()).map(drop).map_err(failed))
        });
        walked.unwrap_err()
    }

    fn failed(error: io::Error) -> Error {
        Error::failed("the entry can't be read", error)
    }

    #[test]
    fn entries_that_are_no_files_are_refused() {
        for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::GNUSparse, tar::EntryType::Fifo] {
            assert_eq!(error_of(kind, None).kind(), ErrorKind::Damaged, "{kind:?}");
        }
        let plain = error_of(tar::EntryType::Regular, None).to_string();
        assert!(plain.contains("no manifest"), "{plain}");
    }

    #[test]
    fn an_archive_that_is_not_sealed_is_refused_where_there_are_keys() {
        let keys: KeyRing = KeyRing::new_key("2030").parse().unwrap();
        let error = error_of(tar::EntryType::Regular, Some(&keys));
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("unset BACKUP_KEYS"), "{error}");
    }
}
