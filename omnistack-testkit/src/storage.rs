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

use std::{any::Any, fmt, future::poll_fn, task::Poll, time::Duration};

use bytes::Bytes;
use omnistack_core::{crypto::Sha256, http::Method};
use omnistack_storage::{
    ByteRange, ByteStream, Error, ErrorKind, ObjectKey, PostPolicy, PresignRequest, PutOptions, RestoreTier,
    StorageProvider, UploadBody,
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

/// Tests that a stored object is read back byte for byte, with its size, content type, entity tag and, if supported,
/// checksum.
pub async fn stored_object_is_read_back(subject: StorageProviderUnderTest) {
    let provider = &subject.provider;
    for (name, bytes) in [
        ("empty", Bytes::new()),
        ("a.txt", Bytes::from_static(b"Hello.")),
        ("deep/er/and deeper/Grüße 🎉.bin", sample_bytes(300_000)),
        ("odd/~(1)+[x]{y}#&=$,;:@!'.txt", Bytes::from_static(b"odd")),
        ("100% sure", Bytes::from_static(b"percent")),
    ] {
        let options = PutOptions::content_type("text/x-test");
        let stored = expect_ok(provider.put(&key(name), UploadBody::from_bytes(bytes.clone()), &options).await);
        let (size, sha256) = (bytes.len() as u64, Sha256::digest(&bytes));
        assert_eq!((stored.size, stored.sha256), (size, sha256), "size and SHA-256 that `put` of `{name}` returns");
        assert!(read(&subject, name, None).await == bytes, "`get` of `{name}` returns other bytes than were stored");
        let info = expect_ok(provider.head(&key(name)).await);
        assert_eq!((info.key.as_str(), info.size), (name, size), "key and size that `head` of `{name}` returns");
        let content_type = info.content_type.as_deref();
        assert_eq!(content_type, Some("text/x-test"), "content type that `head` of `{name}` returns");
        assert!(info.etag.is_some(), "`head` of `{name}` returns no entity tag (`ObjectMetadata::etag` is `None`)");
        if provider.capabilities().checksum {
            assert_eq!(info.sha256, Some(stored.sha256), "SHA-256 that `head` of `{name}` returns");
        }
    }
}

/// Tests that a stream of unknown length, long enough for several parts, is stored completely.
pub async fn long_stream_is_stored(subject: StorageProviderUnderTest) {
    let piece = sample_bytes(1_000_003);
    let all: Vec<_> = (0..18).map(|_| Ok(piece.clone())).collect();
    let whole: Bytes = (0..18).flat_map(|_| piece.to_vec()).collect::<Vec<_>>().into();
    let stored =
        subject.provider.put(&key("long"), UploadBody::from_stream(stream_of(all)), &PutOptions::default()).await;
    assert_eq!(expect_ok(stored).sha256, Sha256::digest(&whole), "SHA-256 that `put` of a long stream returns");
    assert!(read(&subject, "long", None).await == whole, "`get` returns other bytes than were stored");
    let middle = read(&subject, "long", Some(ByteRange::Bounded(8_388_600, 8_388_620))).await;
    assert_eq!(middle, whole.slice(8_388_600..8_388_620), "`get` of a range of a long object");
}

/// Tests that storing an object under an existing key replaces the object and changes its entity tag.
pub async fn put_replaces_object(subject: StorageProviderUnderTest) {
    put(&subject, "a", "one").await;
    let before = expect_ok(subject.provider.head(&key("a")).await).etag;
    put(&subject, "a", "another").await;
    assert_eq!(read(&subject, "a", None).await, "another", "`get` after a replacement");
    let after = expect_ok(subject.provider.head(&key("a")).await).etag;
    assert_ne!(after, before, "the entity tag is that of the object that was replaced");
}

/// Tests that reading or copying a missing object fails with [`ErrorKind::NotFound`], and that deleting it succeeds.
pub async fn missing_object_is_not_found(subject: StorageProviderUnderTest) {
    let provider = &subject.provider;
    put(&subject, "folder/a", "a").await;
    for name in ["b", "folder", "folder/b", "folder/a/b"] {
        expect_error(provider.get(&key(name), None).await, ErrorKind::NotFound, name);
        expect_error(provider.get(&key(name), Some(ByteRange::From(1))).await, ErrorKind::NotFound, name);
        expect_error(provider.head(&key(name)).await, ErrorKind::NotFound, name);
        expect_error(provider.copy(&key(name), &key("c"), None).await, ErrorKind::NotFound, name);
        expect_ok(provider.delete(&key(name)).await);
    }
    assert_eq!(read(&subject, "folder/a", None).await, "a");
    expect_ok(provider.delete(&key("folder/a")).await);
    expect_error(provider.head(&key("folder/a")).await, ErrorKind::NotFound, "deleted");
    let left = expect_ok(provider.list("", None, 10).await).objects;
    assert!(left.is_empty(), "`list` shows deleted objects: {left:?}");
}

/// Tests that ranges of an object are read correctly, and that an empty range or one after the end fails with
/// [`ErrorKind::Range`].
pub async fn reads_ranges(subject: StorageProviderUnderTest) {
    put(&subject, "a", "0123456789").await;
    put(&subject, "empty", "").await;
    for (range, expected, at) in [
        (ByteRange::Bounded(0, 1), "0", 0..1),
        (ByteRange::Bounded(2, 5), "234", 2..5),
        (ByteRange::Bounded(8, 100), "89", 8..10),
        (ByteRange::From(0), "0123456789", 0..10),
        (ByteRange::From(7), "789", 7..10),
        (ByteRange::Last(3), "789", 7..10),
        (ByteRange::Last(100), "0123456789", 0..10),
    ] {
        let object = expect_ok(subject.provider.get(&key("a"), Some(range)).await);
        let (found, size) = (object.range.clone(), object.info.size);
        assert_eq!((found, size), (at, 10), "range and size of the whole object that `get` with {range:?} returns");
        assert_eq!(expect_ok(object.read_all(100).await), expected, "bytes that `get` with {range:?} returns");
    }
    for (name, range) in [
        ("a", ByteRange::Bounded(10, 11)),
        ("a", ByteRange::Bounded(3, 3)),
        ("a", ByteRange::From(10)),
        ("a", ByteRange::From(u64::MAX / 2)),
        ("a", ByteRange::Last(0)),
        ("empty", ByteRange::From(0)),
        ("empty", ByteRange::Last(1)),
    ] {
        let result = subject.provider.get(&key(name), Some(range)).await;
        expect_error(result, ErrorKind::Range, &format!("`get` of `{name}` with {range:?}"));
    }
}

/// Tests that lists are sorted by key, filtered by prefix, and continued after a key.
pub async fn lists_in_order(subject: StorageProviderUnderTest) {
    let names = ["a", "b-c/1", "b/1", "b/2", "b/sub/3", "b/z", "ba", "c/1"];
    for name in names.iter().rev() {
        put(&subject, name, name.as_bytes().to_vec()).await;
    }
    let names_of = |prefix: &'static str, after: Option<&'static str>, limit: usize| {
        let provider = &subject.provider;
        async move {
            let listing = expect_ok(provider.list(prefix, after.map(key).as_ref(), limit).await);
            let names: Vec<_> = listing.objects.iter().map(|info| info.key.to_string()).collect();
            for info in &listing.objects {
                assert_eq!(info.size, info.key.as_str().len() as u64, "size of `{}` in a list", info.key);
            }
            (names.join(" "), listing.has_more)
        }
    };
    for (prefix, after, limit, expected, more) in [
        ("", None, 100, "a b-c/1 b/1 b/2 b/sub/3 b/z ba c/1", false),
        ("b/", None, 100, "b/1 b/2 b/sub/3 b/z", false),
        ("b", None, 100, "b-c/1 b/1 b/2 b/sub/3 b/z ba", false),
        ("b/s", None, 100, "b/sub/3", false),
        ("b/", None, 2, "b/1 b/2", true),
        ("b/", Some("b/2"), 2, "b/sub/3 b/z", false),
        ("b/", Some("b/1"), 1, "b/2", true),
        ("", Some("b/3"), 2, "b/sub/3 b/z", true),
        ("", Some("zz"), 2, "", false),
        ("nothing/", None, 10, "", false),
    ] {
        // The keys, and whether there are more.
        assert_eq!(
            names_of(prefix, after, limit).await,
            (expected.to_owned(), more),
            "list {prefix:?} {after:?} {limit}"
        );
    }
}

/// Tests that a copy is independent of the original and has its content type, and that a copy onto an existing object
/// or onto itself works.
pub async fn copy_is_independent(subject: StorageProviderUnderTest) {
    let provider = &subject.provider;
    expect_ok(provider.put(&key("a b"), UploadBody::from_bytes("one"), &PutOptions::content_type("text/x-test")).await);
    expect_ok(provider.copy(&key("a b"), &key("folder/Grüße"), None).await);
    put(&subject, "a b", "two").await;
    assert_eq!(read(&subject, "folder/Grüße", None).await, "one", "a copy after a change of the original");
    let info = expect_ok(provider.head(&key("folder/Grüße")).await);
    assert_eq!(info.content_type.as_deref(), Some("text/x-test"), "content type of a copy");
    expect_ok(provider.copy(&key("a b"), &key("folder/Grüße"), None).await);
    assert_eq!(read(&subject, "folder/Grüße", None).await, "two", "a copy onto an existing object");
    expect_ok(provider.copy(&key("a b"), &key("a b"), None).await);
    assert_eq!(read(&subject, "a b", None).await, "two", "a copy onto itself");
}

/// Tests that [`PutOptions::create_only`] fails with [`ErrorKind::Exists`] for an existing object, and that one of
/// several concurrent uploads succeeds.
pub async fn create_only_rejects_existing_object(subject: StorageProviderUnderTest) {
    let provider = &subject.provider;
    let options = PutOptions::default().create_only();
    if !provider.capabilities().create_only {
        return expect_error(
            provider.put(&key("a"), "a".into(), &options).await,
            ErrorKind::Unsupported,
            "`create_only`",
        );
    }
    expect_ok(provider.put(&key("a"), "first".into(), &options).await);
    expect_error(
        provider.put(&key("a"), "second".into(), &options).await,
        ErrorKind::Exists,
        "`create_only` of an existing object",
    );
    assert_eq!(read(&subject, "a", None).await, "first", "the existing object was replaced");
    let race = (0..8).map(|at| {
        let options = &options;
        async move { provider.put(&key("race"), UploadBody::from_bytes(format!("from {at}")), options).await.is_ok() }
    });
    let won = futures_util::future::join_all(race).await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "uploads that succeeded: {won:?}");
    let winner = won.iter().position(|won| *won).unwrap_or_default();
    assert_eq!(read(&subject, "race", None).await, format!("from {winner}"), "bytes of the upload that succeeded");
}

/// Tests that an upload with the wrong size or checksum, over its size limit, or with a failing stream stores nothing
/// and keeps the existing object.
pub async fn failed_upload_stores_nothing(subject: StorageProviderUnderTest) {
    let provider = &subject.provider;
    put(&subject, "there", "before").await;
    let broken = || Error::new(ErrorKind::Interrupted, "the sender left");
    for length in [3, 9_000_000] {
        let bytes = sample_bytes(length);
        let size = length as u64;
        let table: Vec<(&str, Box<dyn Fn() -> UploadBody + '_>, ErrorKind)> = vec![
            (
                "fewer bytes than stated",
                Box::new(|| UploadBody::from_bytes(bytes.clone()).size(size + 1)),
                ErrorKind::Mismatch,
            ),
            (
                "more bytes than stated",
                Box::new(|| UploadBody::from_bytes(bytes.clone()).size(size - 1)),
                ErrorKind::Mismatch,
            ),
            (
                "bytes of another SHA-256",
                Box::new(|| UploadBody::from_bytes(bytes.clone()).sha256(Sha256::digest("x"))),
                ErrorKind::Mismatch,
            ),
            (
                "more bytes than the limit",
                Box::new(|| UploadBody::from_bytes(bytes.clone()).max_size(size - 1)),
                ErrorKind::TooLarge,
            ),
            (
                "a stream that fails",
                Box::new(|| UploadBody::from_stream(stream_of(vec![Ok(bytes.clone()), Err(broken())]))),
                ErrorKind::Interrupted,
            ),
        ];
        for (what, upload, kind) in table {
            for name in ["there", "new"] {
                expect_error(provider.put(&key(name), upload(), &PutOptions::default()).await, kind, what);
            }
            assert_eq!(read(&subject, "there", None).await, "before", "{what}: the existing object was changed");
            expect_error(provider.head(&key("new")).await, ErrorKind::NotFound, what);
        }
    }
    let right = UploadBody::from_bytes("right").size(5).max_size(5).sha256(Sha256::digest("right"));
    expect_ok(provider.put(&key("new"), right, &PutOptions::default()).await);
    assert_eq!(expect_ok(provider.list("", None, 10).await).objects.len(), 2, "objects after all uploads");
}

/// Tests that an upload whose future is dropped leaves no visible object.
pub async fn dropped_upload_stores_nothing(subject: StorageProviderUnderTest) {
    let mut given = false;
    let stream = futures_util::stream::poll_fn(move |_| {
        if std::mem::replace(&mut given, true) { Poll::Pending } else { Poll::Ready(Some(Ok(sample_bytes(9_000_000)))) }
    });
    {
        let (name, options) = (key("a"), PutOptions::default());
        let mut put = Box::pin(subject.provider.put(&name, UploadBody::from_stream(Box::pin(stream)), &options));
        let some = tokio::time::timeout(Duration::from_millis(300), poll_fn(|cx| put.as_mut().poll(cx))).await;
        assert!(some.is_err(), "`put` ended before its stream: {some:?}");
    }
    expect_error(subject.provider.head(&key("a")).await, ErrorKind::NotFound, "`head` after a dropped upload");
    let left = expect_ok(subject.provider.list("", None, 10).await).objects;
    assert!(left.is_empty(), "`list` shows dropped uploads: {left:?}");
}

/// Tests that a read during a replacement returns the old or the new object, never a mixture.
pub async fn replacement_is_atomic(subject: StorageProviderUnderTest) {
    let (one, two) = (Bytes::from(vec![1; 200_000]), Bytes::from(vec![2; 300_000]));
    put(&subject, "a", one.clone()).await;
    let writer = async {
        for at in 0..6 {
            put(&subject, "a", if at % 2 == 0 { two.clone() } else { one.clone() }).await;
        }
    };
    let reader = async {
        for _ in 0..12 {
            let object = expect_ok(subject.provider.get(&key("a"), None).await);
            let size = object.info.size;
            let bytes = expect_ok(object.read_all(u64::MAX).await);
            assert!(bytes == one || bytes == two, "a mixture of {} bytes", bytes.len());
            assert_eq!(bytes.len() as u64, size, "size that `get` returns, and that of the bytes");
        }
    };
    futures_util::future::join(writer, reader).await;
}

/// Tests that the provider supports the operations in its [`Capabilities`](omnistack_storage::Capabilities), and
/// rejects the others.
pub async fn capabilities_match_behaviour(subject: StorageProviderUnderTest) {
    let (provider, can) = (&subject.provider, subject.provider.capabilities());
    put(&subject, "a", "a").await;
    let minute = Duration::from_secs(60);
    for (method, able) in [(Method::GET, can.presigned_get), (Method::PUT, can.presigned_put)] {
        let mut request = PresignRequest::get(key("a"), minute);
        request.method = method.clone();
        match provider.presign(&request).await {
            Ok(signed) => {
                assert!(able, "`Capabilities` has no presigned {method}, and `presign` returns {signed:?}");
                assert!(signed.method == method && signed.url.contains("://"), "not a request of {method}: {signed:?}");
                assert!(!format!("{signed:?}").contains("ignature="), "`Debug` shows the signature: {signed:?}");
            }
            Err(error) => {
                assert!(!able, "`Capabilities` has presigned {method}, and `presign` fails: {error}");
                assert_eq!(error.kind(), ErrorKind::Unsupported, "`presign` of {method}: {error}");
            }
        }
        for wrong in [Duration::ZERO, PresignRequest::MAX_EXPIRY + minute] {
            request.expires_in = wrong;
            expect_error(
                provider.presign(&request).await,
                ErrorKind::Unsupported,
                "`presign` for too short or too long a time",
            );
        }
    }
    let form = provider.post_form(&PostPolicy::new(key("a"), 10, minute)).await;
    assert_eq!(form.is_ok(), can.post_form, "`Capabilities::post_form`, and `post_form`: {form:?}");
    let classed = provider.put(&key("b"), "b".into(), &PutOptions::default().storage_class(subject.class)).await;
    assert_eq!(classed.is_ok(), can.storage_classes, "`Capabilities::storage_classes`, and `put`: {classed:?}");
    if can.storage_classes {
        let class = expect_ok(provider.head(&key("b")).await).storage_class;
        assert!(class.as_ref().is_none_or(|class| class == subject.class), "`head` returns another class: {class:?}");
    }
    let changed = provider.copy(&key("a"), &key("a"), Some(subject.class)).await;
    assert_eq!(
        changed.is_ok(),
        can.change_storage_class,
        "`Capabilities::change_storage_class`, and `copy`: {changed:?}"
    );
    if !can.restore {
        expect_error(provider.restore(&key("a"), 1, RestoreTier::Standard).await, ErrorKind::Unsupported, "`restore`");
    }
    assert_eq!(read(&subject, "a", None).await, "a", "bytes after a change of the storage class");
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
