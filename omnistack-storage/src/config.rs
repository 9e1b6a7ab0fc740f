//! Settings.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use secrecy::SecretString;

omnistack_core::section! {
    /// Files.
    pub struct FileSettings {
        /// Largest file.
        pub max_size: ByteSize = "FILES_MAX_SIZE", default "100MiB", range "1B"..="5TiB";
        /// Which media types are taken, e.g. `image/*` and `application/pdf`; all when absent. What a file is, its first bytes say.
        pub types: Vec<String> = "FILES_TYPES";
        /// How long a deleted file can be restored.
        pub delete_grace: Duration = "FILES_DELETE_GRACE", default "30d", range "0s"..="3650d";
        /// How long a link to a file is good, at most seven days.
        pub link: Duration = "FILES_LINK", default "15m", range "1s"..="7d";
        /// How long one upload through the app may take.
        pub upload_timeout: Duration = "FILES_UPLOAD_TIMEOUT", default "1h", range "1s"..="1d";
        /// How long an upload through the app may send nothing.
        pub upload_idle: Duration = "FILES_UPLOAD_IDLE", default "30s", range "1s"..="10m";
        /// How many uploads of a tenant may be on their way or announced at once.
        pub open_uploads: u32 = "FILES_OPEN_UPLOADS", default "50", range "1"..="10000";
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
        pub after: Option<Duration> = "ARCHIVAL_AFTER", range "1d"..="36500d";
        /// Of which media types, e.g. `video/*`; all when absent.
        pub types: Vec<String> = "ARCHIVAL_TYPES";
        /// With names that begin so, e.g. `export-`; all when absent. Without `ARCHIVAL_AFTER`, of any age.
        pub prefixes: Vec<String> = "ARCHIVAL_PREFIXES";
        /// Marked with one of these, e.g. `archive`; all when absent. Without `ARCHIVAL_AFTER`, of any age.
        pub tags: Vec<String> = "ARCHIVAL_TAGS";
        /// A directory they are moved to, such as that of a slower disk, in place of another class.
        pub directory: Option<String> = "ARCHIVAL_DIRECTORY";
        /// How long files stay in the archive before they are deleted, e.g. `3650d`; for ever when absent.
        pub retention: Option<Duration> = "ARCHIVAL_RETENTION", range "1d"..="36500d";
        /// The storage class they move to: `GLACIER`, `DEEP_ARCHIVE`, `STANDARD_IA`, …
        pub class: String = "ARCHIVAL_CLASS", default "GLACIER";
        /// How many days a restored file can be read, unless said.
        pub restore_days: u32 = "ARCHIVAL_RESTORE_DAYS", default "7", range "1"..="365";
    }
}

#[cfg(feature = "thumbnails")]
omnistack_core::section! {
    /// Thumbnails of pictures.
    pub struct ThumbnailSettings {
        /// Pixels of a picture at most; more are refused before anything is decoded. Four bytes of memory each.
        pub pixels: u64 = "FILES_THUMBNAIL_PIXELS", default "50000000", range "1"..="1000000000";
        /// Largest picture one is made of.
        pub max_size: ByteSize = "FILES_THUMBNAIL_MAX_SIZE", default "32MiB", range "1B"..="1GiB";
        /// How many are made at once; others wait.
        pub at_once: u32 = "FILES_THUMBNAILS_AT_ONCE", default "2", range "1"..="64";
    }
}

impl StorageSettings {
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(&self.directory)
    }
}
