//! SQLite files, each with one writing connection and several reading ones.

use std::{io, path::Path, str::FromStr as _, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Transaction,
    sqlite::{Sqlite, SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::OnceCell;

use super::{DbSettings, Error};

/// The pools of one file. Cheap to clone.
#[derive(Clone)]
pub(super) struct SqliteDatabase {
    pub(super) read: SqlitePool,
    pub(super) write: SqlitePool,
    /// `None` for a database in memory.
    path: Option<Arc<Path>>,
    /// The file that was first opened.
    opened: Arc<OnceCell<Option<FileIdentity>>>,
}

impl SqliteDatabase {
    pub(super) fn open(url: &str, settings: &DbSettings) -> Result<Self, Error> {
        let synchronous = match settings.synchronous.as_str() {
            "full" => SqliteSynchronous::Full,
            "normal" => SqliteSynchronous::Normal,
            "off" => SqliteSynchronous::Off,
            _ => {
                return Err(Error::configuration("DATABASE_SYNCHRONOUS must be `full`, `normal` or `off`"));
            }
        };
        let options = SqliteConnectOptions::from_str(url)
            .map_err(Error::invalid_url)?
            .create_if_missing(true)
            .foreign_keys(true)
            .synchronous(synchronous)
            .busy_timeout(settings.statement_timeout.min(settings.acquire_timeout))
            .optimize_on_close(true, None)
            .disable_statement_logging();
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        let path = (!in_memory).then(|| Arc::from(options.get_filename()));
        let pool = SqlitePoolOptions::new().acquire_timeout(settings.acquire_timeout).test_before_acquire(false);
        // A connection opens in about a millisecond. A database in memory exists as long as its only connection.
        let writer = pool
            .clone()
            .max_connections(1)
            .min_connections(u32::from(in_memory))
            .idle_timeout(None)
            .max_lifetime(None)
            // If the disk is full, SQLite ends the transaction itself. sqlx does not notice and would refuse
            // every later transaction on the connection, so it is replaced. A database in memory can't be
            // replaced, since the connection is the database.
            .before_acquire(move |connection, _| {
                Box::pin(async move { Ok(in_memory || !connection.is_in_transaction()) })
            })
            .after_connect(|connection, _| Box::pin(enable_wal(connection, "off")));
        // A negative size is in KiB. Memory is allocated as pages are read. With SQLite's default of 2 MiB, the
        // indexes of a large table would be read from the file again for each batch of writes.
        let options_of_writer = options.clone().pragma("cache_size", "-16384");
        // In pages of 4 KiB. A checkpoint waits for the disk twice, and writes each page once, however many commits have
        // changed it. With SQLite's default of 1,000 pages, a checkpoint would follow every few large transactions.
        let write = writer.connect_lazy_with(options_of_writer.pragma("wal_autocheckpoint", "4000"));
        let read = if in_memory {
            write.clone()
        } else {
            // Not opened read-only: a reader may be the first to find the WAL files of a crash, and must recover
            // them.
            let readers = pool.max_connections(settings.max_connections.max(1)).max_lifetime(None);
            let readers = readers.after_connect(|connection, _| Box::pin(enable_wal(connection, "on")));
            readers.idle_timeout(Duration::from_mins(10)).connect_lazy_with(options)
        };
        Ok(Self { read, write, path, opened: Arc::default() })
    }

    /// Uses pools that the app has opened. A database in memory has a name that is no file, and so no identity.
    pub(super) fn from_pools(write: SqlitePool, read: SqlitePool) -> Self {
        let path = Some(Arc::from(write.connect_options().get_filename()));
        Self { read, write, path, opened: Arc::default() }
    }

    pub(super) async fn begin(&self, writes: bool) -> sqlx::Result<Transaction<'static, Sqlite>> {
        self.check_file().await?;
        if writes { self.write.begin_with("begin immediate").await } else { self.read.begin().await }
    }

    pub(super) async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    /// Opens the file on first use. Later calls fail if the file at the path was deleted or replaced: writes to a
    /// deleted file would be lost when the process ends, and a new connection would create an empty file.
    pub(super) async fn check_file(&self) -> sqlx::Result<()> {
        let opened = self.opened.get_or_try_init(|| self.open_file()).await?;
        let Some(path) = &self.path else { return Ok(()) };
        if FileIdentity::of(path) == *opened {
            return Ok(());
        }
        let path = path.display();
        let message =
            format!("the database {path} was deleted or replaced while the app runs; stop it and restore the file");
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::NotFound, message)))
    }

    async fn open_file(&self) -> sqlx::Result<Option<FileIdentity>> {
        match self.read.acquire().await {
            Err(sqlx::Error::Database(error)) if cfg!(unix) && lacks_shared_memory(error.as_ref()) => {
                tracing::warn!(target: "omnistack::db", %error, "no space for the database's `-shm` file, which \
                    processes share: no other process can open the database until this one ends");
                for pool in [&self.read, &self.write] {
                    pool.set_connect_options(pool.connect_options().as_ref().clone().vfs("unix-excl"));
                }
                self.open_exclusively().await?;
            }
            opened => drop(opened?),
        }
        Ok(self.path.as_deref().and_then(FileIdentity::of))
    }

    /// Opens the file without a `-shm` file. Retries until the connection that could not create one is closed,
    /// which happens on its own thread.
    async fn open_exclusively(&self) -> sqlx::Result<()> {
        for attempt in 1.. {
            match self.read.acquire().await {
                Err(sqlx::Error::Database(error)) if attempt < 100 && lacks_shared_memory(error.as_ref()) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                opened => return opened.map(drop),
            }
        }
        Ok(())
    }
}

/// The device and inode of a file, which identify it regardless of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    #[cfg(unix)]
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;

        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Returns `None`: an open file can't be deleted.
    #[cfg(not(unix))]
    fn of(_: &Path) -> Option<Self> {
        None
    }
}

/// Returns whether the `-shm` file can't be created or extended: `SQLITE_IOERR_SHMOPEN`, `_SHMSIZE` or `_SHMMAP`.
fn lacks_shared_memory(error: &dyn sqlx::error::DatabaseError) -> bool {
    matches!(error.code().as_deref(), Some("4618" | "4874" | "5386"))
}

/// Switches to WAL mode. SQLite needs exclusive access for that and doesn't wait: if two connections open a new
/// database at once, one is refused and must retry.
async fn enable_wal(connection: &mut SqliteConnection, query_only: &'static str) -> sqlx::Result<()> {
    for attempt in 1.. {
        match sqlx::query("pragma journal_mode = wal").execute(&mut *connection).await {
            Err(sqlx::Error::Database(error)) if attempt < 500 && error.code().as_deref() == Some("5") => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            turned => {
                turned?;
                break;
            }
        }
    }
    let query_only = AssertSqlSafe(format!("pragma query_only = {query_only}"));
    sqlx::query(query_only).execute(connection).await.map(drop)
}
