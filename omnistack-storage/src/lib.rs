//! Files for OmniStack apps: where bytes are kept, and whose they are.
//!
//! Two floors, each of use without the other. Below, a [`Storage`] keeps objects under keys, in a directory or a bucket, by one
//! contract ([`StorageProvider`]):
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
//! Above, [`Files`] is a module with files of tenants: uploads and downloads through the app or straight to the bucket, types
//! that are looked at and not believed, quotas, links.
//!
//! ```no_run
//! use omnistack_core::{app::App, identity::DevIdentity};
//! use omnistack_storage::Files;
//!
//! # async fn run() -> omnistack_core::Result<()> {
//! App::from_env().with(DevIdentity::default()).with(Files::from_env()).run().await
//! # }
//! ```
//!
//! | part | what it is for |
//! |---|---|
//! | [`Storage`] | the handle on a provider |
//! | [`StorageProvider`] | the contract of providers; [`Capabilities`] says what each can do |
//! | [`Local`], [`Memory`] | a directory, and no place at all |
//! | `S3`, `Gcs`, `Azure` | buckets, each with the feature of its name; R2 is an `S3` |
//! | `Cloudinary` | a shelf for media, with the feature of its name |
//! | [`ObjectKey`] | a name that means the same to each of them |
//! | [`Upload`], [`Object`] | bytes on their way in and out |
//! | [`Links`] | links the app makes and serves for providers that have none |
//! | [`Files`], [`FileService`] | files of tenants |
//! | [`Archival`], [`ArchiveRule`] | old files move to where keeping them costs less, and back |
//! | `Thumbnail` | small pictures of pictures, with the feature `thumbnails` |
//! | [`Scan`] | a look at files before anybody can read them |
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sqlite`, `postgres` | `sqlite` | databases, as core has them |
//! | `s3` | no | buckets of S3, of what speaks as it does, and of Cloudflare R2 |
//! | `gcs` | no | buckets of Google Cloud Storage |
//! | `azure` | no | containers of Azure Blob Storage |
//! | `cloudinary` | no | files at Cloudinary, by its own API |
//! | `thumbnails` | no | small pictures of PNG, JPEG, GIF and WebP |

mod archival;
mod config;
mod error;
mod files;
#[expect(unused_qualifications, reason = "`utoipa::path` writes the types of parameters in full")]
mod http;
mod jobs;
mod key;
mod links;
mod model;
mod module;
mod object;
mod provider;
mod scan;
mod sniff;
mod storage;
mod store;
#[cfg(feature = "thumbnails")]
mod thumbnail;

pub use archival::{Archival, ArchiveRule, ArchiveState, ArchivedFile, ClassUsed};
#[cfg(feature = "thumbnails")]
pub use config::ThumbnailSettings;
pub use config::{ArchivalSettings, FileSettings, StorageSettings};
pub use error::{Error, ErrorKind};
pub use files::{FILE_DOWNLOADS, FILE_UPLOADS, FileService, STORAGE_BYTES};
pub use key::{KeyError, ObjectKey};
pub use links::Links;
pub use model::{File, FileId, FileMarker, FileState, NewFile, StorageUsed, Uploaded};
pub use module::Files;
pub use object::{
    Archive, ByteRange, ByteStream, Listing, Object, ObjectInfo, PostForm, PostPolicy, PutOptions, RestoreTier,
    SignRequest, SignedRequest, Stored, Upload,
};
#[cfg(feature = "azure")]
pub use provider::azure::Azure;
#[cfg(feature = "cloudinary")]
pub use provider::cloudinary::Cloudinary;
#[cfg(feature = "gcs")]
pub use provider::gcs::Gcs;
#[cfg(feature = "s3")]
pub use provider::s3::{S3, S3Bucket};
pub use provider::{Capabilities, StorageProvider, local::Local, memory::Memory};
pub use scan::{Scan, Verdict};
pub use storage::Storage;
#[cfg(feature = "thumbnails")]
pub use thumbnail::Thumbnail;
