//! Verifying and restoring a backup.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking};

use super::{
    BackupContent, BackupPart, Backups, Error, RestoreReport,
    archive::ArchiveReader,
    create::join,
    database::{self, DatabasePlace, ScratchDatabase},
    manifest::{DatabaseRecord, Manifest},
    place::ArchivePlace,
    temporary::TemporaryFolder,
};
use crate::{BoxError, crypto::KeyRing, db::Dialect};

/// Bytes of an object that are passed on at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces of an object that wait in memory.
const MAX_WAITING_PIECES: usize = 4;

/// An archive that was read to its end and is as its manifest states.
struct VerifiedArchive {
    manifest: Manifest,
    /// The copies of the databases, by the names of their entries.
    copies: BTreeMap<String, PathBuf>,
}

impl Backups {
    /// Restores a backup into the app's database and the [parts](BackupPart) of the modules. The databases must be empty,
    /// and the app must not run. The whole archive is verified before anything is changed; the databases are verified by
    /// their rows and audit chains after they were filled. Run the migrations afterwards if the app is newer than the
    /// backup.
    ///
    /// # Errors
    /// [`Error::Damaged`] for an archive that is not whole, [`Error::Refused`] if a database is not empty or the archive
    /// can't be used here, [`Error::Differs`] if a restored database differs from the backup; [`Error::Failed`] and
    /// [`Error::Database`]. The restore can be repeated into empty databases.
    pub async fn restore(&self, from: &str) -> Result<RestoreReport, Error> {
        self.check_url()?;
        let place = Arc::new(ArchivePlace::find(&self.0.locations, from)?);
        let folder = TemporaryFolder::create(self.0.settings.directory.as_deref())?;
        let VerifiedArchive { manifest, copies } = self.verify_archive(&place, &folder).await?;
        let dialect = self.check_usable(&place, &manifest)?;
        let mut places = Vec::new();
        for record in &manifest.databases {
            let target = self.target(&place, record)?;
            if let (Some(tenant), Some(databases)) = (record.tenant, self.0.db.tenant_databases()) {
                databases.create_empty(tenant).await?;
            }
            database::check_empty(dialect, &target, &self.0.clock).await?;
            places.push(target);
        }
        let mut audit_entries = 0;
        for (record, target) in manifest.databases.iter().zip(&places) {
            let copy = copies.get(&record.entry).ok_or_else(|| missing_copy(&place, record))?;
            database::fill(dialect, target, copy, &self.0.settings, &self.0.clock).await?;
            audit_entries += database::verify(target, record, &place.to_string(), &self.0.clock).await?;
        }
        if manifest.objects() > 0 {
            self.restore_objects(&place, &manifest).await?;
        }
        tracing::info!(target: "omnistack::backup", from = %place, "restored a backup");
        Ok(report(&place, &manifest, audit_entries))
    }

    /// Verifies a backup: reads the whole archive, and restores each database into a scratch database, which is removed
    /// afterwards. If the process is killed, the next check with the same `DATABASE_URL` removes it. On PostgreSQL, the
    /// role of `DATABASE_URL` needs CREATEDB. Neither the app's database nor the parts of the modules are changed.
    ///
    /// # Errors
    /// [`Error::Damaged`] for an archive that is not whole, [`Error::Differs`] if a scratch database differs from the
    /// backup, [`Error::Refused`], [`Error::Failed`] and [`Error::Database`].
    pub async fn check(&self, from: &str) -> Result<RestoreReport, Error> {
        self.check_url()?;
        let place = Arc::new(ArchivePlace::find(&self.0.locations, from)?);
        let folder = TemporaryFolder::create(self.0.settings.directory.as_deref())?;
        let VerifiedArchive { manifest, copies } = self.verify_archive(&place, &folder).await?;
        let dialect = self.check_dialect(&place, &manifest)?;
        let main = DatabasePlace::new(&self.0.database, self.0.database.url.clone());
        let mut audit_entries = 0;
        for record in &manifest.databases {
            let copy = copies.get(&record.entry).ok_or_else(|| missing_copy(&place, record))?;
            let scratch = ScratchDatabase::create(dialect, &main, folder.path()).await?;
            let checked = async {
                database::fill(dialect, &scratch.place, copy, &self.0.settings, &self.0.clock).await?;
                database::verify(&scratch.place, record, &place.to_string(), &self.0.clock).await
            };
            let checked = checked.await;
            let removed = scratch.remove().await;
            audit_entries += checked?;
            removed?;
        }
        Ok(report(&place, &manifest, audit_entries))
    }

    /// Reads the archive to its end, verifies it, and copies its databases into the folder.
    async fn verify_archive(
        &self,
        place: &Arc<ArchivePlace>,
        folder: &TemporaryFolder,
    ) -> Result<VerifiedArchive, Error> {
        let source = place.read().await?;
        let (name, keys, folder) = (place.to_string(), self.0.keys.clone(), folder.path().to_owned());
        let work = move || -> Result<VerifiedArchive, Error> {
            let mut copies = BTreeMap::new();
            let manifest = ArchiveReader::open(source, keys.as_ref(), &name)?.walk(|entry, _, content| {
                if is_database(entry) {
                    let path = folder.join(format!("{}.copy", copies.len()));
                    let failed = |error| Error::failed(format!("`{entry}` can't be unpacked"), error);
                    io::copy(content, &mut File::create(&path).map_err(failed)?).map_err(failed)?;
                    copies.insert(entry.to_owned(), path);
                }
                Ok(())
            })?;
            Ok(VerifiedArchive { manifest, copies })
        };
        join(spawn_blocking(work).await)
    }

    /// Fails unless the archive has databases of the kind of the app's.
    fn check_dialect(&self, place: &ArchivePlace, manifest: &Manifest) -> Result<Dialect, Error> {
        let dialect = self.0.db.dialect();
        if manifest.dialect == database::dialect_name(dialect) {
            return Ok(dialect);
        }
        Err(Error::refused(format!(
            "the archive {place} has a database of {}, and DATABASE_URL names another kind: set it to an empty database of \
             that kind",
            manifest.server
        )))
    }

    /// Fails unless the archive can be restored by this app.
    fn check_usable(&self, place: &ArchivePlace, manifest: &Manifest) -> Result<Dialect, Error> {
        let dialect = self.check_dialect(place, manifest)?;
        for entry in manifest.entries.iter().filter(|entry| !manifest.is_database(&entry.name)) {
            if self.part_of(&entry.name).is_none() {
                return Err(Error::refused(format!(
                    "the archive {place} has `{}`, and no module of this app takes it: add the module that made it, such as \
                     `Files`",
                    entry.name
                )));
            }
        }
        Ok(dialect)
    }

    /// Returns the database into which a copy is restored.
    fn target(&self, place: &ArchivePlace, record: &DatabaseRecord) -> Result<DatabasePlace, Error> {
        let url = match (record.tenant, self.0.db.tenant_databases()) {
            (None, _) => self.0.database.url.clone(),
            (Some(tenant), Some(databases)) => databases.url(tenant),
            (Some(_), None) => {
                return Err(Error::refused(format!(
                    "the archive {place} has tenant databases: set TENANT_DATABASE_URL"
                )));
            }
        };
        Ok(DatabasePlace::new(&self.0.database, url))
    }

    /// Returns the part to which an entry belongs, and its key in that part.
    fn part_of<'a>(&self, entry: &'a str) -> Option<(&Arc<dyn BackupPart>, &'a str)> {
        let (name, key) = entry.split_once('/')?;
        self.0.parts.iter().find(|part| part.name() == name).map(|part| (part, key))
    }

    /// Reads the archive again, and stores its objects.
    async fn restore_objects(&self, place: &Arc<ArchivePlace>, manifest: &Manifest) -> Result<(), Error> {
        let source = place.read().await?;
        let types = manifest.entries.iter().map(|entry| (entry.name.clone(), entry.content_type.clone()));
        let types: BTreeMap<_, _> = types.collect();
        let (backups, keys, name, handle) = (self.clone(), self.0.keys.clone(), place.to_string(), Handle::current());
        let work = move || backups.store_objects(source, keys.as_ref(), &name, &types, &handle);
        let again = join(spawn_blocking(work).await)?;
        if again.entries == manifest.entries {
            return Ok(());
        }
        let problem = "the archive was replaced by another one while its objects were restored".into();
        Err(Error::Differs { archive: place.to_string(), problem })
    }

    /// Stores the objects of an archive, and returns its manifest. Blocks.
    fn store_objects(
        &self,
        source: Box<dyn Read + Send>,
        keys: Option<&KeyRing>,
        name: &str,
        types: &BTreeMap<String, Option<String>>,
        handle: &Handle,
    ) -> Result<Manifest, Error> {
        let archive = ArchiveReader::open(source, keys, name)?;
        archive.walk(|entry, size, content| {
            let Some((part, key)) = self.part_of(entry).filter(|_| !is_database(entry)) else { return Ok(()) };
            let (sender, mut receiver) = mpsc::channel(MAX_WAITING_PIECES);
            let body = stream::poll_fn(move |context| receiver.poll_recv(context)).boxed();
            let object = BackupContent::new(size, types.get(entry).cloned().flatten(), body);
            let (part, key) = (Arc::clone(part), key.to_owned());
            let storing = handle.spawn(async move { part.restore(&key, object).await });
            let sent = send(content, &sender);
            drop(sender);
            let stored = handle.block_on(storing);
            let failed = |error: BoxError| Error::failed(format!("`{entry}` can't be stored"), error);
            stored.map_err(|error| failed(error.into()))?.map_err(failed)?;
            sent.map_err(|error| failed(error.into()))
        })
    }
}

/// Sends the content in pieces. If it can't be read, ends the stream with an error.
fn send(content: &mut dyn Read, sender: &mpsc::Sender<Result<Bytes, BoxError>>) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let limit = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
        let count = match (&mut *content).take(limit).read_to_end(&mut piece) {
            Ok(count) => count,
            Err(error) => {
                _ = sender.blocking_send(Err("the archive can't be read".into()));
                return Err(error);
            }
        };
        // The receiver reports why it takes no more.
        if count == 0 || sender.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
}

/// Returns whether an entry is a database. Names of parts have no dot and differ from `tenants`.
fn is_database(entry: &str) -> bool {
    entry.starts_with("database.") || entry.starts_with("tenants/")
}

fn missing_copy(place: &ArchivePlace, record: &DatabaseRecord) -> Error {
    Error::damaged(&place.to_string(), format!("`{}` is missing", record.entry))
}

fn report(place: &ArchivePlace, manifest: &Manifest, audit_entries: u64) -> RestoreReport {
    RestoreReport {
        archive: place.to_string(),
        created_at: manifest.created_at,
        app: format!("{} {}", manifest.app, manifest.app_version),
        databases: manifest.databases.len(),
        tables: manifest.databases.iter().map(|database| database.inventory.tables.len()).sum(),
        rows: manifest.rows(),
        objects: manifest.objects(),
        audit_chains: manifest.databases.iter().map(|database| database.inventory.audit_chains.len()).sum(),
        audit_entries,
        skipped: manifest.skipped.clone(),
    }
}
