//! Settings.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use secrecy::SecretString;

omnistack_core::section! {
    /// Files.
    pub struct FileSettings {
        /// Largest file.
        pub max_size: ByteSize = "FILES_MAX_SIZE", default "100MiB";
        /// Which media types are taken, e.g. `image/*` and `application/pdf`; all when absent. What a file is, its first bytes say.
        pub types: Vec<String> = "FILES_TYPES";
        /// How long a deleted file can be restored.
        pub delete_grace: Duration = "FILES_DELETE_GRACE", default "30d";
        /// How long a link to a file is good, at most seven days.
        pub link: Duration = "FILES_LINK", default "15m";
        /// How long one upload through the app may take.
        pub upload_timeout: Duration = "FILES_UPLOAD_TIMEOUT", default "1h";
        /// How long an upload through the app may send nothing, `1s` to `10m`.
        pub upload_idle: Duration = "FILES_UPLOAD_IDLE", default "30s";
        /// How many uploads of a tenant may be on their way or announced at once, 1 to 10000.
        pub open_uploads: u32 = "FILES_OPEN_UPLOADS", default "50";
    }
}

impl FileSettings {
    /// Returns what is wrong with the settings, and how to correct it.
    pub(crate) fn problems(&self) -> Vec<(String, &'static str)> {
        let idle = Duration::from_secs(1)..=Duration::from_secs(600);
        let mut problems = Vec::new();
        if !idle.contains(&self.upload_idle) {
            problems.push((format!("`FILES_UPLOAD_IDLE` is {:?}", self.upload_idle), "set it to `1s` to `10m`"));
        }
        if !(1..=10_000).contains(&self.open_uploads) {
            problems.push((format!("`FILES_OPEN_UPLOADS` is {}", self.open_uploads), "set it to 1 to 10000"));
        }
        problems
    }
}

omnistack_core::section! {
    /// Where files are kept.
    pub struct StorageSettings {
        /// `local`, `memory`, `s3`, `r2`, `gcs`, `azure` or `cloudinary`.
        pub provider: String = "STORAGE_PROVIDER", default "local";
        /// The directory of `local`.
        pub directory: String = "STORAGE_DIRECTORY", default "data/files";
        /// The bucket, or the container of `azure`.
        pub bucket: Option<String> = "STORAGE_BUCKET";
        /// The region of `s3`.
        pub region: String = "STORAGE_REGION", default "us-east-1";
        /// The address of an `s3`, `gcs` or `azure` that is not Amazon's, Google's or Microsoft's.
        pub endpoint: Option<String> = "STORAGE_ENDPOINT";
        /// The account of `r2` and `azure`, the cloud of `cloudinary`.
        pub account: Option<String> = "STORAGE_ACCOUNT";
        /// The id of the key of `s3`, `r2` and `cloudinary`; without one, the machine's own role.
        pub key_id: Option<String> = "STORAGE_KEY_ID";
        /// The key of `s3`, `r2`, `azure` and `cloudinary`; for `gcs`, the JSON of a service account's key.
        pub key: Option<SecretString> = "STORAGE_KEY";
    }
}

omnistack_core::section! {
    /// Archives of files.
    pub struct ArchivalSettings {
        /// How old files are that are archived every night, e.g. `180d`; none when absent.
        pub after: Option<Duration> = "ARCHIVAL_AFTER";
        /// Of which media types, e.g. `video/*`; all when absent.
        pub types: Vec<String> = "ARCHIVAL_TYPES";
        /// With names that begin so, e.g. `export-`; all when absent. Without `ARCHIVAL_AFTER`, of any age.
        pub prefixes: Vec<String> = "ARCHIVAL_PREFIXES";
        /// Marked with one of these, e.g. `archive`; all when absent. Without `ARCHIVAL_AFTER`, of any age.
        pub tags: Vec<String> = "ARCHIVAL_TAGS";
        /// A directory they are moved to, such as that of a slower disk, in place of another class.
        pub directory: Option<String> = "ARCHIVAL_DIRECTORY";
        /// How long files stay in the archive before they are deleted, e.g. `3650d`; for ever when absent.
        pub retention: Option<Duration> = "ARCHIVAL_RETENTION";
        /// The storage class they move to: `GLACIER`, `DEEP_ARCHIVE`, `STANDARD_IA`, …
        pub class: String = "ARCHIVAL_CLASS", default "GLACIER";
        /// How many days a restored file can be read, unless said.
        pub restore_days: u32 = "ARCHIVAL_RESTORE_DAYS", default "7";
    }
}

#[cfg(feature = "thumbnails")]
omnistack_core::section! {
    /// Thumbnails of pictures.
    pub struct ThumbnailSettings {
        /// Pixels of a picture at most; more are refused before anything is decoded. Four bytes of memory each.
        pub pixels: u64 = "FILES_THUMBNAIL_PIXELS", default "50000000";
        /// Largest picture one is made of.
        pub max_size: ByteSize = "FILES_THUMBNAIL_MAX_SIZE", default "32MiB";
        /// How many are made at once; others wait.
        pub at_once: u32 = "FILES_THUMBNAILS_AT_ONCE", default "2";
    }
}

impl StorageSettings {
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(&self.directory)
    }
}
