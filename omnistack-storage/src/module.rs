//! The module [`Files`].

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "cloudinary"))]
mod buckets;

use std::{fmt, sync::Arc};

use omnistack_core::{
    clock::Clock,
    config::{Config, PublicUrl},
    crypto::KeyRing,
    db::Db,
    events::{EnqueueJob, TenantDeleted},
    http::HttpSettings,
    idempotency::IdempotencySettings,
    jobs::Cron,
    migrations,
    module::{Context, MissingDependency, Module, Mount, Registry},
};

use crate::{
    Archival, ArchiveRule, FileScanner, FileService, Local, Memory, Storage, StorageProvider, UrlSigner,
    archival::jobs::{ArchiveFiles, RestoreFromArchive},
    backup::{OwnStorageLocation, StoredObjects},
    config::{ArchivalSettings, ExportSettings, FileSettings, StorageSettings},
    embedding::EmbeddingOrigins,
    export::{
        ExportService, ExportServiceInner,
        jobs::{CreateExportArchive, DeleteExpiredExports, ExpireTenantExports, MailExportLink},
    },
    files::{
        FileServiceInner,
        jobs::{CleanUpFiles, DeleteTenantFiles},
    },
    http,
    scan::SharedScanner,
    signed_urls::SIGNED_URL_PATH,
    sniff,
};

/// The bytes that a multipart form may have in addition to its file.
const MAX_FORM_OVERHEAD_BYTES: u64 = 64 * 1024;
/// The key for which the service check asks the storage. It does not exist.
const SERVICE_CHECK_KEY: &str = "omnistack-service-check";

/// The module for files of tenants: uploads, downloads, signed URLs, quotas, archival and thumbnails.
///
/// It provides [`Storage`], [`FileService`], [`Archival`] and [`UrlSigner`] to other modules, adds the routes under
/// `/api/v1/app/files`, `/api/v1/app/exports`, `/api/v1/public/files/links` and `/api/v1/admin/archival`, and runs a cleanup every hour.
///
/// ```
/// use std::time::Duration;
///
/// use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_storage::{ArchiveRule, Files, Memory, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("FILES_TYPES", "image/*")]);
/// let half_a_year = Duration::from_secs(180 * 24 * 60 * 60);
/// let files = Files::new(Memory::default()).archive_rule(ArchiveRule::older_than(half_a_year));
/// let app = App::builder(config).with(DevIdentity::default()).with(files).build()?;
/// assert_eq!(app.context().get::<Storage>()?.name(), "memory");
/// assert!(app.routes().iter().any(|route| route.path == "/api/v1/app/files/{id}/content"));
/// # Ok(())
/// # }
/// ```
#[doc(alias("attachment", "upload"))]
#[derive(Clone, Default)]
#[must_use]
pub struct Files {
    storage: Option<Storage>,
    archive: Option<Storage>,
    rules: Vec<ArchiveRule>,
    scanner: Option<SharedScanner>,
    #[cfg(feature = "thumbnails")]
    thumbnails: Vec<crate::Thumbnail>,
}

type StorageFactory = Box<dyn Fn(&Context, UrlSigner) -> Result<Storage, MissingDependency> + Send>;

impl Files {
    /// Creates the module with the provider that `STORAGE_PROVIDER` names; a directory of this machine by
    /// default.
    pub fn from_env() -> Self {
        Self::default()
    }

    /// Creates the module with a provider.
    pub fn new(provider: impl StorageProvider) -> Self {
        Self { storage: Some(Storage::new(provider)), ..Self::default() }
    }

    /// Sets an external archive: archived files are moved to this provider, instead of to another storage class
    /// of the main one. Replaces `ARCHIVAL_DIRECTORY`.
    pub fn archive_to(mut self, provider: impl StorageProvider) -> Self {
        self.archive = Some(Storage::new(provider));
        self
    }

    /// Adds a rule for the files that are archived every night. The settings `ARCHIVAL_…` and each call add a
    /// rule; a file is archived if one of them matches.
    pub fn archive_rule(mut self, rule: ArchiveRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Sets a scanner that checks each file before it can be read.
    pub fn scanner(mut self, scanner: impl FileScanner) -> Self {
        self.scanner = Some(SharedScanner(Arc::new(scanner)));
        self
    }

    /// Adds a size in which thumbnails are served. The first one is the default size.
    #[cfg(feature = "thumbnails")]
    pub fn thumbnail(mut self, size: crate::Thumbnail) -> Self {
        self.thumbnails.push(size);
        self
    }

    #[cfg(feature = "thumbnails")]
    fn thumbnails(&self, registry: &mut Registry) -> Option<crate::thumbnail::ThumbnailEncoder> {
        let settings = registry.config::<crate::ThumbnailSettings>()?;
        let mut names = std::collections::BTreeSet::new();
        for size in &self.thumbnails {
            let twice = (!names.insert(&size.name)).then_some("the name is declared twice");
            if let Some(problem) = size.problem().or(twice) {
                registry.report_problem(
                    format!("the thumbnail `{}`: {problem}", size.name),
                    "correct the call of `Files::thumbnail`",
                );
            }
        }
        if self.thumbnails.is_empty() {
            return None;
        }
        registry.routes(Mount::app("/files").permissions("files"), http::thumbnail::api(), Context::get);
        Some(crate::thumbnail::ThumbnailEncoder::new(&self.thumbnails, settings))
    }

    /// Returns a closure that opens the storage of the settings. Reports problems of the settings and returns
    /// `None` if there are any.
    fn provider(&self, registry: &mut Registry) -> Option<StorageFactory> {
        if let Some(storage) = self.storage.clone() {
            return Some(Box::new(move |_, _| Ok(storage.clone())));
        }
        let settings: StorageSettings = registry.config()?;
        if matches!(settings.provider.as_str(), "local" | "memory") {
            registry.require_public_url("links to files");
            for method in ["GET", "PUT"] {
                registry.require_route(
                    &format!("{method} {SIGNED_URL_PATH}/{{link}}"),
                    "signed URLs of files lead to",
                    "keep it where it is, or store the files in a bucket: set STORAGE_PROVIDER",
                );
            }
        }
        match settings.provider.as_str() {
            "local" => {
                let folder = settings.path();
                Some(Box::new(move |_, links| Ok(Storage::new(Local::new(&folder).url_signer(links)))))
            }
            "memory" => {
                // The closure runs more than once, and each call returns the same objects.
                let memory = Memory::new(registry.clock());
                Some(Box::new(move |_, links| Ok(Storage::new(memory.clone().url_signer(links)))))
            }
            _ => buckets::provider(settings, registry),
        }
    }
}

/// Reports patterns of media types that match no file.
fn report_unusable_types(registry: &mut Registry, setting: &str, types: &[String]) {
    if let Some(wrong) = types.iter().find(|pattern| !sniff::is_pattern(pattern)) {
        registry.report_problem(
            format!("{setting}: `{wrong}` is not a media type"),
            "use media types such as `application/pdf`, or `image/*`",
        );
    }
}

impl Module for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn register(&self, registry: &mut Registry) {
        registry.require::<Db>().require::<KeyRing>().migrations(migrations!["0001_files", "0002_exports"]);
        let Some(settings) = registry.config::<FileSettings>() else { return };
        let Some(archives) = registry.config::<ArchivalSettings>() else { return };
        let Some(keys) = registry.config::<IdempotencySettings>() else { return };
        let Some(exports) = registry.config::<ExportSettings>() else { return };
        report_unusable_types(registry, "FILES_TYPES", &settings.types);
        report_unusable_types(registry, "ARCHIVAL_TYPES", &archives.types);
        let Some(make) = self.provider(registry) else { return };
        #[cfg(feature = "thumbnails")]
        let thumbnails = self.thumbnails(registry);
        // Reports each of the settings that is set.
        #[cfg(not(feature = "thumbnails"))]
        registry.config::<crate::config::ThumbnailSettings>();
        let archive = archives.directory.as_ref().map(|directory| Storage::new(Local::new(directory)));
        let archive = self.archive.clone().or(archive);
        let rules: Vec<_> =
            ArchiveRule::from_settings(&archives).into_iter().chain(self.rules.iter().cloned()).collect();
        if !rules.is_empty() || archives.retention.is_some() || archive.is_some() {
            registry.cron(Cron::new("13 2 * * *", ArchiveFiles {}));
        }
        if let Some(archive) = archive.clone() {
            registry.backup_part(move |_| Ok(StoredObjects::new("archive", archive.clone())));
        }
        buckets::backup_location(registry);
        let (app, version) = (registry.app_name().to_owned(), registry.app_version().to_owned());
        let scanner = self.scanner.clone();
        let (largest, settings_timeout) = (settings.max_size.as_u64(), settings.upload_timeout);
        let idle = settings.upload_idle;
        // The generic layer for idempotency keys would hold the body in memory, so this module handles the keys
        // itself.
        let bytes = |mount: Mount| {
            mount
                .without_idempotency()
                .body_limit(largest.saturating_add(MAX_FORM_OVERHEAD_BYTES))
                .timeout(settings.upload_timeout)
        };
        let (taking, writing) =
            (bytes(Mount::app("/files").permissions("files")), bytes(Mount::public("/files/links")));
        registry
            .provide_from(move |ctx| {
                Ok(UrlSigner::new(ctx.get::<KeyRing>()?, ctx.get::<Clock>()?, ctx.get::<PublicUrl>()?.as_str()))
            })
            .provide_from(move |ctx| make(ctx, ctx.get()?))
            .provide_from(move |ctx| {
                let http = ctx.get::<Config>()?.read_settings::<HttpSettings>().ok();
                Ok(FileService(Arc::new(FileServiceInner {
                    // The rows of files are in the main database for all tenants, so that the cleanup finds them.
                    db: ctx.get::<Db>()?.app_database(),
                    clock: ctx.get()?,
                    storage: ctx.get()?,
                    archive: archive.clone(),
                    entitlements: ctx.get()?,
                    usage: ctx.get()?,
                    realtime: ctx.get()?,
                    scanner: scanner.clone(),
                    #[cfg(feature = "thumbnails")]
                    thumbnails: thumbnails.clone(),
                    settings: settings.clone(),
                    embedding_origins: EmbeddingOrigins::new(http.as_ref()),
                    key_retention: keys.retention,
                })))
            })
            .provide_from(move |ctx| Ok(Archival::new(ctx.get()?, ctx.get()?, archives.clone(), rules.clone())))
            .service_check("storage", |ctx| {
                let storage = ctx.get::<Storage>()?;
                Ok(move || {
                    let storage = storage.clone();
                    async move { Ok(storage.exists(&SERVICE_CHECK_KEY.parse()?).await.map(drop)?) }
                })
            })
            .job::<CleanUpFiles>(Context::get)
            .job::<ArchiveFiles>(Context::get)
            .job::<DeleteTenantFiles>(Context::get)
            .subscribe("forget-files", |ctx| {
                Ok(EnqueueJob::new(ctx.get()?, |gone: TenantDeleted| DeleteTenantFiles { tenant: gone.tenant }))
            })
            .job::<RestoreFromArchive>(Context::get)
            .provide_from(move |ctx| {
                Ok(ExportService(Arc::new(ExportServiceInner {
                    files: ctx.get()?,
                    rows: ctx.get()?,
                    jobs: ctx.get()?,
                    audit: ctx.get()?,
                    mailer: ctx.get()?,
                    contacts: ctx.get()?,
                    app: app.clone(),
                    version: version.clone(),
                    retention: exports.retention,
                })))
            })
            .job::<CreateExportArchive>(Context::get)
            .job::<MailExportLink>(Context::get)
            .job::<DeleteExpiredExports>(Context::get)
            .job::<ExpireTenantExports>(Context::get)
            .subscribe("forget-exports", |ctx| {
                Ok(EnqueueJob::new(ctx.get()?, |gone: TenantDeleted| ExpireTenantExports { tenant: gone.tenant }))
            })
            .cron(Cron::new("41 * * * *", DeleteExpiredExports {}))
            .routes(Mount::app("/exports").in_person(), http::exports::api(), Context::get)
            .backup_part(|ctx| Ok(StoredObjects::new("files", ctx.get()?)))
            .backup_location(&["storage"], |ctx| Ok(OwnStorageLocation(ctx.get()?)))
            .cron(Cron::new("47 * * * *", CleanUpFiles {}))
            .routes(taking, http::files::transfer_api(), Context::get)
            .routes(Mount::app("/files").permissions("files"), http::files::api(), Context::get)
            .routes(Mount::admin("/archival").timeout(settings_timeout), http::archival::api(), Context::get)
            .routes(writing, http::signed_urls::api(), move |ctx| {
                Ok(http::signed_urls::SignedUrlRoutes {
                    links: ctx.get()?,
                    storage: ctx.get()?,
                    files: ctx.get()?,
                    idle,
                })
            });
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Files");
        shown.field("storage", &self.storage).field("archive", &self.archive).field("rules", &self.rules);
        shown.field("scanner", &self.scanner).finish_non_exhaustive()
    }
}

/// Reports a provider that does not exist, or that is not compiled in.
fn report_unknown_provider(registry: &mut Registry, provider: &str) {
    let (feature, package) = match provider {
        "s3" | "r2" => ("s3", "omnistack-storage"),
        "gcs" | "azure" => (provider, "omnistack-storage"),
        "cloudinary" => (provider, "omnistack"),
        _ => {
            let what = format!("`STORAGE_PROVIDER` is `{provider}`, and there is no such provider");
            let fix = "set it to `local`, `memory`, `s3`, `r2`, `gcs`, `azure` or `cloudinary`";
            registry.report_problem(what, fix);
            return;
        }
    };
    registry.report_problem(
        format!("`STORAGE_PROVIDER` is `{provider}`, but this program is compiled without the feature `{feature}`"),
        format!("add the feature `{feature}` to `{package}` in Cargo.toml, or set another provider"),
    );
}

#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure", feature = "cloudinary")))]
mod buckets {
    use omnistack_core::module::Registry;

    use super::StorageFactory;
    use crate::config::StorageSettings;

    pub(super) fn provider(settings: StorageSettings, registry: &mut Registry) -> Option<StorageFactory> {
        super::report_unknown_provider(registry, &settings.provider);
        None
    }

    /// Does nothing: no provider of buckets is compiled in.
    pub(super) fn backup_location(_: &mut Registry) {}
}
