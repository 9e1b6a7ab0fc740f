//! The provider [`Local`]: objects in a directory.

mod regular_file;
mod writer;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use omnistack_core::{
    clock::Timestamp,
    crypto::{Sha256, Token},
};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use regular_file::{checked_path, is_not_found, open_regular};
use writer::BatchWriter;

use crate::{
    Capabilities, Error, ErrorKind, ObjectKey, StorageProvider, UrlSigner,
    object::{
        ByteRange, ListResult, Object, ObjectMetadata, PresignRequest, PresignedRequest, PutOptions, PutResult,
        UploadBody,
    },
};

/// The size of the buffers for reading, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// A storage provider on regular files in a directory, for apps on one machine.
///
/// The directory `objects/` has the bytes, one file per object under its key; `meta/` has the metadata; `tmp/`
/// has files that are being written. A new object is written to `tmp/`, synced to the disk and moved to its place
/// atomically.
///
/// A key can't be the folder of another: if `a` exists, storing `a/b` fails with [`ErrorKind::Exists`]. On a file
/// system that ignores case, `A` and `a` are the same object.
///
/// Only regular files are read. Symbolic links in `objects/` and `meta/` are not followed, neither in place of an
/// object nor of a folder above one; named pipes and devices are not read.
///
/// ```
/// use omnistack_storage::{Local, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// # let directory = std::env::temp_dir().join(format!("omnistack-local-{}", std::process::id()));
/// let storage = Storage::new(Local::new(&directory));
/// let key = "notes/hello.txt".parse()?;
/// storage.put(&key, "Hello.").await?;
/// assert_eq!(storage.read(&key, 1024).await?, "Hello.");
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Local {
    root: PathBuf,
    links: Option<UrlSigner>,
}

/// The metadata of an object, and the entity tag of the file it belongs to. It is ignored if the file has another
/// entity tag.
#[derive(Debug, Serialize, Deserialize)]
struct LocalMetadata {
    file: String,
    content_type: Option<String>,
    sha256: Sha256,
}

impl Local {
    /// Creates a provider for a directory. The directory is created when the first object is stored.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), links: None }
    }

    /// Enables signed URLs, which the app serves.
    #[must_use]
    pub fn url_signer(mut self, links: UrlSigner) -> Self {
        self.links = Some(links);
        self
    }

    fn object(&self, key: &ObjectKey) -> Result<PathBuf, Error> {
        checked_path(&self.root.join("objects"), key.as_str())
    }

    fn meta(&self, key: &ObjectKey) -> Result<PathBuf, Error> {
        checked_path(&self.root.join("meta"), key.as_str())
    }

    /// Runs blocking work on a thread for it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || work(&this)).await.map_err(|error| Error::new(ErrorKind::Other, error))?
    }

    fn temporary(&self) -> Result<TempFile, Error> {
        let folder = self.root.join("tmp");
        fs::create_dir_all(&folder)?;
        Ok(TempFile(folder.join(Token::random().expose())))
    }

    /// Moves a written file to its place, together with its metadata, and returns its entity tag. Fails with
    /// [`ErrorKind::Exists`] if `create_only` is set and the object exists.
    fn move_into_place(
        &self,
        file: &TempFile,
        key: &ObjectKey,
        meta: LocalMetadata,
        if_absent: bool,
    ) -> Result<String, Error> {
        let mark = entity_tag(&fs::metadata(&file.0)?);
        let meta = LocalMetadata { file: mark.clone(), ..meta };
        let target = self.object(key)?;
        if if_absent {
            // Creating a hard link is atomic: of two concurrent uploads, one fails.
            with_folder(&target, || fs::hard_link(&file.0, &target))?;
            self.write_metadata(key, &meta)?;
        } else {
            // The metadata names its file, so it is never applied to the old one, nor the old metadata to the new
            // file.
            self.write_metadata(key, &meta)?;
            with_folder(&target, || fs::rename(&file.0, &target))?;
        }
        sync_folder(&target)?;
        Ok(mark)
    }

    fn write_metadata(&self, key: &ObjectKey, meta: &LocalMetadata) -> Result<(), Error> {
        let text = serde_json::to_vec(meta).map_err(|error| Error::new(ErrorKind::Other, error))?;
        let (file, target) = (self.temporary()?, self.meta(key)?);
        fs::write(&file.0, text)?;
        with_folder(&target, || fs::rename(&file.0, &target))
    }

    fn info(&self, key: &ObjectKey, file: &fs::Metadata) -> ObjectMetadata {
        let mark = entity_tag(file);
        let mut info = ObjectMetadata::new(key.clone(), file.len(), modified(file));
        let described = self.read_metadata(key).ok().filter(|meta| meta.file == mark);
        if let Some(meta) = described {
            info.content_type = meta.content_type;
            info.sha256 = Some(meta.sha256);
        }
        info.etag = Some(mark);
        info
    }

    fn read_metadata(&self, key: &ObjectKey) -> Result<LocalMetadata, Error> {
        let (file, _) = open_regular(&self.meta(key)?, key)?;
        serde_json::from_reader(io::BufReader::new(file)).map_err(|error| Error::new(ErrorKind::Other, error))
    }

    fn open(&self, key: &ObjectKey) -> Result<(fs::File, ObjectMetadata), Error> {
        let (file, metadata) = open_regular(&self.object(key)?, key)?;
        let info = self.info(key, &metadata);
        Ok((file, info))
    }

    fn list_objects(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
        let base = self.root.join("objects");
        // Lists only the folder that contains all keys with the prefix.
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !folder.is_empty() && ObjectKey::new(folder).is_err() {
            return Ok(ListResult::default());
        }
        if !folder.is_empty() {
            checked_path(&base, &format!("{folder}/-"))?;
        }
        let (mut folders, mut least) = (vec![folder.to_owned()], BTreeSet::new());
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(base.join(&folder)) {
                Ok(entries) => entries,
                // The folder was deleted concurrently.
                Err(error) if is_not_found(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            for entry in entries {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file()
                    && path.starts_with(prefix)
                    && after.is_none_or(|after| path.as_str() > after.as_str())
                {
                    let Ok(key) = ObjectKey::new(path) else { continue };
                    least.insert(key);
                    if least.len() > limit.saturating_add(1) {
                        least.pop_last();
                    }
                }
            }
        }
        let mut objects = Vec::with_capacity(least.len());
        for key in least {
            match fs::symlink_metadata(self.object(&key)?) {
                Ok(file) => {
                    let mut info = ObjectMetadata::new(key, file.len(), modified(&file));
                    info.etag = Some(entity_tag(&file));
                    objects.push(info);
                }
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(ListResult::from_objects(objects, limit))
    }

    fn copy_object(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), Error> {
        let (mut source, info) = self.open(from)?;
        let file = self.temporary()?;
        let mut target = fs::File::create_new(&file.0)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()?;
        let sha256 = match info.sha256 {
            Some(sha256) => sha256,
            None => hash(&mut source)?,
        };
        self.move_into_place(
            &file,
            to,
            LocalMetadata { file: String::new(), content_type: info.content_type, sha256 },
            false,
        )?;
        Ok(())
    }
}

/// A file in `tmp/`. It is deleted when this value is dropped, unless it was moved.
struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

/// Runs an operation on a file, and creates its folder first. Retries up to 8 times if the folder is deleted
/// concurrently.
fn with_folder(target: &Path, act: impl Fn() -> io::Result<()>) -> Result<(), Error> {
    for _ in 0..8 {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        match act() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return Ok(result?),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the folder of the object is being changed by other operations: try again"))
}

/// Syncs the folder of a file, so that the name of the file is as durable as its bytes.
fn sync_folder(target: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    if let Some(folder) = target.parent() {
        match fs::File::open(folder) {
            Ok(folder) => folder.sync_all()?,
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    #[cfg(not(unix))]
    let _ = target;
    Ok(())
}

fn modified(file: &fs::Metadata) -> Timestamp {
    let since = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Returns the entity tag of a file: its inode, modification time and size.
fn entity_tag(file: &fs::Metadata) -> String {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(file);
    #[cfg(not(unix))]
    let inode = 0;
    let since = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("\"{inode:x}-{:x}-{:x}\"", since.as_nanos(), file.len())
}

fn hash(file: &mut fs::File) -> Result<Sha256, Error> {
    use sha2::Digest as _;
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut buffer) = (sha2::Sha256::new(), vec![0; BUFFER_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    let bytes: [u8; 32] = hash.finalize().into();
    Sha256::from_bytes(&bytes).ok_or_else(|| Error::new(ErrorKind::Other, "the SHA-256 has an unexpected length"))
}

fn no_classes(class: Option<&str>) -> Result<(), Error> {
    class.map_or(Ok(()), |_| Err(Error::unsupported("storage classes")))
}

#[async_trait]
impl StorageProvider for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        let links = self.links.is_some();
        Capabilities {
            create_only: true,
            checksum: true,
            presigned_get: links,
            presigned_put: links,
            presigned_put_size: links,
            ..Capabilities::default()
        }
    }

    async fn put(&self, key: &ObjectKey, mut upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error> {
        no_classes(options.storage_class.as_deref())?;
        if options.create_only && self.head(key).await.is_ok() {
            return Err(Error::new(ErrorKind::Exists, format!("the object `{key}`")));
        }
        let temporary = self.blocking(|this| this.temporary()).await?;
        let mut file = BatchWriter::create(temporary.0.clone()).await?;
        while let Some(bytes) = upload.next().await? {
            file.write(&bytes).await?;
        }
        file.finish().await?;
        let (size, sha256) = upload.digest()?;
        let (key, if_absent) = (key.clone(), options.create_only);
        let meta = LocalMetadata { file: String::new(), content_type: options.content_type.clone(), sha256 };
        let etag = self.blocking(move |this| this.move_into_place(&temporary, &key, meta, if_absent)).await?;
        Ok(PutResult::new(size, sha256).etag(Some(etag)))
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
        let wanted = key.clone();
        let (file, info, range) = self
            .blocking(move |this| {
                let (mut file, info) = this.open(&wanted)?;
                let range: Range<u64> = range.map_or(Ok(0..info.size), |range| range.resolve(info.size))?;
                file.seek(SeekFrom::Start(range.start))?;
                Ok((file, info, range))
            })
            .await?;
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(BUFFER_BYTES);
        let part = file.take(range.end - range.start);
        let body = ReaderStream::with_capacity(part, BUFFER_BYTES).map_err(Error::from).boxed();
        Ok(Object { info, range, body })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        let key = key.clone();
        self.blocking(move |this| Ok(this.open(&key)?.1)).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.blocking(move |this| this.list_objects(&prefix, after.as_ref(), limit)).await
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error> {
        no_classes(storage_class)?;
        let (from, to) = (from.clone(), to.clone());
        self.blocking(move |this| this.copy_object(&from, &to)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        let key = key.clone();
        self.blocking(move |this| {
            for (file, base) in [(this.object(&key)?, "objects"), (this.meta(&key)?, "meta")] {
                match fs::remove_file(&file) {
                    // A folder is not an object.
                    Err(error) if !is_not_found(&error) && !file.is_dir() => return Err(error.into()),
                    _ => {}
                }
                // Deletes the folders that are empty now.
                let base = this.root.join(base);
                for folder in file.ancestors().skip(1).take_while(|folder| *folder != base) {
                    if fs::remove_dir(folder).is_err() {
                        break;
                    }
                }
            }
            Ok(())
        })
        .await
    }

    async fn delete_unfinished_uploads(&self, before: Timestamp) -> Result<usize, Error> {
        self.blocking(move |this| {
            let entries = match fs::read_dir(this.root.join("tmp")) {
                Err(error) if is_not_found(&error) => return Ok(0),
                entries => entries?,
            };
            let mut removed = 0;
            for entry in entries {
                let entry = entry?;
                // A file without metadata was moved to its place in the meantime.
                let is_old = entry.metadata().is_ok_and(|found| found.is_file() && modified(&found) < before);
                removed += usize::from(is_old && fs::remove_file(entry.path()).is_ok());
            }
            Ok(removed)
        })
        .await
    }

    async fn presign(&self, request: &PresignRequest) -> Result<PresignedRequest, Error> {
        self.links.as_ref().ok_or_else(|| Error::unsupported("signed URLs"))?.sign(request)
    }
}
