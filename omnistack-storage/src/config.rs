//! Settings.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use secrecy::SecretString;

omnistack_core::settings! {
    /// Files.
    ///
    /// Limits of the files of tenants, read by [`Files`](crate::Files).
    ///
    /// ```
    /// use omnistack_core::config::Config;
    /// use omnistack_storage::FileSettings;
    ///
    /// let config = Config::from_pairs([("FILES_MAX_SIZE", "10MiB"), ("FILES_TYPES", "image/*,application/pdf")]);
    /// let settings: FileSettings = config.read_settings()?;
    /// assert_eq!(settings.max_size.as_u64(), 10 * 1024 * 1024);
    /// assert_eq!(settings.types, ["image/*", "application/pdf"]);
    /// assert_eq!(settings.open_uploads, 50);
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct FileSettings {
        /// The largest size of a file.
        pub max_size: ByteSize = "FILES_MAX_SIZE", default "100MiB", range "1B"..="5TiB";
        /// The accepted media types, e.g. `image/*` and `application/pdf`; all types if absent. The media type of
        /// a file is detected from its first bytes.
        pub types: Vec<String> = "FILES_TYPES";
        /// Time within which a deleted file can be restored.
        pub delete_grace: Duration = "FILES_DELETE_GRACE", default "30d", range "0s"..="3650d";
        /// Time for which a signed URL of a file is valid if the request does not set a duration; at most seven days.
        pub link: Duration = "FILES_LINK", default "15m", range "1s"..="7d";
        /// Maximum duration of one upload through the app.
        pub upload_timeout: Duration = "FILES_UPLOAD_TIMEOUT", default "1h", range "1s"..="1d";
        /// Time for which an upload through the app may send no bytes before it fails.
        pub upload_idle: Duration = "FILES_UPLOAD_IDLE", default "30s", range "1s"..="10m";
        /// The largest number of unfinished uploads of a tenant: uploads through the app and direct uploads
        /// together.
        pub open_uploads: u32 = "FILES_OPEN_UPLOADS", default "50", range "1"..="10000";
    }
}

omnistack_core::settings! {
    /// File storage.
    ///
    /// The storage provider and its credentials, read by [`Files`](crate::Files).
    ///
    /// ```
    /// use omnistack_core::config::Config;
    /// use omnistack_storage::StorageSettings;
    ///
    /// let config = Config::from_pairs([("STORAGE_PROVIDER", "s3"), ("STORAGE_BUCKET", "files"), ("STORAGE_KEY", "secret")]);
    /// let settings: StorageSettings = config.read_settings()?;
    /// assert_eq!(settings.bucket.as_deref(), Some("files"));
    /// assert_eq!(settings.region, "us-east-1");
    /// assert!(!format!("{settings:?}").contains("secret"), "secrets are not shown");
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct StorageSettings {
        /// The storage provider: `local`, `memory`, `s3`, `r2`, `gcs`, `azure` or `cloudinary`.
        pub provider: String = "STORAGE_PROVIDER", default "local";
        /// The directory in which `local` stores files.
        pub directory: String = "STORAGE_DIRECTORY", default "data/files";
        /// The name of the bucket; with `azure`, of the container.
        pub bucket: Option<String> = "STORAGE_BUCKET";
        /// The region of the bucket, with `s3`.
        pub region: String = "STORAGE_REGION", default "us-east-1";
        /// The URL of the service, with `s3`, `gcs` or `azure`; that of Amazon, Google or Microsoft if absent.
        pub endpoint: Option<String> = "STORAGE_ENDPOINT";
        /// The account, with `r2` and `azure`; with `cloudinary`, the cloud name.
        pub account: Option<String> = "STORAGE_ACCOUNT";
        /// The access key id, with `s3` and `r2`; with `cloudinary`, the API key. With `s3`, the role of the
        /// machine is used if this and `STORAGE_KEY` are absent.
        pub key_id: Option<String> = "STORAGE_KEY_ID";
        /// The secret access key, with `s3` and `r2`; the account key, with `azure`; the API secret, with
        /// `cloudinary`; the JSON key of a service account, with `gcs`. If absent, `gcs` uses the service account
        /// of the machine and `azure` its managed identity.
        pub key: Option<SecretString> = "STORAGE_KEY";
    }
}

omnistack_core::settings! {
    /// Exports of tenants.
    ///
    /// ```
    /// use omnistack_core::config::Config;
    /// use omnistack_storage::ExportSettings;
    ///
    /// let settings: ExportSettings = Config::from_pairs([("EXPORTS_RETENTION", "2d")]).read_settings()?;
    /// assert_eq!(settings.retention.as_secs(), 2 * 24 * 60 * 60);
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct ExportSettings {
        /// Time for which the archive of an export is kept, and for which the link in the mail is valid.
        pub retention: Duration = "EXPORTS_RETENTION", default "7d", range "1h"..="7d";
    }
}

omnistack_core::settings! {
    /// Buckets of backups.
    ///
    /// The access to the buckets in the URLs of the commands `backup` and `restore`, such as `s3://bucket/name.tar`. A
    /// setting that is absent has the value of the `STORAGE_…` setting of the same name.
    pub struct BackupStorageSettings {
        /// The region of the bucket, with `s3`.
        pub region: Option<String> = "BACKUP_STORAGE_REGION";
        /// The URL of the service, with `s3`, `gcs` or `azure`.
        pub endpoint: Option<String> = "BACKUP_STORAGE_ENDPOINT";
        /// The account, with `r2` and `azure`.
        pub account: Option<String> = "BACKUP_STORAGE_ACCOUNT";
        /// The access key id, with `s3` and `r2`. If it is set, `BACKUP_STORAGE_KEY` must be set too.
        pub key_id: Option<String> = "BACKUP_STORAGE_KEY_ID";
        /// The secret access key, the account key, or the JSON key of a service account.
        pub key: Option<SecretString> = "BACKUP_STORAGE_KEY";
    }
}

omnistack_core::settings! {
    /// Archived files.
    ///
    /// The rule that selects files to archive, and the archive they are moved to. Read by
    /// [`Files`](crate::Files).
    ///
    /// ```
    /// use omnistack_core::config::Config;
    /// use omnistack_storage::ArchivalSettings;
    ///
    /// let config = Config::from_pairs([("ARCHIVAL_AFTER", "180d"), ("ARCHIVAL_TYPES", "video/*")]);
    /// let settings: ArchivalSettings = config.read_settings()?;
    /// assert_eq!(settings.after.map(|age| age.as_secs()), Some(180 * 24 * 60 * 60));
    /// assert_eq!(settings.class, "GLACIER");
    /// assert_eq!(settings.restore_days, 7);
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct ArchivalSettings {
        /// The age at which files are archived, e.g. `180d`. Archival runs every night. If absent, files are not
        /// archived by age.
        pub after: Option<Duration> = "ARCHIVAL_AFTER", range "1d"..="36500d";
        /// The media types that are archived, e.g. `video/*`; all types if absent.
        pub types: Vec<String> = "ARCHIVAL_TYPES";
        /// Prefixes of the file names that are archived, e.g. `export-`; all names if absent. Without
        /// `ARCHIVAL_AFTER`, files of any age are archived.
        pub prefixes: Vec<String> = "ARCHIVAL_PREFIXES";
        /// Tags of the files that are archived, e.g. `archive`; a file needs one of them. If absent, tags do not
        /// matter. Without `ARCHIVAL_AFTER`, files of any age are archived.
        pub tags: Vec<String> = "ARCHIVAL_TAGS";
        /// A directory to which archived files are moved, e.g. one on a slower disk, instead of a change of their
        /// storage class.
        pub directory: Option<String> = "ARCHIVAL_DIRECTORY";
        /// Time for which archived files are kept before they are deleted, e.g. `3650d`; without limit if absent.
        pub retention: Option<Duration> = "ARCHIVAL_RETENTION", range "1d"..="36500d";
        /// The storage class of archived files, e.g. `GLACIER`, `DEEP_ARCHIVE` or `STANDARD_IA`.
        pub class: String = "ARCHIVAL_CLASS", default "GLACIER";
        /// Number of days for which a restored file can be read if the request does not set a number.
        pub restore_days: u32 = "ARCHIVAL_RESTORE_DAYS", default "7", range "1"..="365";
    }
}

omnistack_core::settings! {
    feature "thumbnails" of "omnistack";
    /// Thumbnails.
    ///
    /// Limits for the creation of thumbnails, read by [`Files`](crate::Files).
    ///
    /// ```
    /// use omnistack_core::config::Config;
    /// use omnistack_storage::ThumbnailSettings;
    ///
    /// let config = Config::from_pairs([("FILES_THUMBNAILS_AT_ONCE", "4")]);
    /// let settings: ThumbnailSettings = config.read_settings()?;
    /// assert_eq!(settings.at_once, 4);
    /// assert_eq!(settings.pixels, 50_000_000);
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct ThumbnailSettings {
        /// The largest number of pixels (width × height) of an image. A larger image is refused before it is
        /// decoded. A decoded pixel takes four bytes of memory.
        pub pixels: u64 = "FILES_THUMBNAIL_PIXELS", default "50000000", range "1"..="1000000000";
        /// The largest size of a file of which a thumbnail is created.
        pub max_size: ByteSize = "FILES_THUMBNAIL_MAX_SIZE", default "32MiB", range "1B"..="1GiB";
        /// The largest number of thumbnails that are created at the same time; further requests wait for up to 15
        /// seconds.
        pub at_once: u32 = "FILES_THUMBNAILS_AT_ONCE", default "2", range "1"..="64";
    }
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
impl BackupStorageSettings {
    /// Returns the settings of the bucket of a provider, with those of the app's storage where these have none.
    pub(crate) fn bucket(&self, storage: &StorageSettings, provider: &str, bucket: &str) -> StorageSettings {
        let has_key = self.key_id.is_some() || self.key.is_some();
        let (key_id, key) = if has_key { (&self.key_id, &self.key) } else { (&storage.key_id, &storage.key) };
        StorageSettings {
            provider: provider.to_owned(),
            bucket: Some(bucket.to_owned()),
            region: self.region.clone().unwrap_or_else(|| storage.region.clone()),
            endpoint: self.endpoint.clone().or_else(|| storage.endpoint.clone()),
            account: self.account.clone().or_else(|| storage.account.clone()),
            key_id: key_id.clone(),
            key: key.clone(),
            ..storage.clone()
        }
    }
}

impl StorageSettings {
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(&self.directory)
    }
}
