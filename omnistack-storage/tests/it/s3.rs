//! Tests of `S3` against a scripted server that fails in different ways.

use std::time::Duration;

use bytes::Bytes;
use omnistack_core::{
    clock::Clock,
    http::client::{Client, ClientSettings},
};
use omnistack_storage::{
    ByteRange, ErrorKind, PostPolicy, PresignRequest, PutOptions, S3, S3Builder, Storage, UploadBody,
};
use omnistack_testkit::mock_server::{ClosedPort, MockResponse, MockServer};

fn client() -> Client {
    ClientSettings::default().client().unwrap()
}

fn bucket(url: &str) -> S3Builder {
    S3Builder::new("files", "us-east-1")
        .endpoint(url)
        .credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
        .idle_timeout(Duration::from_millis(400))
        .max_retries(0)
}

fn open(bucket: S3Builder) -> Storage {
    let s3: S3 = bucket.build(client(), Clock::system()).unwrap();
    Storage::new(s3)
}

const ERROR: &str = "<?xml version=\"1.0\"?><Error><Code>CODE</Code><Message>no</Message></Error>";

fn error(status: u16, code: &str) -> MockResponse {
    MockResponse::content(status, "application/xml", ERROR.replace("CODE", code))
}

#[tokio::test]
async fn responses_are_mapped_to_error_kinds() {
    for (reply, kind) in [
        (error(404, "NoSuchKey"), ErrorKind::NotFound),
        (error(403, "AccessDenied"), ErrorKind::Configuration),
        (error(403, "InvalidObjectState"), ErrorKind::Archived),
        (error(500, "InternalError"), ErrorKind::Unavailable),
        (error(503, "SlowDown"), ErrorKind::Unavailable),
        (error(400, "InvalidRequest"), ErrorKind::Other),
        (MockResponse::reset(), ErrorKind::Unavailable),
        (MockResponse::hang(), ErrorKind::Unavailable),
        (MockResponse::raw("not HTTP at all\r\n\r\n"), ErrorKind::Unavailable),
    ] {
        let upstream = MockServer::start().await;
        upstream.expect("GET", "/files/a").times(1..).reply(reply.clone());
        let error = open(bucket(upstream.url())).get(&"a".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{reply:?}: {error}");
        assert_eq!(error.is_retryable(), kind == ErrorKind::Unavailable);
        assert!(!format!("{error} {error:?}").contains("wJalr"), "a secret: {error:?}");
    }
    let closed = ClosedPort::reserve();
    let error = open(bucket(&closed.url())).get(&"a".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn temporary_failures_are_retried() {
    let upstream = MockServer::start().await;
    upstream.expect("GET", "/files/a").times(2).reply(error(503, "SlowDown"));
    upstream.expect("GET", "/files/a").reply(
        MockResponse::text(200, "Hello.")
            .header("etag", "\"1\"")
            .header("last-modified", "Tue, 01 Jan 2030 00:00:00 GMT"),
    );
    upstream.expect("HEAD", "/files/a").times(2).reply(MockResponse::status(500));
    upstream.expect("HEAD", "/files/a").reply(MockResponse::raw(
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\netag: \"1\"\r\nlast-modified: Tue, 01 Jan 2030 00:00:00 GMT\r\n\
             x-amz-storage-class: GLACIER\r\nx-amz-restore: ongoing-request=\"true\"\r\n\r\n",
    ));
    let storage = open(bucket(upstream.url()).max_retries(3).idle_timeout(Duration::from_secs(5)));
    let key = "a".parse().unwrap();
    assert_eq!(storage.read(&key, 100).await.unwrap(), "Hello.");
    let info = storage.head(&key).await.unwrap();
    assert_eq!((info.size, info.restore_status), (6, omnistack_storage::RestoreStatus::Restoring));
}

/// A request is not repeated if the wait that the response asks for exceeds the time for retries.
#[tokio::test]
async fn a_long_retry_after_ends_the_call() {
    let upstream = MockServer::start().await;
    upstream.expect_any().times(1).reply(MockResponse::status(503).header("retry-after", "3600"));
    let storage = open(bucket(upstream.url()).max_retries(3));
    let error = storage.head(&"a".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    upstream.verify();
}

/// A response that keeps arriving slowly is read to its end; one that stops is not.
#[tokio::test]
async fn slow_and_stalled_responses() {
    let headers =
        |reply: MockResponse| reply.header("etag", "\"1\"").header("last-modified", "Tue, 01 Jan 2030 00:00:00 GMT");
    let text = "0123456789".repeat(10);
    let upstream = MockServer::start().await;
    let slow = MockResponse::text(200, &text).drip(10, Duration::from_millis(100));
    upstream.expect("GET", "/files/slow").reply(headers(slow));
    upstream.expect("GET", "/files/silent").times(1..).reply(headers(MockResponse::text(200, &text)).hang_after(30));
    upstream.expect("GET", "/files/cut").times(1..).reply(headers(MockResponse::text(200, &text)).cut_after(30));
    let storage = open(bucket(upstream.url()));
    assert_eq!(storage.read(&"slow".parse().unwrap(), 1000).await.unwrap(), text);
    for name in ["silent", "cut"] {
        let error = storage.read(&name.parse().unwrap(), 1000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{name}: {error}");
    }
}

/// A multipart upload that fails is aborted.
#[tokio::test]
async fn parts_that_fail_are_removed() {
    let begun = "<InitiateMultipartUploadResult><Bucket>files</Bucket><Key>a</Key><UploadId>u1</UploadId>\
                 </InitiateMultipartUploadResult>";
    for part in [Some(error(500, "InternalError")), Some(MockResponse::hang()), None] {
        let upstream = MockServer::start().await;
        upstream.expect("POST", "/files/a").reply(MockResponse::content(200, "application/xml", begun));
        let whole = part.is_none();
        let part = part.unwrap_or_else(|| MockResponse::status(200).header("etag", "\"1\""));
        upstream.expect("PUT", "/files/a").times(..).reply(part);
        upstream.expect("DELETE", "/files/a").query("uploadId", "u1").reply(MockResponse::status(204));
        let storage = open(bucket(upstream.url()).idle_timeout(Duration::from_secs(3)));
        let upload = UploadBody::from_bytes(Bytes::from(vec![0; 9_000_000]));
        let upload = if whole { upload.sha256(omnistack_core::crypto::Sha256::digest("x")) } else { upload };
        let error = storage.put(&"a".parse().unwrap(), upload).await.unwrap_err();
        let kind = if whole { ErrorKind::Mismatch } else { ErrorKind::Unavailable };
        assert_eq!(error.kind(), kind, "{error}");
        // The abort runs in the background, and the number of parts sent before it is not fixed.
        let mut requests = upstream.requests();
        while !requests.iter().any(|request| request.method == "DELETE") {
            requests = upstream.wait_for_requests(requests.len() + 1).await;
        }
    }
}

#[tokio::test]
async fn names_and_addresses_that_can_not_be_used() {
    for wrong in [
        S3Builder::new("", "us-east-1"),
        S3Builder::new("a/b", "us-east-1"),
        S3Builder::new("a", "us east"),
        bucket("http://elsewhere.example"),
        bucket("https://user:password@example.com"),
        bucket("nonsense"),
    ] {
        let error = wrong.build(client(), Clock::system()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(!error.to_string().contains("password"), "{error}");
    }
}

/// Operations that R2 does not support are refused without a request.
#[tokio::test]
async fn r2_refuses_unsupported_operations() {
    let r2 = S3Builder::r2("files", "0123456789abcdef").credentials("id", "secret");
    let storage = Storage::new(r2.build(client(), Clock::system()).unwrap());
    let key: omnistack_storage::ObjectKey = "a".parse().unwrap();
    let minute = Duration::from_secs(60);
    let link = storage.presign(&PresignRequest::get(key.clone(), minute)).await.unwrap();
    assert!(link.url.starts_with("https://0123456789abcdef.r2.cloudflarestorage.com/files/a?"), "{}", link.url);
    assert!(link.url.contains("%2Fauto%2Fs3%2Faws4_request"), "{}", link.url);
    let put = storage.put_with(&key, "a", &PutOptions::default().storage_class("GLACIER")).await;
    let refused = [
        put.unwrap_err(),
        storage.copy_to_storage_class(&key, &key, "GLACIER").await.unwrap_err(),
        storage.post_form(&PostPolicy::new(key.clone(), 1, minute)).await.unwrap_err(),
        storage.restore(&key, 1, omnistack_storage::RestoreTier::Bulk).await.unwrap_err(),
    ];
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::Unsupported), "{refused:?}");
}

/// A response with the whole object to a request for a range is an error.
#[tokio::test]
async fn a_bucket_that_ignores_ranges() {
    let upstream = MockServer::start().await;
    let whole = MockResponse::text(200, "0123456789").header("etag", "\"1\"");
    upstream.expect("GET", "/files/a").reply(whole.header("last-modified", "Tue, 01 Jan 2030 00:00:00 GMT"));
    upstream.expect("HEAD", "/files/a").times(..).reply(MockResponse::raw(
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nlast-modified: Tue, 01 Jan 2030 00:00:00 GMT\r\n\r\n",
    ));
    let part = open(bucket(upstream.url())).get_range(&"a".parse().unwrap(), ByteRange::Bounded(2, 4)).await;
    assert!(part.is_err(), "{part:?}");
}
