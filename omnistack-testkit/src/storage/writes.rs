//! The laws of storing and copying objects, and of the capabilities of a provider.

use std::{future::poll_fn, task::Poll, time::Duration};

use bytes::Bytes;
use omnistack_core::{crypto::Sha256, http::Method};
use omnistack_storage::{Error, ErrorKind, PostPolicy, PresignRequest, PutOptions, RestoreTier, UploadBody};

use super::{StorageProviderUnderTest, expect_error, expect_ok, key, put, read, sample_bytes, stream_of};

/// Tests that storing an object under an existing key replaces the object and changes its entity tag.
pub async fn put_replaces_object(subject: StorageProviderUnderTest) {
    put(&subject, "a", "one").await;
    let before = expect_ok(subject.provider.head(&key("a")).await).etag;
    put(&subject, "a", "another").await;
    assert_eq!(read(&subject, "a", None).await, "another", "`get` after a replacement");
    let after = expect_ok(subject.provider.head(&key("a")).await).etag;
    assert_ne!(after, before, "the entity tag is that of the object that was replaced");
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
