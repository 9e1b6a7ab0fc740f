//! Storage and files, through the router, on real databases and on the wire.

#![expect(clippy::unwrap_used, reason = "what tests share fails them")]

#[cfg(feature = "cloudinary")]
mod cloudinary;
mod files;
mod laws;
#[cfg(feature = "s3")]
mod peers;
#[cfg(feature = "s3")]
mod s3;
