//! File storage for OmniStack apps.
//!
//! The crate has two layers, and each can be used without the other. The lower layer is [`Storage`]: it stores
//! objects under keys, in a directory or in a bucket. All providers implement one contract, [`StorageProvider`]:
//!
//! ```
//! use omnistack_storage::{Memory, PutOptions, Storage};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), omnistack_storage::Error> {
//! let storage = Storage::new(Memory::default());
//! let key = "invoices/2030/7.pdf".parse()?;
//! storage.put_with(&key, "%PDF-1.7 …", &PutOptions::content_type("application/pdf")).await?;
//! assert!(storage.read(&key, 1024).await?.starts_with(b"%PDF"));
//! # Ok(())
//! # }
//! ```
//!
//! The upper layer is [`Files`], a module that stores the files of tenants. It has uploads and downloads through
//! the app, direct uploads to a bucket, signed URLs and quotas, and it detects the media type of a file from its
//! bytes instead of trusting the client.
//!
//! ```no_run
//! use omnistack_core::app::{App, DevIdentity};
//! use omnistack_storage::Files;
//!
//! # async fn run() -> omnistack_core::Result<()> {
//! App::from_env().with(DevIdentity::default()).with(Files::from_env()).run().await
//! # }
//! ```
//!
//! | item | purpose |
//! |---|---|
//! | [`Storage`] | a handle to a provider |
//! | [`StorageProvider`] | the trait that providers implement; [`Capabilities`] lists their optional operations |
//! | [`Local`], [`Memory`] | providers that store objects in a directory and in memory |
//! | `S3`, `Gcs`, `Azure` | providers for buckets, each behind the feature of its name; Cloudflare R2 is an `S3` |
//! | `Cloudinary` | a provider for media, behind the feature of its name |
//! | [`ObjectKey`] | the key of an object, valid with every provider |
//! | [`UploadBody`], [`Object`] | the bytes of an object that is written and of one that is read |
//! | [`UrlSigner`] | signed URLs that the app serves itself, for providers that have none |
//! | [`Files`], [`FileService`] | the module for files of tenants, and its operations |
//! | [`ExportService`] | exports of all data of a tenant |
//! | [`Archival`], [`ArchiveRule`] | archives old files in cheaper storage, and restores them |
//! | `Thumbnail` | a size of thumbnails, behind the feature `thumbnails` |
//! | [`FileScanner`] | a check of each file before it can be read, such as a virus scanner |
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sqlite`, `postgres` | `sqlite` | the database drivers of `omnistack-core` |
//! | `s3` | no | buckets of Amazon S3, of S3-compatible services and of Cloudflare R2 |
//! | `gcs` | no | buckets of Google Cloud Storage |
//! | `azure` | no | containers of Azure Blob Storage |
//! | `cloudinary` | no | Cloudinary, through its own API |
//! | `thumbnails` | no | thumbnails of PNG, JPEG, GIF and WebP images |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod archival;
mod backup;
mod config;
mod content_disposition;
mod embedding;
mod error;
mod export;
mod files;
#[expect(unused_qualifications, reason = "`utoipa::path` writes the types of parameters in full")]
mod http;
mod key;
mod model;
mod module;
mod object;
mod provider;
mod scan;
mod signed_urls;
mod sniff;
mod storage;
mod store;
#[cfg(feature = "thumbnails")]
mod thumbnail;

pub use archival::{Archival, ArchiveRule, ArchiveState, FileArchiveState, StorageClassUsage};
#[cfg(feature = "thumbnails")]
pub use config::ThumbnailSettings;
pub use config::{ArchivalSettings, BackupStorageSettings, ExportSettings, FileSettings, StorageSettings};
pub use error::{Error, ErrorKind};
pub use export::{ExportId, ExportMarker, ExportService, ExportState, TenantExport};
pub use files::FileService;
pub use key::{KeyError, ObjectKey};
pub use model::{File, FileId, FileMarker, FileState, NewFile, StorageUsage, UploadResult};
pub use module::Files;
pub use object::{
    ByteRange, ByteStream, ListResult, Object, ObjectMetadata, PostForm, PostPolicy, PresignRequest, PresignedRequest,
    PutOptions, PutResult, RestoreStatus, RestoreTier, UploadBody,
};
#[cfg(feature = "azure")]
pub use provider::azure::Azure;
#[cfg(feature = "cloudinary")]
pub use provider::cloudinary::Cloudinary;
#[cfg(feature = "gcs")]
pub use provider::gcs::Gcs;
#[cfg(feature = "s3")]
pub use provider::s3::{S3, S3Builder};
pub use provider::{Capabilities, StorageProvider, local::Local, memory::Memory};
pub use scan::{FileScanner, ScanResult};
pub use signed_urls::UrlSigner;
pub use storage::Storage;
#[cfg(feature = "thumbnails")]
pub use thumbnail::Thumbnail;
