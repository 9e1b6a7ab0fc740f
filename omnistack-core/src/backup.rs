//! Backups: one archive with the databases and the objects of modules, verified by hashes, rows and audit chains.
//!
//! The commands `backup` and `restore` use [`Backups`], and so can a job:
//!
//! ```
//! use omnistack_core::{async_trait, backup::Backups, jobs::{Cron, Job, JobContext, JobError}, module::Registry};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct BackUp {}
//!
//! #[async_trait]
//! impl Job for BackUp {
//!     const NAME: &'static str = "ops.back_up";
//!     const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(6 * 60 * 60);
//!     type State = Backups;
//!
//!     async fn run(self, backups: &Backups, _: &JobContext) -> Result<(), JobError> {
//!         // With `BACKUP_KEYS`, the archive is encrypted.
//!         backups.create("s3://example-backups/nightly/").await?;
//!         Ok(())
//!     }
//! }
//!
//! fn register(registry: &mut Registry) {
//!     registry.job::<BackUp>(|ctx| ctx.get()).cron(Cron::new("11 2 * * *", BackUp {}));
//! }
//! ```
//!
//! An archive is a tar file: the databases as `database.sqlite` or `database.pgdump` and `tenants/…`, the objects of each
//! [`BackupPart`] below its name, and at the end `manifest.json` with the size and the SHA-256 of each entry, the rows of
//! each table and the heads of the audit chains, and `manifest.sha256`. With `BACKUP_KEYS` it is sealed in chunks with
//! AES-256-GCM, under a key of its own that the first key of the setting seals.

mod archive;
mod create;
mod database;
mod error;
mod manifest;
mod part;
mod place;
mod restore;
mod settings;
mod sink;
mod temporary;

pub use error::{Error, ErrorKind};
pub use part::{BackupContent, BackupLocation, BackupObject, BackupPart, BackupStream};
pub use settings::BackupSettings;

use std::{collections::BTreeMap, fmt, sync::Arc};

use secrecy::ExposeSecret as _;

use crate::{
    clock::{Clock, Timestamp},
    crypto::KeyRing,
    db::{Db, DbSettings},
    module::{Context, MissingDependency, Module, Registry},
};

/// The handle that makes, verifies and restores backups. It is in the [`Context`] of every app. Cheap to clone.
#[derive(Clone)]
pub struct Backups(Arc<BackupsInner>);

struct BackupsInner {
    db: Db,
    database: DbSettings,
    clock: Clock,
    settings: BackupSettings,
    keys: Option<KeyRing>,
    app: String,
    app_version: String,
    parts: Vec<Arc<dyn BackupPart>>,
    locations: BTreeMap<&'static str, Arc<dyn BackupLocation>>,
}

/// The contents of a backup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// The file or URL of the archive.
    pub archive: String,
    /// The number of databases: the app's, and those of tenants.
    pub databases: usize,
    /// The number of tables in all databases.
    pub tables: usize,
    /// The number of rows in all tables.
    pub rows: u64,
    /// The number of objects of modules, such as files.
    pub objects: usize,
    /// The size of all entries in bytes.
    pub bytes: u64,
    /// The names of objects that are not in the archive, and the reasons.
    pub skipped: BTreeMap<String, String>,
    /// The id of the key that sealed the archive, or `None` if it is not encrypted.
    pub key: Option<String>,
}

/// The result of a restore, or of a check whether it would succeed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The file or URL of the archive.
    pub archive: String,
    /// The time at which the backup was made.
    pub created_at: Timestamp,
    /// The name and version of the app that made it.
    pub app: String,
    /// The number of databases.
    pub databases: usize,
    /// The number of tables in all databases.
    pub tables: usize,
    /// The number of rows in all tables; each table has as many as in the backup.
    pub rows: u64,
    /// The number of objects of modules, such as files.
    pub objects: usize,
    /// The number of audit chains. All are intact, and end with the same entry as in the backup.
    pub audit_chains: usize,
    /// The number of verified audit entries.
    pub audit_entries: u64,
    /// The names of objects that are not in the archive, and the reasons.
    pub skipped: BTreeMap<String, String>,
}

impl fmt::Debug for Backups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.parts.iter().map(|part| part.name()).collect();
        f.debug_struct("Backups")
            .field("parts", &parts)
            .field("locations", &self.0.locations.keys())
            .finish_non_exhaustive()
    }
}

type ResolvePart = Box<dyn Fn(&Context) -> Result<Arc<dyn BackupPart>, MissingDependency> + Send>;
type ResolveLocation = Box<dyn Fn(&Context) -> Result<Arc<dyn BackupLocation>, MissingDependency> + Send>;

/// The contributions of modules to backups.
#[derive(Default)]
struct BackupRegistrations {
    parts: Vec<ResolvePart>,
    locations: Vec<(&'static [&'static str], ResolveLocation)>,
}

impl Registry {
    /// Adds objects outside of the databases to backups: see [`BackupPart`].
    pub fn backup_part<P: BackupPart>(
        &mut self,
        part: impl Fn(&Context) -> Result<P, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        let resolve: ResolvePart = Box::new(move |ctx| {
            let part: Arc<dyn BackupPart> = Arc::new(part(ctx)?);
            Ok(part)
        });
        self.contributions::<BackupRegistrations>().parts.push(resolve);
        self
    }

    /// Adds a place in which backups can be stored, for URLs with these schemes: see [`BackupLocation`].
    pub fn backup_location<L: BackupLocation>(
        &mut self,
        schemes: &'static [&'static str],
        location: impl Fn(&Context) -> Result<L, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        let resolve: ResolveLocation = Box::new(move |ctx| {
            let location: Arc<dyn BackupLocation> = Arc::new(location(ctx)?);
            Ok(location)
        });
        self.contributions::<BackupRegistrations>().locations.push((schemes, resolve));
        self
    }
}

/// Module of [`Backups`].
pub(crate) struct BackupModule {
    pub(crate) db: Db,
    pub(crate) database: DbSettings,
}

impl Module for BackupModule {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<BackupSettings>() else { return };
        let keys = match settings.keys.as_ref().map(|keys| keys.expose_secret().parse::<KeyRing>()).transpose() {
            Ok(keys) => keys,
            Err(error) => {
                let fix =
                    "set it to `id:base64` with the output of `openssl rand -base64 32`, several separated by commas";
                registry.report_problem(format!("`BACKUP_KEYS`: {error}"), fix);
                return;
            }
        };
        let (db, database) = (self.db.clone(), self.database.clone());
        registry.after_modules(move |registry| {
            let registered = registry.take_contributions::<BackupRegistrations>();
            let (clock, app, version) =
                (registry.clock(), registry.app_name().to_owned(), registry.app_version().to_owned());
            registry.provide_from(move |ctx| {
                let parts = registered.parts.iter().map(|part| part(ctx)).collect::<Result<_, _>>()?;
                let mut locations = BTreeMap::new();
                for (schemes, location) in &registered.locations {
                    let location = location(ctx)?;
                    locations.extend(schemes.iter().map(|scheme| (*scheme, Arc::clone(&location))));
                }
                Ok(Backups(Arc::new(BackupsInner {
                    db: db.clone(),
                    database: database.clone(),
                    clock: clock.clone(),
                    settings: settings.clone(),
                    keys: keys.clone(),
                    app: app.clone(),
                    app_version: version.clone(),
                    parts,
                    locations,
                })))
            });
        });
    }
}
