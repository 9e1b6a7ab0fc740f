//! The module.

use std::{fmt, sync::Arc};

use omnistack_core::{
    app::{Ctx, Missing, Module, Mount, Registry},
    clock::Clock,
    config::PublicUrl,
    crypto::KeyRing,
    db::Db,
    events::Enqueue,
    http::idempotency::IdempotencySettings,
    identity::TenantDeleted,
    jobs::Cron,
    migrations,
};

use crate::{
    Archival, ArchiveRule, FileService, Links, Local, Memory, Scan, Storage, StorageProvider,
    config::{ArchivalSettings, FileSettings, StorageSettings},
    files::Inner,
    http,
    jobs::{Archive, BringBack, ForgetTenant, Sweep},
    scan::Scanner,
};

/// What a form has beside its file.
const FORM: u64 = 64 * 1024;

/// Files: uploads, downloads, links, quotas.
///
/// ```no_run
/// use omnistack_core::{app::App, identity::DevIdentity};
/// use omnistack_storage::Files;
///
/// # async fn run() -> omnistack_core::Result<()> {
/// App::from_env().with(DevIdentity::default()).with(Files::from_env()).run().await
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Files {
    storage: Option<Storage>,
    archive: Option<Storage>,
    rules: Vec<ArchiveRule>,
    scanner: Option<Scanner>,
    #[cfg(feature = "thumbnails")]
    thumbnails: Vec<crate::Thumbnail>,
}

type Make = Box<dyn Fn(&Ctx, Links) -> Result<Storage, Missing> + Send>;

impl Files {
    /// Kept where `STORAGE_PROVIDER` says: in a directory of this machine unless set.
    pub fn from_env() -> Self {
        Self::default()
    }

    /// Kept by this provider.
    pub fn new(provider: impl StorageProvider) -> Self {
        Self { storage: Some(Storage::new(provider)), ..Self::default() }
    }

    /// Archives files with this provider, in place of another storage class of the one they are kept by.
    pub fn archive_to(mut self, provider: impl StorageProvider) -> Self {
        self.archive = Some(Storage::new(provider));
        self
    }

    /// Archives what this says every night, beside what the settings say and other rules.
    pub fn archive_when(mut self, rule: ArchiveRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Has every file looked at before anybody can read it.
    pub fn scan(mut self, scanner: impl Scan) -> Self {
        self.scanner = Some(Scanner(Arc::new(scanner)));
        self
    }

    /// Serves thumbnails of this size. The first that is declared is the one nobody asks for by its name.
    #[cfg(feature = "thumbnails")]
    pub fn thumbnail(mut self, size: crate::Thumbnail) -> Self {
        self.thumbnails.push(size);
        self
    }

    #[cfg(feature = "thumbnails")]
    fn thumbnails(&self, registry: &mut Registry) -> Option<crate::thumbnail::Thumbnails> {
        let settings = registry.config::<crate::ThumbnailSettings>()?;
        let mut names = std::collections::BTreeSet::new();
        for size in &self.thumbnails {
            let twice = (!names.insert(&size.name)).then_some("there are two of its name");
            if let Some(problem) = size.problem().or(twice) {
                registry.problem(format!("the thumbnail `{}`: {problem}", size.name), "correct `Files::thumbnail`");
            }
        }
        if self.thumbnails.is_empty() {
            return None;
        }
        registry.routes(Mount::app("/files").permissions("files"), http::thumbnail::api(), Ctx::get);
        Some(crate::thumbnail::Thumbnails::new(&self.thumbnails, settings))
    }

    /// What makes the storage the settings say.
    fn provider(&self, registry: &mut Registry) -> Option<Make> {
        if let Some(storage) = self.storage.clone() {
            return Some(Box::new(move |_, _| Ok(storage.clone())));
        }
        let settings: StorageSettings = registry.config()?;
        if matches!(settings.provider.as_str(), "local" | "memory") {
            registry.require_public_url("links to files");
        }
        match settings.provider.as_str() {
            "local" => {
                let folder = settings.path();
                Some(Box::new(move |_, links| Ok(Storage::new(Local::new(&folder).links(links)))))
            }
            "memory" => {
                // One for all who ask.
                let memory = Memory::new(registry.clock());
                Some(Box::new(move |_, links| Ok(Storage::new(memory.clone().links(links)))))
            }
            _ => buckets::provider(settings, registry),
        }
    }
}

impl Module for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn register(&self, registry: &mut Registry) {
        registry.require::<Db>().require::<KeyRing>().migrations(migrations!["0001_files", "0002_archives"]);
        let Some(settings) = registry.config::<FileSettings>() else { return };
        let Some(archives) = registry.config::<ArchivalSettings>() else { return };
        let Some(keys) = registry.config::<IdempotencySettings>() else { return };
        let Some(make) = self.provider(registry) else { return };
        #[cfg(feature = "thumbnails")]
        let thumbnails = self.thumbnails(registry);
        let archive = archives.directory.as_ref().map(|directory| Storage::new(Local::new(directory)));
        let archive = self.archive.clone().or(archive);
        let rules: Vec<_> = ArchiveRule::of(&archives).into_iter().chain(self.rules.iter().cloned()).collect();
        if !rules.is_empty() || archives.retention.is_some() || archive.is_some() {
            registry.cron(Cron::new("13 2 * * *", Archive {}));
        }
        let scanner = self.scanner.clone();
        let (largest, settings_timeout) = (settings.max_size.as_u64(), settings.upload_timeout);
        let idle = settings.upload_idle;
        // Keys of uploads are kept here, since a body is not held in memory.
        let bytes = |mount: Mount| {
            mount.without_idempotency().body_limit(largest.saturating_add(FORM)).timeout(settings.upload_timeout)
        };
        let (taking, writing) =
            (bytes(Mount::app("/files").permissions("files")), bytes(Mount::public("/files/links")));
        registry
            .provide_with(move |ctx| {
                Ok(Links::new(ctx.get::<KeyRing>()?, ctx.get::<Clock>()?, ctx.get::<PublicUrl>()?.as_str()))
            })
            .provide_with(move |ctx| make(ctx, ctx.get()?))
            .provide_with(move |ctx| {
                Ok(FileService(Arc::new(Inner {
                    // Where every tenant's are, so that what is left over is found.
                    db: ctx.get::<Db>()?.main(),
                    clock: ctx.get()?,
                    storage: ctx.get()?,
                    archive: archive.clone(),
                    entitlements: ctx.get()?,
                    usage: ctx.get()?,
                    scanner: scanner.clone(),
                    #[cfg(feature = "thumbnails")]
                    thumbnails: thumbnails.clone(),
                    settings: settings.clone(),
                    key_retention: keys.retention,
                })))
            })
            .provide_with(move |ctx| Ok(Archival::new(ctx.get()?, ctx.get()?, archives.clone(), rules.clone())))
            .job::<Sweep>(Ctx::get)
            .job::<Archive>(Ctx::get)
            .job::<ForgetTenant>(Ctx::get)
            .on("forget-files", |ctx| {
                Ok(Enqueue::new(ctx.get()?, |gone: TenantDeleted| ForgetTenant { tenant: gone.tenant }))
            })
            .job::<BringBack>(Ctx::get)
            .cron(Cron::new("47 * * * *", Sweep {}))
            .routes(taking, http::files::bytes(), Ctx::get)
            .routes(Mount::app("/files").permissions("files"), http::files::api(), Ctx::get)
            .routes(Mount::admin("/archival").timeout(settings_timeout), http::archival::api(), Ctx::get)
            .routes(writing, http::links::api(), move |ctx| {
                Ok(http::links::Served { links: ctx.get()?, storage: ctx.get()?, files: ctx.get()?, idle })
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

#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure", feature = "cloudinary")))]
mod buckets {
    use omnistack_core::app::Registry;

    use super::Make;
    use crate::config::StorageSettings;

    pub(super) fn provider(settings: StorageSettings, registry: &mut Registry) -> Option<Make> {
        let what = format!("`STORAGE_PROVIDER`: `{}` is not compiled in, or nothing that is known", settings.provider);
        registry.problem(what, "set `local` or `memory`, or turn on the feature of the same name");
        None
    }
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "cloudinary"))]
mod buckets {
    use omnistack_core::{app::Registry, clock::Clock, http::client::Client};

    use super::Make;
    use crate::{Error, Storage, config::StorageSettings};

    /// Opened once while the problems are collected, with a client of its own, and once for the app.
    pub(super) fn provider(settings: StorageSettings, registry: &mut Registry) -> Option<Make> {
        let client = registry.config::<omnistack_core::http::client::ClientSettings>()?.client();
        registry.require::<Client>();
        let opened = match client {
            Ok(client) => open(&settings, client, registry.clock()),
            // Core says what is wrong with it.
            Err(_) => return None,
        };
        match opened {
            Ok(_) => {}
            Err(Wrong::Unknown) => {
                let what = format!("`STORAGE_PROVIDER`: `{}` is not compiled in, or nothing known", settings.provider);
                registry.problem(
                    what,
                    "set one of `local`, `memory`, `s3`, `r2`, `gcs`, `azure`, `cloudinary`, and turn on its feature",
                );
                return None;
            }
            Err(Wrong::Absent(name)) => {
                registry.problem(format!("`{name}` is absent"), format!("`{}` needs it", settings.provider));
                return None;
            }
            Err(Wrong::Refused(error)) => {
                registry.problem(format!("the storage can't be opened: {error}"), "correct the settings `STORAGE_…`");
                return None;
            }
        }
        Some(Box::new(move |ctx, _| {
            let storage = open(&settings, ctx.get::<Client>()?, ctx.get::<Clock>()?);
            storage.map_err(|_| omnistack_core::app::Missing("Storage"))
        }))
    }

    #[derive(Debug)]
    enum Wrong {
        Unknown,
        Absent(&'static str),
        Refused(Error),
    }

    impl From<Error> for Wrong {
        fn from(error: Error) -> Self {
            Self::Refused(error)
        }
    }

    fn need<'a>(value: Option<&'a str>, name: &'static str) -> Result<&'a str, Wrong> {
        value.ok_or(Wrong::Absent(name))
    }

    fn open(settings: &StorageSettings, client: Client, clock: Clock) -> Result<Storage, Wrong> {
        match settings.provider.as_str() {
            #[cfg(feature = "s3")]
            kind @ ("s3" | "r2") => {
                use crate::S3Bucket;
                let mut opened = match kind {
                    "r2" => S3Bucket::r2(
                        need(settings.bucket.as_deref(), "STORAGE_BUCKET")?,
                        need(settings.account.as_deref(), "STORAGE_ACCOUNT")?,
                    ),
                    _ => S3Bucket::new(need(settings.bucket.as_deref(), "STORAGE_BUCKET")?, &settings.region),
                };
                if let Some(endpoint) = &settings.endpoint {
                    opened = opened.endpoint(endpoint);
                }
                opened = match (&settings.key_id, &settings.key) {
                    (Some(id), Some(key)) => opened.credentials(id, key.clone()),
                    (None, None) if kind == "s3" => opened,
                    (None, _) => return Err(Wrong::Absent("STORAGE_KEY_ID")),
                    (_, None) => return Err(Wrong::Absent("STORAGE_KEY")),
                };
                Ok(Storage::new(opened.open(client, clock)?))
            }
            #[cfg(feature = "gcs")]
            "gcs" => {
                use omnistack_core::ExposeSecret as _;
                let key = settings.key.as_ref().map(|key| key.expose_secret());
                Ok(Storage::new(match &settings.endpoint {
                    Some(url) => {
                        crate::Gcs::at(url, need(settings.bucket.as_deref(), "STORAGE_BUCKET")?, key, client, clock)?
                    }
                    None => crate::Gcs::new(need(settings.bucket.as_deref(), "STORAGE_BUCKET")?, key, client, clock)?,
                }))
            }
            #[cfg(feature = "azure")]
            "azure" => {
                let key = settings.key.as_ref();
                Ok(Storage::new(match &settings.endpoint {
                    Some(url) => crate::Azure::at(
                        url,
                        need(settings.account.as_deref(), "STORAGE_ACCOUNT")?,
                        need(settings.bucket.as_deref(), "STORAGE_BUCKET")?,
                        key,
                        client,
                        clock,
                    )?,
                    None => crate::Azure::new(
                        need(settings.account.as_deref(), "STORAGE_ACCOUNT")?,
                        need(settings.bucket.as_deref(), "STORAGE_BUCKET")?,
                        key,
                        client,
                        clock,
                    )?,
                }))
            }
            #[cfg(feature = "cloudinary")]
            "cloudinary" => {
                let key_id = need(settings.key_id.as_deref(), "STORAGE_KEY_ID")?;
                let key = settings.key.clone().ok_or(Wrong::Absent("STORAGE_KEY"))?;
                Ok(Storage::new(crate::Cloudinary::new(
                    need(settings.account.as_deref(), "STORAGE_ACCOUNT")?,
                    key_id,
                    key,
                    client,
                    clock,
                )?))
            }
            _ => Err(Wrong::Unknown),
        }
    }
}
