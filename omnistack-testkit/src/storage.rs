//! Conformance tests for storage providers.
//!
//! Each function of this module tests one requirement on a provider.
//! [`storage_conformance!`](crate::storage_conformance) generates a test for each of them:
//!
//! ```
//! use omnistack_storage::Memory;
//! use omnistack_testkit::{storage::StorageProviderUnderTest, storage_conformance};
//!
//! async fn memory() -> StorageProviderUnderTest {
//!     StorageProviderUnderTest::new(Memory::default())
//! }
//!
//! storage_conformance!(memory);
//! # fn main() {}
//! ```
//!
//! A provider must reject the operations that its [`Capabilities`](omnistack_storage::Capabilities) exclude with
//! [`Unsupported`](omnistack_storage::ErrorKind::Unsupported).

mod reads;
mod writes;

use std::{any::Any, fmt, task::Poll};

use bytes::Bytes;
use omnistack_storage::{ByteRange, ByteStream, Error, ErrorKind, ObjectKey, PutOptions, StorageProvider, UploadBody};

pub use reads::{
    lists_in_order, long_stream_is_stored, missing_object_is_not_found, reads_ranges, stored_object_is_read_back,
};
pub use writes::{
    capabilities_match_behaviour, copy_is_independent, create_only_rejects_existing_object,
    dropped_upload_stores_nothing, failed_upload_stores_nothing, put_replaces_object, replacement_is_atomic,
};

use crate::conformance::Contract;

/// The laws of [`StorageProvider`], each with its requirement.
pub const CONTRACT: Contract = Contract::new(
    "StorageProvider",
    &[
        (
            "stored_object_is_read_back",
            "an object is read back byte for byte, and `head` returns its key, size, content type, an entity tag \
             and, with the capability `checksum`, its SHA-256",
        ),
        (
            "long_stream_is_stored",
            "a stream of unknown length is stored completely, and `put` returns the SHA-256 of its bytes",
        ),
        ("put_replaces_object", "`put` under an existing key replaces the object, and its entity tag changes"),
        (
            "missing_object_is_not_found",
            "`get`, `head` and `copy` of an object that does not exist fail with `NotFound`, also if keys begin with \
             its key; `delete` of it succeeds",
        ),
        (
            "reads_ranges",
            "a range is read exactly, and ends with the object; an empty range, and one after the end, fail with \
             `Range`",
        ),
        (
            "lists_in_order",
            "a list has the objects whose keys begin with the prefix, in the byte order of the keys, after the given \
             key, with their sizes, and says whether there are more",
        ),
        (
            "copy_is_independent",
            "a copy has the bytes and the content type of the original and does not follow its changes; it replaces \
             an existing object, and a copy onto itself changes nothing",
        ),
        (
            "create_only_rejects_existing_object",
            "`create_only` fails with `Exists` if the object exists, and one of several uploads at once succeeds; \
             without the capability, it fails with `Unsupported`",
        ),
        (
            "failed_upload_stores_nothing",
            "an upload with another size or SHA-256 fails with `Mismatch`, one over its limit with `TooLarge`, and \
             one whose stream fails with the error of the stream; it stores nothing and keeps the existing object",
        ),
        ("dropped_upload_stores_nothing", "an upload whose future is dropped leaves no object"),
        ("replacement_is_atomic", "a read during a replacement returns the old or the new object, never a mixture"),
        (
            "capabilities_match_behaviour",
            "operations that `Capabilities` has work and the others fail with `Unsupported`, as do links that last \
             no time or longer than `PresignRequest::MAX_EXPIRY`; `Debug` of a presigned request hides its signature",
        ),
    ],
);

/// A provider under test and the server or folder it needs.
pub struct StorageProviderUnderTest {
    /// The provider.
    pub provider: Box<dyn StorageProvider>,
    class: &'static str,
    kept: Box<dyn Any + Send + Sync>,
}

impl StorageProviderUnderTest {
    /// Creates a provider under test. Its bucket must be empty.
    pub fn new(provider: impl StorageProvider) -> Self {
        Self { provider: Box::new(provider), class: "STANDARD_IA", kept: Box::new(()) }
    }

    /// Sets the provider's storage class for rarely read objects. The default is `STANDARD_IA`.
    #[must_use]
    pub fn with_storage_class(mut self, class: &'static str) -> Self {
        self.class = class;
        self
    }

    /// Keeps a server or a folder until the test ends.
    #[must_use]
    pub fn with_resource(mut self, kept: impl Any + Send + Sync) -> Self {
        self.kept = Box::new(kept);
        self
    }
}

impl fmt::Debug for StorageProviderUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StorageProviderUnderTest").field(&self.provider).finish()
    }
}

fn key(text: &str) -> ObjectKey {
    match text.parse() {
        Ok(key) => key,
        Err(error) => panic!("{text}: {error}"),
    }
}

fn expect_ok<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("an operation that must succeed has failed: {error}"))
}

fn expect_error<T: fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, what: &str) {
    match result {
        Ok(done) => panic!("{what}: it must fail with `{kind:?}`, and returned {done:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{what}: it failed with another kind of error: {error}"),
    }
}

async fn put(subject: &StorageProviderUnderTest, name: &str, bytes: impl Into<Bytes>) {
    expect_ok(subject.provider.put(&key(name), UploadBody::from_bytes(bytes), &PutOptions::default()).await);
}

async fn read(subject: &StorageProviderUnderTest, name: &str, range: Option<ByteRange>) -> Bytes {
    let object = expect_ok(subject.provider.get(&key(name), range).await);
    expect_ok(object.read_all(u64::MAX).await)
}

/// Returns a stream of the items of `stream_of`.
fn stream_of(stream_of: Vec<Result<Bytes, Error>>) -> ByteStream {
    let mut stream_of = stream_of.into_iter();
    Box::pin(futures_util::stream::poll_fn(move |_| Poll::Ready(stream_of.next())))
}

/// Returns `length` bytes in a pattern that repeats every 251 bytes.
fn sample_bytes(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect::<Vec<_>>().into()
}

/// Generates a test for each requirement of [`storage`](crate::storage), in a module with the name of the function
/// that creates the [`StorageProviderUnderTest`](crate::storage::StorageProviderUnderTest).
#[macro_export]
macro_rules! storage_conformance {
    ($(#[$attribute:meta])* $make:ident) => {
        #[cfg(test)]
        mod $make {
            $crate::storage_conformance! { @laws [$(#[$attribute])*] (super::$make)
                stored_object_is_read_back
                long_stream_is_stored
                put_replaces_object
                missing_object_is_not_found
                reads_ranges
                lists_in_order
                copy_is_independent
                create_only_rejects_existing_object
                failed_upload_stores_nothing
                dropped_upload_stores_nothing
                replacement_is_atomic
                capabilities_match_behaviour
            }
        }
    };
    (@laws $attributes:tt $make:tt $($law:ident)+) => {$(
        $crate::storage_conformance! { @law $attributes $make $law }
    )+};
    (@law [$(#[$attribute:meta])*] ($make:path) $law:ident) => {
        #[tokio::test]
        $(#[$attribute])*
        async fn $law() {
            let subject = $make().await;
            let test = $crate::storage::$law(subject);
            $crate::conformance::check(&$crate::storage::CONTRACT, stringify!($law), test).await;
        }
    };
}
