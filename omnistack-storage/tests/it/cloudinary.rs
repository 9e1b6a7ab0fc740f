//! Tests of `Cloudinary` against a small server that verifies signatures, and against a scripted server that
//! fails in different ways.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest as _, Multipart, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose};
use omnistack_core::{
    clock::Clock,
    crypto::Sha256,
    http::client::{Client, ClientSettings},
    resilience::Classify as _,
};
use omnistack_storage::{Cloudinary, ErrorKind, ObjectKey, PresignRequest, PutOptions, Storage, UploadBody};
use omnistack_testkit::{
    mock_server::{MockResponse, MockServer},
    storage::StorageProviderUnderTest,
    storage_conformance,
};
use serde_json::{Value, json};

const SECRET: &str = "abcd-secret";

fn client() -> Client {
    ClientSettings::default().client().unwrap()
}

fn open(url: &str) -> Cloudinary {
    let opened = Cloudinary::new("demo", "123", SECRET, client(), Clock::system()).unwrap();
    opened
        .with_endpoints(url, &format!("{url}/delivered"))
        .unwrap()
        .idle_timeout(Duration::from_millis(400))
        .max_retries(0)
}

#[derive(Clone)]
struct Asset {
    version: i64,
    bytes: Bytes,
    context: BTreeMap<String, String>,
}

/// The assets of the server by public id, and the bytes of uploads in parts by upload id.
#[derive(Default)]
struct ServerState {
    assets: BTreeMap<String, Asset>,
    parts: BTreeMap<String, Vec<u8>>,
    version: i64,
}

type SharedState = Arc<Mutex<ServerState>>;

fn refused(status: u16, message: &str) -> Response {
    let body = json!({ "error": { "message": message } }).to_string();
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

/// Verifies the signature of a request as documented, over the parameters that were sent.
fn is_signed(fields: &BTreeMap<String, String>) -> bool {
    let unsigned = ["file", "api_key", "signature", "cloud_name", "resource_type"];
    let pairs = fields.iter().filter(|(name, value)| !unsigned.contains(&name.as_str()) && !value.is_empty());
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}={}", value.replace('&', "%26"))).collect();
    fields.get("signature") == Some(&Sha256::digest(format!("{}{SECRET}", pairs.join("&"))).to_string())
}

fn shown(id: &str, asset: &Asset) -> Value {
    json!({
        "public_id": id, "version": asset.version, "bytes": asset.bytes.len(), "type": "authenticated",
        "etag": Sha256::digest(&asset.bytes).to_string()[..32], "context": { "custom": asset.context },
        "created_at": "2030-01-01T00:00:00Z", "resource_type": "raw",
    })
}

fn context(text: &str) -> BTreeMap<String, String> {
    let text = text.replace("\\=", "\u{1}").replace("\\|", "\u{2}");
    let pairs = text.split('|').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.replace('\u{1}', "=").replace('\u{2}', "|"))).collect()
}

fn find(kept: &ServerState, path: &str) -> Option<Asset> {
    let (signature, rest) = path.split_once('/')?;
    let (version, id) = rest.split_once('/')?;
    let hash = general_purpose::URL_SAFE.encode(Sha256::digest(format!("{id}{SECRET}")).as_bytes());
    let asset = kept.assets.get(id)?;
    let right = signature == format!("s--{}--", &hash[..32]) && version == format!("v{}", asset.version);
    right.then(|| asset.clone())
}

async fn upload(State(shelf): State<SharedState>, headers: HeaderMap, request: Request) -> Response {
    let (mut fields, mut file) = (BTreeMap::new(), None);
    let mut form = Multipart::from_request(request, &()).await.unwrap();
    while let Some(field) = form.next_field().await.unwrap() {
        match field.name().unwrap().to_owned() {
            name if name == "file" && field.file_name().is_some() => file = Some(field.bytes().await.unwrap()),
            name => _ = fields.insert(name, field.text().await.unwrap()),
        }
    }
    if !is_signed(&fields) || fields["api_key"] != "123" || fields["type"] != "authenticated" {
        return refused(401, "Invalid Signature");
    }
    let mut kept = shelf.lock().unwrap();
    let mut bytes = match (file, fields.get("file")) {
        (Some(bytes), None) => bytes,
        (None, Some(url)) => match find(&kept, url.split_once("/delivered/demo/raw/authenticated/").unwrap().1) {
            Some(asset) => asset.bytes,
            None => return refused(400, "Resource not found"),
        },
        _ => return refused(400, "Missing required parameter - file"),
    };
    if bytes.is_empty() {
        return refused(400, "Empty file");
    }
    if let Some(id) = headers.get("x-unique-upload-id") {
        let range = headers["content-range"].to_str().unwrap().strip_prefix("bytes ").unwrap();
        let (place, total) = range.split_once('/').unwrap();
        let parts = kept.parts.entry(id.to_str().unwrap().to_owned()).or_default();
        assert_eq!(place, format!("{}-{}", parts.len(), parts.len() + bytes.len() - 1));
        parts.extend_from_slice(&bytes);
        if total == "-1" {
            assert!(bytes.len() > 5_000_000, "a part that is too small");
            return json!({ "done": false }).to_string().into_response();
        }
        assert_eq!(total, parts.len().to_string());
        bytes = std::mem::take(parts).into();
    }
    kept.version = kept.version.max(1_893_456_000) + 1;
    let asset = Asset { version: kept.version, bytes, context: context(&fields["context"]) };
    let answer = shown(&fields["public_id"], &asset);
    kept.assets.insert(fields["public_id"].clone(), asset);
    answer.to_string().into_response()
}

async fn destroy(State(shelf): State<SharedState>, body: String) -> Response {
    let pairs = reqwest::Url::parse(&format!("http://form/?{body}")).unwrap();
    let fields: BTreeMap<String, String> = pairs.query_pairs().into_owned().collect();
    if !is_signed(&fields) {
        return refused(401, "Invalid Signature");
    }
    let removed = shelf.lock().unwrap().assets.remove(&fields["public_id"]);
    json!({ "result": if removed.is_some() { "ok" } else { "not found" } }).to_string().into_response()
}

fn is_known(headers: &HeaderMap) -> bool {
    let expected = format!("Basic {}", general_purpose::STANDARD.encode(format!("123:{SECRET}")));
    headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes() == expected.as_bytes())
}

async fn resource(State(shelf): State<SharedState>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match shelf.lock().unwrap().assets.get(&id) {
        _ if !is_known(&headers) => refused(401, "unknown api_key"),
        Some(asset) => shown(&id, asset).to_string().into_response(),
        None => refused(404, "Resource not found"),
    }
}

/// Returns pages of three assets, not in the order of the public ids.
async fn resources(
    State(shelf): State<SharedState>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if !is_known(&headers) {
        return refused(401, "unknown api_key");
    }
    let kept = shelf.lock().unwrap();
    let mut found: Vec<_> = kept.assets.iter().filter(|(id, _)| id.starts_with(&query["prefix"])).collect();
    found.sort_by_key(|(_, asset)| -asset.version);
    let from: usize = query.get("next_cursor").map_or(0, |cursor| cursor.parse().unwrap());
    let page: Vec<_> = found.iter().skip(from).take(3).map(|(id, asset)| shown(id, asset)).collect();
    let mut answer = json!({ "resources": page });
    if found.len() > from + 3 {
        answer["next_cursor"] = (from + 3).to_string().into();
    }
    answer.to_string().into_response()
}

async fn delivered(State(shelf): State<SharedState>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = find(&shelf.lock().unwrap(), &path) else { return refused(404, "") };
    let Some(range) = headers.get(header::RANGE) else { return asset.bytes.into_response() };
    let (start, end) = range.to_str().unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let part = asset.bytes.slice(start.parse().unwrap()..=end.parse::<usize>().unwrap());
    (StatusCode::PARTIAL_CONTENT, part).into_response()
}

async fn download(State(shelf): State<SharedState>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let over = query["expires_at"].parse::<i64>().unwrap() <= Clock::system().now().as_seconds();
    match shelf.lock().unwrap().assets.get(&query["public_id"]) {
        _ if over || !is_signed(&query) => refused(401, "Invalid Signature"),
        Some(asset) => asset.bytes.clone().into_response(),
        None => refused(404, "Resource not found"),
    }
}

/// A server that stops when it is dropped.
struct Server(tokio::task::JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve() -> (Server, String) {
    let routes = Router::new()
        .route("/v1_1/demo/raw/upload", post(upload))
        .route("/v1_1/demo/raw/destroy", post(destroy))
        .route("/v1_1/demo/raw/download", get(download))
        .route("/v1_1/demo/resources/raw/authenticated", get(resources))
        .route("/v1_1/demo/resources/raw/authenticated/{*id}", get(resource))
        .route("/delivered/demo/raw/authenticated/{*path}", get(delivered))
        .layer(DefaultBodyLimit::disable())
        .with_state(SharedState::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (Server(tokio::spawn(async { axum::serve(listener, routes).await.unwrap() })), url)
}

async fn cloudinary() -> StorageProviderUnderTest {
    let (server, url) = serve().await;
    StorageProviderUnderTest::new(open(&url).idle_timeout(Duration::from_secs(30))).with_resource(server)
}

storage_conformance!(cloudinary);

#[tokio::test]
async fn signed_urls_and_unsupported_operations() {
    let (_server, url) = serve().await;
    let storage = Storage::new(open(&url));
    let (key, minute): (ObjectKey, _) = ("a b/Grüße&x=1.txt".parse().unwrap(), Duration::from_secs(60));
    storage.put_with(&key, "Hello.", &PutOptions::content_type("text/plain; charset=utf-8|=")).await.unwrap();
    let info = storage.head(&key).await.unwrap();
    assert_eq!(info.content_type.as_deref(), Some("text/plain; charset=utf-8|="));
    let link = storage.presign_get(&key, minute).await.unwrap();
    assert_eq!(client().get(&link.url).send().await.unwrap().text().await.unwrap(), "Hello.");
    let later = link.expires_at.as_seconds().to_string();
    let forged = link.url.replace(&later, &(link.expires_at.as_seconds() + 1).to_string());
    assert_eq!(client().get(forged).send().await.unwrap().status(), 401);
    let refused = [
        storage.presign_put(&key, minute).await.unwrap_err(),
        storage.presign(&PresignRequest::get(key.clone(), minute).content_disposition("attachment")).await.unwrap_err(),
        storage.put_with(&key, "b", &PutOptions::default().create_only()).await.unwrap_err(),
        storage.put_with(&key, "b", &PutOptions::default().storage_class("GLACIER")).await.unwrap_err(),
    ];
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::Unsupported), "{refused:?}");
    let long: ObjectKey = format!("a/{}", "é".repeat(50)).parse().unwrap();
    assert_eq!(storage.put(&long, "a").await.unwrap_err().kind(), ErrorKind::InvalidKey);
    for cloud in ["", "a/b", "a b"] {
        let error = Cloudinary::new(cloud, "123", SECRET, client(), Clock::system()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
    let shown = format!("{:?}", open(&url));
    assert!(!shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn failing_responses() {
    let said = |status, message: &str| {
        MockResponse::content(status, "application/json", json!({ "error": { "message": message } }).to_string())
    };
    for (reply, kind) in [
        (said(400, "Invalid file"), ErrorKind::Other),
        (said(400, "File size too large. Got 20971520."), ErrorKind::TooLarge),
        (said(401, "Invalid Signature"), ErrorKind::Configuration),
        (said(420, "Rate Limit Exceeded"), ErrorKind::Unavailable),
        (said(500, "General Error"), ErrorKind::Unavailable),
        (said(503, "Maintenance"), ErrorKind::Unavailable),
        (MockResponse::text(200, "<html>"), ErrorKind::Unavailable),
        (MockResponse::reset(), ErrorKind::Unavailable),
        (MockResponse::hang(), ErrorKind::Unavailable),
    ] {
        let upstream = MockServer::start().await;
        upstream.expect("POST", "/v1_1/demo/raw/upload").times(1..).reply(reply.clone());
        let error = Storage::new(open(upstream.url())).put(&"a".parse().unwrap(), "a").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{reply:?}: {error}");
        assert!(!format!("{error} {error:?}").contains(SECRET), "a secret: {error:?}");
    }
    let found = json!({ "public_id": "a", "version": 7, "bytes": 100, "etag": "e" }).to_string();
    let text = "0123456789".repeat(10);
    for (reply, good) in [
        (MockResponse::text(200, &text).drip(10, Duration::from_millis(100)), true),
        (MockResponse::text(200, &text).hang_after(30), false),
        (MockResponse::text(200, &text).cut_after(30), false),
        (MockResponse::text(200, &text[..50]), false),
        (MockResponse::text(200, format!("{text}more")), false),
        (MockResponse::status(404), false),
        (MockResponse::status(500), false),
    ] {
        let upstream = MockServer::start().await;
        let looked = upstream.expect("GET", "/v1_1/demo/resources/raw/authenticated/a").times(1..);
        looked.reply(MockResponse::content(200, "application/json", &found));
        upstream.expect_any().times(..).reply(reply.clone());
        let read = Storage::new(open(upstream.url())).read(&"a".parse().unwrap(), 1000).await;
        match read {
            Ok(bytes) => assert!(good && bytes == text, "{reply:?}"),
            Err(error) => assert!(!good && error.kind() == ErrorKind::Unavailable, "{reply:?}: {error}"),
        }
    }
}

/// Temporary failures are retried, also those of a part of an upload.
#[tokio::test]
async fn temporary_failures_are_retried() {
    let upstream = MockServer::start().await;
    upstream.expect("POST", "/v1_1/demo/raw/upload").reply(MockResponse::text(200, "{\"done\":false}"));
    upstream.expect("POST", "/v1_1/demo/raw/upload").times(2).reply(MockResponse::status(503));
    let done = json!({ "public_id": "a", "version": 7, "bytes": 9_000_000, "etag": "e" }).to_string();
    upstream.expect("POST", "/v1_1/demo/raw/upload").reply(MockResponse::content(200, "application/json", done));
    let storage = Storage::new(open(upstream.url()).max_retries(3).idle_timeout(Duration::from_secs(20)));
    storage.put(&"a".parse().unwrap(), UploadBody::from_bytes(vec![0; 9_000_000])).await.unwrap();
    let ranges: Vec<_> =
        upstream.requests().iter().map(|request| request.header("content-range").unwrap().to_owned()).collect();
    let last = "bytes 8388608-8999999/9000000";
    assert_eq!(ranges, ["bytes 0-8388607/-1", last, last, last]);
}

/// A request is not repeated if the wait that the response asks for exceeds the time for retries.
#[tokio::test]
async fn a_long_retry_after_ends_the_call() {
    let upstream = MockServer::start().await;
    upstream.expect_any().times(1).reply(MockResponse::status(503).header("retry-after", "3600"));
    let storage = Storage::new(open(upstream.url()).max_retries(3));
    let error = storage.head(&"a".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(error.class().retry_delay(), Some(Duration::from_secs(3600)));
    upstream.verify();
}
