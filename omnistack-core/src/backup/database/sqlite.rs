//! SQLite: `vacuum into` copies a database while others write to it.

use std::{
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use secrecy::ExposeSecret as _;
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

use super::{DatabasePlace, inventory};
use crate::{
    backup::{Error, manifest::Inventory},
    clock::Clock,
    db,
};

/// Time for which the copy waits for the lock of another process.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Copies the database into a new file, verifies the copy, and returns what is in it.
pub(super) async fn copy(place: &DatabasePlace, into: &Path, clock: &Clock) -> Result<Inventory, Error> {
    let path = file(place)?;
    if !path.is_file() {
        return Err(Error::refused(format!("the database {} does not exist: nothing to back up", path.display())));
    }
    let options = options(place)?.create_if_missing(false).busy_timeout(LOCK_TIMEOUT).disable_statement_logging();
    let mut connection = options.connect().await.map_err(db::Error::from)?;
    let target = into.to_string_lossy().into_owned();
    let copied = sqlx::query("vacuum into $1").bind(target).execute(&mut connection).await;
    connection.close().await.map_err(db::Error::from)?;
    copied.map_err(db::Error::from)?;

    let copy = DatabasePlace::new(&place.settings, format!("sqlite:{}", into.display()).into());
    let db = copy.open(clock)?;
    let found = async {
        let rows: Vec<(String,)> = db.query("pragma integrity_check").fetch_all().await?;
        if let Some((problem,)) = rows.into_iter().find(|(row,)| row != "ok") {
            let text = format!("the database {} is damaged: {problem}. Restore an older backup", path.display());
            return Err(Error::Refused(text));
        }
        let mut tx = db.begin_read().await?;
        let found = inventory(&mut tx).await?;
        tx.commit().await?;
        Ok(found)
    };
    let found = found.await;
    db.close().await;
    found
}

/// Returns whether the file exists.
pub(super) fn exists(place: &DatabasePlace) -> Result<bool, Error> {
    Ok(file(place)?.exists())
}

/// Puts the copy in place. The file appears under its name when it is complete.
pub(super) async fn fill(place: &DatabasePlace, from: &Path) -> Result<(), Error> {
    let path = file(place)?;
    let failed = |error| Error::failed(format!("the database {} can't be written", path.display()), error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    }
    let partial = with_suffix(&path, ".restoring");
    tokio::fs::copy(from, &partial).await.map_err(failed)?;
    tokio::fs::File::open(&partial).await.map_err(failed)?.sync_all().await.map_err(failed)?;
    // The database there is empty. Its journals don't belong to the new file.
    for suffix in ["-wal", "-shm", "-journal"] {
        match tokio::fs::remove_file(with_suffix(&path, suffix)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    tokio::fs::rename(&partial, &path).await.map_err(failed)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn options(place: &DatabasePlace) -> Result<SqliteConnectOptions, Error> {
    let url = place.url.expose_secret();
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(Error::refused(
            "the database is in memory, so it can't be backed up or restored: set DATABASE_URL to a file",
        ));
    }
    Ok(SqliteConnectOptions::from_str(url).map_err(db::Error::invalid_url)?)
}

fn file(place: &DatabasePlace) -> Result<PathBuf, Error> {
    Ok(options(place)?.get_filename().to_owned())
}
