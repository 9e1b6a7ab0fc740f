//! Regular files alone: no symbolic links, pipes or devices, which something else may have put in the directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Error, ErrorKind, ObjectKey};

/// Returns the path of a key in a folder.
///
/// # Errors
/// [`ErrorKind::Configuration`] if a folder on the way is a symbolic link: it could lead out of the storage's directory.
pub(super) fn within(base: &Path, key: &str) -> Result<PathBuf, Error> {
    let path = base.join(key);
    for folder in path.ancestors().skip(1).take_while(|folder| *folder != base) {
        if fs::symlink_metadata(folder).is_ok_and(|found| found.is_symlink()) {
            return Err(irregular(folder));
        }
    }
    Ok(path)
}

fn irregular(path: &Path) -> Error {
    let message = format!("`{}` is a symbolic link or no regular file: remove it from the storage", path.display());
    Error::new(ErrorKind::Configuration, message)
}

/// Opens a regular file, and waits for nothing: opening a named pipe would last until there is a writer.
pub(super) fn open_regular(path: &Path, key: &ObjectKey) -> Result<(fs::File, fs::Metadata), Error> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let opened = options.open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
    match opened {
        Ok((file, metadata)) if metadata.is_file() => Ok((file, metadata)),
        Ok((_, metadata)) if metadata.is_dir() => Err(Error::not_found(key)),
        Ok(_) => Err(irregular(path)),
        Err(error) if gone(&error) => Err(Error::not_found(key)),
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) => Err(irregular(path)),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether an error says that there is no such file.
pub(super) fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
