//! Making a backup.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    BackupObject, BackupPart, BackupReport, Backups, Error,
    archive::ArchiveWriter,
    database::{self, DatabasePlace},
    manifest::{ARCHIVE_VERSION, DatabaseRecord, Inventory, Manifest},
    place::ArchivePlace,
    sink::{FileSink, Sink, StreamSink},
    temporary::TemporaryFolder,
};
use crate::{crypto::KeyRing, db::Db};

/// Messages of a stream to a location that wait in memory.
const MAX_WAITING_MESSAGES: usize = 4;

/// A copy of a database, and the name of its entry.
struct DatabaseCopy {
    entry: String,
    path: PathBuf,
}

impl DatabaseCopy {
    fn new(entry: String, folder: &TemporaryFolder, number: usize) -> Self {
        Self { entry, path: folder.path().join(format!("{number}.copy")) }
    }
}

impl Backups {
    /// Makes a backup of all databases and of the [parts](BackupPart) of the modules, while the app runs, and stores it as
    /// `to`: the path of a file, or a URL of a [location](super::BackupLocation). If `to` ends with `/`, the name is that of
    /// the app with the time.
    ///
    /// Each database is copied in one state. A tenant database is copied a moment after the app's, and objects after all
    /// databases, so the archive may have objects that were stored since. Objects that are gone or archived are left out,
    /// and the report names them.
    ///
    /// # Errors
    /// [`Error::Refused`] if the place, the programs of PostgreSQL or the settings don't allow it; [`Error::Failed`] and
    /// [`Error::Database`]. No archive remains then.
    pub async fn create(&self, to: &str) -> Result<BackupReport, Error> {
        self.check_url()?;
        let now = self.0.clock.now();
        let place = ArchivePlace::find(&self.0.locations, &self.name_of_archive(to))?;
        let folder = TemporaryFolder::create(self.0.settings.directory.as_deref())?;
        let (manifest, copies) = self.copy_databases(&folder).await?;
        let (parts, keys) = (self.0.parts.clone(), self.0.keys.clone());
        let handle = Handle::current();
        let write = move |sink: Sink| write(sink, keys.as_ref(), manifest, &copies, &parts, &handle);
        let manifest = match &place {
            ArchivePlace::File(path) => {
                let failed = |error| Error::failed(format!("{} can't be written", path.display()), error);
                let sink = Sink::File(FileSink::create(path).map_err(failed)?);
                join(spawn_blocking(move || write(sink)).await)?
            }
            ArchivePlace::Location { location, url } => {
                let (sender, mut receiver) = mpsc::channel(MAX_WAITING_MESSAGES);
                let archive = stream::poll_fn(move |context| receiver.poll_recv(context)).boxed();
                let writing = spawn_blocking(move || write(Sink::Stream(StreamSink::new(sender))));
                let stored = location.write(url, archive).await;
                let failed = |error| Error::failed(format!("{url} can't be written"), error);
                match (join(writing.await), stored) {
                    (Ok(manifest), stored) => stored.map(|()| manifest).map_err(failed)?,
                    (Err(error), Err(cause)) if error.is_broken_pipe() => return Err(failed(cause)),
                    (Err(error), _) => return Err(error),
                }
            }
        };
        tracing::info!(target: "omnistack::backup", to = %place, took = ?self.0.clock.now().duration_since(now),
            "made a backup");
        Ok(BackupReport {
            archive: place.to_string(),
            tables: manifest.databases.iter().map(|database| database.inventory.tables.len()).sum(),
            rows: manifest.rows(),
            databases: manifest.databases.len(),
            objects: manifest.objects(),
            bytes: manifest.entries.iter().map(|entry| entry.size).sum(),
            skipped: manifest.skipped,
            key: self.0.keys.as_ref().map(|keys| keys.primary().to_owned()),
        })
    }

    /// Fails if the URL of the database is not known.
    pub(super) fn check_url(&self) -> Result<(), Error> {
        if self.0.database.is_passed_by_program() {
            return Err(Error::refused(
                "the program passes its own database to the app, which does not know its URL: back it up and restore it with \
                 the tools of the database, or let the app open it by DATABASE_URL",
            ));
        }
        Ok(())
    }

    /// Returns the place of an archive, with a name if it has none.
    fn name_of_archive(&self, to: &str) -> String {
        if !to.ends_with('/') {
            return to.to_owned();
        }
        let plain =
            |character: char| if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '-' };
        let name: String = self.0.app.chars().map(plain).collect();
        // Without colons, which some file systems do not allow.
        let at: String = self.0.clock.now().to_string().chars().take_while(|character| *character != '.').collect();
        format!("{to}{name}-{}.tar", at.trim_end_matches('Z').replace(':', ""))
    }

    /// Copies all databases into the folder.
    async fn copy_databases(&self, folder: &TemporaryFolder) -> Result<(Manifest, Vec<DatabaseCopy>), Error> {
        let main = self.0.db.app_database();
        let dialect = main.dialect();
        let mut manifest = Manifest {
            omnistack_backup: ARCHIVE_VERSION,
            app: self.0.app.clone(),
            app_version: self.0.app_version.clone(),
            created_at: self.0.clock.now(),
            dialect: database::dialect_name(dialect).into(),
            server: main.version().await?,
            server_major: database::server_major(&main).await?,
            databases: Vec::new(),
            entries: Vec::new(),
            skipped: BTreeMap::new(),
        };
        let extension = database::extension(dialect);
        let place = DatabasePlace::new(&self.0.database, self.0.database.url.clone());
        let mut copies = vec![DatabaseCopy::new(format!("database.{extension}"), folder, 0)];
        let inventory = self.copy(&main, &place, &copies[0]).await?;
        manifest.databases.push(DatabaseRecord { entry: copies[0].entry.clone(), tenant: None, inventory });
        let Some(databases) = self.0.db.tenant_databases() else { return Ok((manifest, copies)) };
        for tenant in databases.all().await? {
            let place = DatabasePlace::new(&self.0.database, databases.url(tenant));
            let copy = DatabaseCopy::new(format!("tenants/{tenant}.{extension}"), folder, copies.len());
            let visit = databases.open_temporarily(tenant).await?;
            let inventory = self.copy(visit.db(), &place, &copy).await;
            visit.end().await;
            let record = DatabaseRecord { entry: copy.entry.clone(), tenant: Some(tenant), inventory: inventory? };
            manifest.databases.push(record);
            copies.push(copy);
        }
        Ok((manifest, copies))
    }

    async fn copy(&self, db: &Db, place: &DatabasePlace, copy: &DatabaseCopy) -> Result<Inventory, Error> {
        database::copy(db, place, &copy.path, &self.0.settings, &self.0.clock).await
    }
}

/// Writes the archive. Blocks.
fn write(
    sink: Sink,
    keys: Option<&KeyRing>,
    mut manifest: Manifest,
    copies: &[DatabaseCopy],
    parts: &[Arc<dyn BackupPart>],
    handle: &Handle,
) -> Result<Manifest, Error> {
    let mut writer = ArchiveWriter::new(sink, keys, manifest.created_at)?;
    for copy in copies {
        writer.append_file(&copy.entry, &copy.path)?;
        // The next copies may need the space.
        _ = std::fs::remove_file(&copy.path);
    }
    for part in parts {
        let name = part.name();
        let failed = |error| Error::failed(format!("the {name} can't be read"), error);
        let mut after: Option<String> = None;
        loop {
            let page = handle.block_on(part.list(after.as_deref())).map_err(failed)?;
            let Some(last) = page.last().cloned() else { break };
            for key in &page {
                let entry = format!("{name}/{key}");
                match handle.block_on(part.open(key)).map_err(failed)? {
                    BackupObject::Skipped(reason) => _ = manifest.skipped.insert(entry, reason),
                    BackupObject::Content(content) => {
                        let body = content.body.map_err(std::io::Error::other).boxed();
                        let reader = SyncIoBridge::new_with_handle(StreamReader::new(body), handle.clone());
                        writer.append(&entry, content.size, content.content_type, reader)?;
                    }
                }
            }
            after = Some(last);
        }
    }
    writer.finish(manifest)
}

/// Returns the result of a task that may have panicked.
pub(super) fn join<T>(joined: Result<Result<T, Error>, tokio::task::JoinError>) -> Result<T, Error> {
    joined.unwrap_or_else(|error| Err(Error::failed("the work on the archive was stopped", error)))
}
