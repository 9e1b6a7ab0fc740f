//! Tests against third-party servers and signers. `cargo xtask test --peers` runs these: they need
//! `TEST_PEERS_PYTHON`, a Python with moto and botocore, and the settings that the modules below name.

#[cfg(feature = "azure")]
mod azurite;
#[cfg(feature = "cloudinary")]
mod cloudinary;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(feature = "gcs")]
mod gcs;
mod s3s;

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use omnistack_core::{
    clock::{Clock, MockClock},
    http::{
        Method,
        client::{Client, ClientSettings},
    },
};
use omnistack_storage::{
    ErrorKind, ObjectKey, PostPolicy, PresignRequest, PutOptions, RestoreStatus, RestoreTier, S3Builder, Storage,
};
use omnistack_testkit::{storage::StorageProviderUnderTest, storage_conformance};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

struct Peer {
    lines: Lines<BufReader<ChildStdout>>,
    input: ChildStdin,
    _process: Child,
}

#[expect(clippy::disallowed_methods, reason = "a test's setting, not the app's")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as `cargo xtask test --peers` does"))
}

impl Peer {
    fn start(what: &str) -> Self {
        Self::script("s3.py", &[what])
    }

    fn script(name: &str, arguments: &[&str]) -> Self {
        let script = format!("{}/../xtask/peers/{name}", env!("CARGO_MANIFEST_DIR"));
        Self::run(Command::new(setting("TEST_PEERS_PYTHON")).arg(script).args(arguments))
    }

    fn run(program: &mut Command) -> Self {
        let mut process = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { lines, input: process.stdin.take().unwrap(), _process: process }
    }

    async fn line(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }

    async fn ask(&mut self, request: Value) -> Value {
        self.input.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        self.line().await
    }

    async fn bucket(&mut self) -> S3Builder {
        let port = self.line().await["port"].as_u64().unwrap();
        S3Builder::new("files", "us-east-1").endpoint(format!("http://127.0.0.1:{port}")).credentials("id", SECRET)
    }
}

/// Waits until a server listens on a port.
pub(crate) async fn listening(port: u16) {
    let begun = tokio::time::Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no server listens on {port}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn client() -> Client {
    ClientSettings::default().client().unwrap()
}

async fn moto() -> StorageProviderUnderTest {
    let mut peer = Peer::start("serve");
    let s3 = peer.bucket().await.build(client(), Clock::system()).unwrap();
    StorageProviderUnderTest::new(s3).with_resource(peer)
}

storage_conformance!(
    #[ignore = "a peer: `cargo xtask test --peers`"]
    moto
);

/// R2 with its path-style URLs and without its unsupported operations.
async fn r2() -> StorageProviderUnderTest {
    let mut peer = Peer::start("serve");
    let port = peer.line().await["port"].as_u64().unwrap();
    let r2 = S3Builder::r2("files", "0123456789abcdef").endpoint(format!("http://127.0.0.1:{port}"));
    StorageProviderUnderTest::new(r2.credentials("id", SECRET).build(client(), Clock::system()).unwrap())
        .with_resource(peer)
}

storage_conformance!(
    #[ignore = "a peer: `cargo xtask test --peers`"]
    r2
);

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn archives() {
    let mut peer = Peer::start("serve");
    let storage = Storage::new(peer.bucket().await.build(client(), Clock::system()).unwrap());
    let key: ObjectKey = "old/Grüße 1.txt".parse().unwrap();
    for class in ["GLACIER", "DEEP_ARCHIVE"] {
        storage.put_with(&key, "cold", &PutOptions::default().storage_class(class)).await.unwrap();
        let info = storage.head(&key).await.unwrap();
        assert_eq!((info.storage_class.as_deref(), info.restore_status), (Some(class), RestoreStatus::Archived));
        assert_eq!(storage.get(&key).await.unwrap_err().kind(), ErrorKind::Archived);
        storage.restore(&key, 2, RestoreTier::Standard).await.unwrap();
        let archive = storage.head(&key).await.unwrap().restore_status;
        assert!(matches!(archive, RestoreStatus::Restoring | RestoreStatus::RestoredUntil(_)), "{archive:?}");
        storage.restore(&key, 2, RestoreTier::Bulk).await.unwrap();
    }
    // Copying the object onto itself keeps its metadata.
    let warm: ObjectKey = "warm.txt".parse().unwrap();
    storage.put_with(&warm, "warm", &PutOptions::content_type("text/x-test")).await.unwrap();
    storage.copy_to_storage_class(&warm, &warm, "GLACIER").await.unwrap();
    let info = storage.head(&warm).await.unwrap();
    assert_eq!((info.restore_status, info.content_type.as_deref()), (RestoreStatus::Archived, Some("text/x-test")));
    let nothing = storage.restore(&"nothing".parse().unwrap(), 1, RestoreTier::Bulk).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn links_and_forms_are_taken() {
    let mut peer = Peer::start("serve");
    let storage = Storage::new(peer.bucket().await.build(client(), Clock::system()).unwrap());
    let (key, minute): (ObjectKey, _) = ("a b/Grüße+~.txt".parse().unwrap(), Duration::from_secs(60));
    let put = PresignRequest::put(key.clone(), minute).content_type("text/x-test").size(6);
    let put = storage.presign(&put).await.unwrap();
    let mut request = client().put(&put.url).body("Hello.");
    for (name, value) in put.headers.iter().filter(|(name, _)| *name != "content-length") {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    assert_eq!(storage.read(&key, 100).await.unwrap(), "Hello.");
    assert_eq!(storage.head(&key).await.unwrap().content_type.as_deref(), Some("text/x-test"));
    let get = PresignRequest::get(key.clone(), minute).content_disposition("attachment; filename=\"a.txt\"");
    let answer = client().get(storage.presign(&get).await.unwrap().url).send().await.unwrap();
    assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"a.txt\"");
    assert_eq!(answer.text().await.unwrap(), "Hello.");
    let form = storage.post_form(&PostPolicy::new("form.txt".parse().unwrap(), 10, minute)).await.unwrap();
    let part = |name: &str, value: &str| {
        format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let fields: String = form.fields.iter().map(|(name, value)| part(name, value)).collect();
    let body = format!(
        "{fields}--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nHello.\r\n--xyz--\r\n"
    );
    let request = client().post(&form.url).header("content-type", "multipart/form-data; boundary=xyz").body(body);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    assert_eq!(storage.read(&"form.txt".parse().unwrap(), 100).await.unwrap(), "Hello.");
}

/// The signatures equal those of botocore. Only the order of query parameters may differ.
#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn signatures_are_those_of_botocore() {
    let mut peer = Peer::start("sign");
    let clock = MockClock::at("2030-02-03T04:05:06Z".parse().unwrap());
    let endpoint = "http://127.0.0.1:9000";
    for token in [None, Some("a/session+token==")] {
        let mut bucket = S3Builder::new("files", "eu-central-1").endpoint(endpoint).credentials("AKID", SECRET);
        if let Some(token) = token {
            bucket = bucket.session_token(token);
        }
        let storage = Storage::new(bucket.build(client(), clock.clock()).unwrap());
        for key in ["a.txt", "a b/c+d~e.txt", "Grüße/🎉.png", "x/(1)'!*&=$@,;:#?[]{}^|<>\"`.txt", "100% sure"] {
            let key: ObjectKey = key.parse().unwrap();
            let minute = Duration::from_secs(60);
            for request in [
                PresignRequest::get(key.clone(), minute),
                PresignRequest::get(key.clone(), PresignRequest::MAX_EXPIRY)
                    .content_disposition("attachment; filename=\"a b\"; x=ü"),
                PresignRequest::get(key.clone(), minute)
                    .content_type("text/csv; charset=utf-8")
                    .content_disposition("inline"),
                PresignRequest::put(key.clone(), minute),
                PresignRequest::put(key.clone(), minute).content_type("text/plain; charset=utf-8").size(17),
            ] {
                let ours = storage.presign(&request).await.unwrap();
                let content_type = request.content_type.iter().filter(|_| request.method == Method::GET);
                let query: BTreeMap<_, _> = (request.content_disposition.iter())
                    .map(|text| ("response-content-disposition", text))
                    .chain(content_type.map(|text| ("response-content-type", text)))
                    .collect();
                let theirs = peer
                    .ask(json!({
                        "method": request.method.as_str(), "key": key.as_str(), "endpoint": endpoint, "bucket": "files",
                        "region": "eu-central-1", "id": "AKID", "secret": SECRET, "token": token,
                        "expires": request.expires_in.as_secs(), "at": "2030-02-03T04:05:06+00:00",
                        "headers": ours.headers, "query": query,
                    }))
                    .await;
                let pairs = |url: &str| {
                    let (path, query) = url.split_once('?').unwrap();
                    let mut pairs: Vec<_> = query.split('&').map(str::to_owned).collect();
                    pairs.sort();
                    (path.to_owned(), pairs)
                };
                assert_eq!(pairs(&ours.url), pairs(theirs["url"].as_str().unwrap()), "{request:?}");
            }
            let policy = PostPolicy::new(key, 1000, minute).content_type("image/png");
            let form = storage.post_form(&policy).await.unwrap();
            let theirs = peer
                .ask(json!({
                    "policy": form.fields["policy"], "date": form.fields["x-amz-date"], "region": "eu-central-1",
                    "secret": SECRET,
                }))
                .await;
            assert_eq!(form.fields["x-amz-signature"], theirs["signature"]);
        }
    }
}
