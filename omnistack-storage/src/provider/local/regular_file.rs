//! Access to regular files only. Symbolic links, pipes and devices, which other programs may have put into the
//! directory, are refused.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Error, ErrorKind, ObjectKey};

/// Returns the path of a key in a folder.
///
/// # Errors
/// [`ErrorKind::Configuration`] if a folder on the path is a symbolic link, which could lead out of the storage's
/// directory.
pub(super) fn checked_path(base: &Path, key: &str) -> Result<PathBuf, Error> {
    let path = base.join(key);
    for folder in path.ancestors().skip(1).take_while(|folder| *folder != base) {
        if fs::symlink_metadata(folder).is_ok_and(|found| found.is_symlink()) {
            return Err(irregular(folder));
        }
    }
    Ok(path)
}

fn irregular(path: &Path) -> Error {
    let message =
        format!("`{}` is a symbolic link or not a regular file: remove it from the storage directory", path.display());
    Error::new(ErrorKind::Configuration, message)
}

/// Opens a regular file without blocking: opening a named pipe would wait until another process writes to it.
/// Fails with [`ErrorKind::NotFound`] if there is none, with [`ErrorKind::Configuration`] if it is no regular
/// file.
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
        Err(error) if is_not_found(&error) => Err(Error::not_found(key)),
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) => Err(irregular(path)),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether an error means that the file does not exist.
pub(super) fn is_not_found(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
