//! Tests of storage and files: through the router, on real databases and over the network.

#![expect(clippy::unwrap_used, reason = "a failure in shared test code fails the test")]

mod backup;
#[cfg(feature = "cloudinary")]
mod cloudinary;
mod conformance;
mod exports;
mod files;
#[cfg(feature = "s3")]
mod peers;
#[cfg(feature = "s3")]
mod s3;
