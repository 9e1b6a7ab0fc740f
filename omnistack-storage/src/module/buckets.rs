//! The providers of buckets that the settings name.

use omnistack_core::{clock::Clock, http::client::Client, module::Registry};

use super::StorageFactory;
use crate::{Error, Storage, config::StorageSettings};

/// Opens the storage once while the app is built, with a client of its own, to report problems of the
/// settings. The closure opens it again with the client of the app.
pub(super) fn provider(settings: StorageSettings, registry: &mut Registry) -> Option<StorageFactory> {
    let client = registry.config::<omnistack_core::http::client::ClientSettings>()?.client();
    registry.require::<Client>();
    let opened = match client {
        Ok(client) => open(&settings, client, registry.clock()),
        // `omnistack-core` reports this problem.
        Err(_) => return None,
    };
    match opened {
        Ok(_) => {}
        Err(OpenError::Unknown) => {
            super::report_unknown_provider(registry, &settings.provider);
            return None;
        }
        Err(OpenError::Absent(name)) => {
            registry.report_problem(
                format!("`{name}` is not set"),
                format!("set it: the storage provider `{}` needs it", settings.provider),
            );
            return None;
        }
        Err(OpenError::Refused(error)) => {
            registry
                .report_problem(format!("the storage can't be opened: {error}"), "correct the `STORAGE_…` settings");
            return None;
        }
    }
    Some(Box::new(move |ctx, _| {
        let storage = open(&settings, ctx.get::<Client>()?, ctx.get::<Clock>()?);
        storage.map_err(|_| omnistack_core::module::MissingDependency::of::<Storage>())
    }))
}

/// Adds the buckets as places for backups.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(super) fn backup_location(registry: &mut Registry) {
    use crate::{backup::BucketLocation, config::BackupStorageSettings};

    let (Some(storage), Some(backup), Some(client)) = (
        registry.config::<StorageSettings>(),
        registry.config::<BackupStorageSettings>(),
        registry.config::<omnistack_core::http::client::ClientSettings>(),
    ) else {
        return;
    };
    registry.backup_location(&["s3", "r2", "gs", "azure"], move |ctx| {
        let clock = ctx.get::<Clock>()?;
        let (storage, backup, client) = (storage.clone(), backup.clone(), client.clone());
        Ok(BucketLocation::new(move |provider, bucket| {
            let settings = backup.bucket(&storage, provider, bucket);
            open(&settings, client.client()?, clock.clone()).map_err(|error| match error {
                OpenError::Unknown => {
                    let fix = "add its feature to `omnistack-storage` in Cargo.toml";
                    format!("this program is compiled without the provider `{provider}`: {fix}").into()
                }
                OpenError::Absent(name) => {
                    let name = name.replacen("STORAGE", "BACKUP_STORAGE", 1);
                    format!("`{name}` is not set, which the provider `{provider}` needs").into()
                }
                OpenError::Refused(error) => error.into(),
            })
        }))
    });
}

/// Does nothing: buckets of Cloudinary hold media only.
#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
pub(super) fn backup_location(_: &mut Registry) {}

#[derive(Debug)]
enum OpenError {
    Unknown,
    Absent(&'static str),
    Refused(Error),
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

fn require<'a>(value: Option<&'a str>, name: &'static str) -> Result<&'a str, OpenError> {
    value.ok_or(OpenError::Absent(name))
}

fn open(settings: &StorageSettings, client: Client, clock: Clock) -> Result<Storage, OpenError> {
    match settings.provider.as_str() {
        #[cfg(feature = "s3")]
        kind @ ("s3" | "r2") => {
            use crate::S3Builder;
            let mut opened = match kind {
                "r2" => S3Builder::r2(
                    require(settings.bucket.as_deref(), "STORAGE_BUCKET")?,
                    require(settings.account.as_deref(), "STORAGE_ACCOUNT")?,
                ),
                _ => S3Builder::new(require(settings.bucket.as_deref(), "STORAGE_BUCKET")?, &settings.region),
            };
            if let Some(endpoint) = &settings.endpoint {
                opened = opened.endpoint(endpoint);
            }
            opened = match (&settings.key_id, &settings.key) {
                (Some(id), Some(key)) => opened.credentials(id, key.clone()),
                (None, None) if kind == "s3" => opened,
                (None, _) => return Err(OpenError::Absent("STORAGE_KEY_ID")),
                (_, None) => return Err(OpenError::Absent("STORAGE_KEY")),
            };
            Ok(Storage::new(opened.build(client, clock)?))
        }
        #[cfg(feature = "gcs")]
        "gcs" => {
            use omnistack_core::ExposeSecret as _;
            let key = settings.key.as_ref().map(|key| key.expose_secret());
            Ok(Storage::new(match &settings.endpoint {
                Some(url) => crate::Gcs::with_endpoint(
                    url,
                    require(settings.bucket.as_deref(), "STORAGE_BUCKET")?,
                    key,
                    client,
                    clock,
                )?,
                None => crate::Gcs::new(require(settings.bucket.as_deref(), "STORAGE_BUCKET")?, key, client, clock)?,
            }))
        }
        #[cfg(feature = "azure")]
        "azure" => {
            let key = settings.key.as_ref();
            Ok(Storage::new(match &settings.endpoint {
                Some(url) => crate::Azure::with_endpoint(
                    url,
                    require(settings.account.as_deref(), "STORAGE_ACCOUNT")?,
                    require(settings.bucket.as_deref(), "STORAGE_BUCKET")?,
                    key,
                    client,
                    clock,
                )?,
                None => crate::Azure::new(
                    require(settings.account.as_deref(), "STORAGE_ACCOUNT")?,
                    require(settings.bucket.as_deref(), "STORAGE_BUCKET")?,
                    key,
                    client,
                    clock,
                )?,
            }))
        }
        #[cfg(feature = "cloudinary")]
        "cloudinary" => {
            let key_id = require(settings.key_id.as_deref(), "STORAGE_KEY_ID")?;
            let key = settings.key.clone().ok_or(OpenError::Absent("STORAGE_KEY"))?;
            Ok(Storage::new(crate::Cloudinary::new(
                require(settings.account.as_deref(), "STORAGE_ACCOUNT")?,
                key_id,
                key,
                client,
                clock,
            )?))
        }
        _ => Err(OpenError::Unknown),
    }
}
