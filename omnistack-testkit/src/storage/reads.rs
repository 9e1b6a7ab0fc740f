//! The laws of reading objects.

use bytes::Bytes;
use omnistack_core::crypto::Sha256;
use omnistack_storage::{ByteRange, ErrorKind, PutOptions, UploadBody};

use super::{StorageProviderUnderTest, expect_error, expect_ok, key, put, read, sample_bytes, stream_of};

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
