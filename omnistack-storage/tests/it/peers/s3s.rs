//! Tests against s3s-fs, which verifies each signature. moto does not: it accepts forged and expired URLs.

use std::time::Duration;

use omnistack_core::clock::{Clock, MockClock, Timestamp};
use omnistack_storage::{ObjectKey, PostForm, PostPolicy, PresignRequest, PresignedRequest, S3Builder, Storage};
use omnistack_testkit::storage::StorageProviderUnderTest;
use tokio::process::{Child, Command};

use super::{SECRET, client, setting};
use crate::conformance::TempDirectory;

/// A server and the directory in which it stores objects.
struct Server {
    _process: Child,
    _folder: TempDirectory,
    url: String,
}

impl Server {
    async fn start() -> Self {
        let folder = TempDirectory::new();
        std::fs::create_dir_all(folder.0.join("files")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(setting("TEST_PEERS_S3S"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--access-key", "id", "--secret-key", SECRET])
            .arg(&folder.0)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        super::listening(port).await;
        Self { _process: process, _folder: folder, url: format!("http://127.0.0.1:{port}") }
    }

    fn bucket(&self) -> S3Builder {
        S3Builder::new("files", "us-east-1").endpoint(&self.url).credentials("id", SECRET)
    }

    fn open(&self, clock: Clock) -> Storage {
        Storage::new(self.bucket().build(client(), clock).unwrap())
    }
}

const LATER: Duration = Duration::from_secs(60);

async fn send(request: &PresignedRequest, url: &str, content_type: Option<&str>, body: &'static str) -> u16 {
    let mut sent = client().request(request.method.clone(), url).body(body);
    for (name, value) in request.headers.iter().filter(|(name, _)| *name != "content-length") {
        let value = content_type.filter(|_| name == "content-type").unwrap_or(value);
        sent = sent.header(name, value);
    }
    sent.send().await.unwrap().status().as_u16()
}

/// Returns the URL with one character of the signature changed.
fn forged(url: &str) -> String {
    let at = url.find("X-Amz-Signature=").unwrap() + "X-Amz-Signature=".len() + 7;
    let other = if url.as_bytes()[at] == b'0' { "1" } else { "0" };
    format!("{}{other}{}", &url[..at], &url[at + 1..])
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn links_are_taken_and_others_are_not() {
    let server = Server::start().await;
    let storage = server.open(Clock::system());
    for name in ["a.txt", "a b/Grüße+~.txt", "x/(1)'!*&=$@,;:#?[]{}^|<>\"`.txt", "100% sure"] {
        let key: ObjectKey = name.parse().unwrap();
        let put = PresignRequest::put(key.clone(), LATER).content_type("text/x-test").size(6);
        let put = storage.presign(&put).await.unwrap();
        for wrong in [forged(&put.url), put.url.replace("X-Amz-Expires=60", "X-Amz-Expires=61")] {
            assert_eq!(send(&put, &wrong, None, "Hello.").await, 403, "{wrong}");
        }
        assert_eq!(send(&put, &put.url, Some("text/html"), "Hello.").await, 403, "another type");
        assert_eq!(send(&put, &put.url, None, "Hello, all.").await, 403, "another size");
        assert!(!storage.exists(&key).await.unwrap(), "{name}");
        assert_eq!(send(&put, &put.url, None, "Hello.").await, 200, "{name}");
        assert_eq!(storage.read(&key, 100).await.unwrap(), "Hello.");
        let get = PresignRequest::get(key.clone(), LATER).content_disposition("attachment; filename=\"a.txt\"");
        let get = storage.presign(&get).await.unwrap();
        assert_eq!(send(&get, &get.url, None, "").await, 200, "{name}");
        for wrong in [
            forged(&get.url),
            get.url.replace("filename%3D%22a.txt", "filename%3D%22a.exe"),
            get.url.replace("/files/", "/files/other"),
        ] {
            assert_eq!(send(&get, &wrong, None, "").await, 403, "{wrong}");
        }
        // A URL for reading can't be used for storing.
        assert_eq!(client().put(&get.url).body("x").send().await.unwrap().status(), 403);
        assert_eq!(storage.read(&key, 100).await.unwrap(), "Hello.");
    }
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn links_end() {
    let server = Server::start().await;
    let key: ObjectKey = "a.txt".parse().unwrap();
    server.open(Clock::system()).put(&key, "Hello.").await.unwrap();
    let now = Clock::system().now();
    for (made, status) in [(now - Duration::from_secs(30), 200), (now - Duration::from_secs(90), 403)] {
        let storage = server.open(MockClock::at(made).clock());
        let get = storage.presign_get(&key, LATER).await.unwrap();
        assert_eq!(send(&get, &get.url, None, "").await, status, "read, made at {made}");
        let put = storage.presign_put(&key, LATER).await.unwrap();
        assert_eq!(send(&put, &put.url, None, "again").await, status, "stored, made at {made}");
    }
}

async fn post(form: &PostForm, file: &str) -> u16 {
    let part = |name: &str, value: &str| {
        format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let fields: String = form.fields.iter().map(|(name, value)| part(name, value)).collect();
    let body = format!(
        "{fields}--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n{file}\r\n--xyz--\r\n"
    );
    let request = client().post(&form.url).header("content-type", "multipart/form-data; boundary=xyz").body(body);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn forms_are_taken_within_their_policy() {
    let server = Server::start().await;
    let key: ObjectKey = "form.txt".parse().unwrap();
    let policy = PostPolicy::new(key.clone(), 10, LATER).content_type("text/plain");
    let at = |made: Timestamp| server.open(MockClock::at(made).clock());
    let now = Clock::system().now();
    let form = at(now).post_form(&policy).await.unwrap();
    for (field, value) in [
        ("x-amz-signature", "0".repeat(64)),
        ("key", "another.txt".into()),
        ("Content-Type", "text/html".into()),
        (
            "policy",
            at(now).post_form(&PostPolicy::new(key.clone(), 1000, LATER)).await.unwrap().fields["policy"].clone(),
        ),
    ] {
        let mut other = form.clone();
        other.fields.insert(field.into(), value);
        assert!(matches!(post(&other, "Hello.").await, 400 | 403), "another {field}");
    }
    assert!(matches!(post(&form, "more than ten bytes").await, 400 | 403), "too large");
    let over = at(now - Duration::from_secs(3600)).post_form(&policy).await.unwrap();
    assert!(matches!(post(&over, "Hello.").await, 400 | 403), "over");
    assert!(!at(now).exists(&key).await.unwrap());
    assert!(matches!(post(&form, "Hello.").await, 200..=204));
    assert_eq!(at(now).read(&key, 100).await.unwrap(), "Hello.");
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn another_key_is_no_key() {
    let server = Server::start().await;
    let wrong = server.bucket().credentials("id", "another").max_retries(0).build(client(), Clock::system()).unwrap();
    let error = Storage::new(wrong).put(&"a".parse().unwrap(), "a").await.unwrap_err();
    assert_eq!(error.kind(), omnistack_storage::ErrorKind::Configuration, "{error}");
}

async fn s3s() -> StorageProviderUnderTest {
    let server = Server::start().await;
    StorageProviderUnderTest::new(server.bucket().build(client(), Clock::system()).unwrap()).with_resource(server)
}

/// The conformance tests that suit this server. The others do not: it has no storage classes, responds with 500
/// to the name of a folder, and accepts several concurrent creations of the same object.
macro_rules! laws {
    ($make:ident) => {
        mod $make {
            omnistack_testkit::storage_conformance! { @laws [#[ignore = "a peer: `cargo xtask test --peers`"]] (super::$make)
                stored_object_is_read_back
                long_stream_is_stored
                put_replaces_object
                reads_ranges
                lists_in_order
                copy_is_independent
                failed_upload_stores_nothing
                dropped_upload_stores_nothing
                replacement_is_atomic
            }
        }
    };
}

laws!(s3s);

/// R2 is an `S3` with fewer operations: the same requests to another URL. The tests of capabilities pass, because
/// it has fewer of them.
async fn r2() -> StorageProviderUnderTest {
    let server = Server::start().await;
    let bucket = S3Builder::r2("files", "0123456789abcdef").endpoint(&server.url).credentials("id", SECRET);
    StorageProviderUnderTest::new(bucket.build(client(), Clock::system()).unwrap()).with_resource(server)
}

laws!(r2);
