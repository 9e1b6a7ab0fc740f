//! The places of archives: files, and the locations of modules.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::runtime::Handle;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{BackupLocation, Error};

/// The file or the URL of an archive.
pub(super) enum ArchivePlace {
    File(PathBuf),
    Location { location: Arc<dyn BackupLocation>, url: String },
}

impl ArchivePlace {
    /// Finds the place that a text names: a path, or a URL whose scheme a module has registered.
    pub(super) fn find(locations: &BTreeMap<&'static str, Arc<dyn BackupLocation>>, text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self::File(Path::new(path.strip_prefix("//").unwrap_or(path)).to_owned()));
        }
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        if let Some(location) = locations.get(scheme) {
            return Ok(Self::Location { location: Arc::clone(location), url: text.to_owned() });
        }
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let known: Vec<_> = locations.keys().map(|scheme| format!("`{scheme}`")).collect();
        let known = if known.is_empty() { String::new() } else { format!(", or a URL with {}", known.join(", ")) };
        Err(Error::refused(format!(
            "`{text}`: no module stores archives under `{scheme}://`. Use the path of a file{known}; the module `Files` of the \
             feature `storage` adds buckets"
        )))
    }

    /// Opens the archive. The reader blocks, and must be used on a thread that may block.
    pub(super) async fn read(&self) -> Result<Box<dyn Read + Send>, Error> {
        let failed = |error| Error::failed(format!("the archive {self} can't be read"), error);
        match self {
            Self::File(path) => match File::open(path) {
                Ok(file) => Ok(Box::new(std::io::BufReader::new(file))),
                Err(error) => Err(Error::failed(format!("the archive {self} can't be read"), error)),
            },
            Self::Location { location, url } => {
                let body = location.read(url).await.map_err(failed)?.map_err(std::io::Error::other).boxed();
                Ok(Box::new(SyncIoBridge::new_with_handle(StreamReader::new(body), Handle::current())))
            }
        }
    }
}

impl fmt::Display for ArchivePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Location { url, .. } => f.write_str(url),
        }
    }
}
