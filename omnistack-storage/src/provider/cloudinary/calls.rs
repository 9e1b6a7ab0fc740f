//! Requests to Cloudinary's API.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use omnistack_core::http::client::RequestBuilder;
use omnistack_core::{
    ExposeSecret as _,
    clock::Timestamp,
    crypto::Token,
    http::StatusCode,
    resilience::{Classification, Retry, RetrySafety},
};
use reqwest::Response;
use serde::{Deserialize, de::DeserializeOwned};

use super::{Cloudinary, DELIVERY_TYPE, sign};
use crate::{ByteStream, Error, ErrorKind, ObjectKey, ObjectMetadata, provider::MAX_RETRY_TIME};

/// The largest size of a response in bytes. A page of a list has up to 500 resources.
const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

/// The metadata of an object, as Cloudinary returns it.
#[derive(Debug, Deserialize)]
pub(super) struct Resource {
    pub(super) public_id: String,
    /// The version: seconds since 1970-01-01T00:00:00Z, increased by one if the object was stored before in the
    /// same second.
    pub(super) version: i64,
    bytes: u64,
    #[serde(default)]
    etag: Option<String>,
    #[serde(default)]
    context: ResourceContext,
}

#[derive(Debug, Default, Deserialize)]
struct ResourceContext {
    #[serde(default)]
    custom: BTreeMap<String, String>,
}

impl Resource {
    pub(super) fn info(&self, key: ObjectKey) -> ObjectMetadata {
        let said = |name: &str| self.context.custom.get(name).cloned();
        // Cloudinary accepts no empty file; a file of one byte represents it.
        let size = if self.is_empty() { 0 } else { self.bytes };
        let modified = Timestamp::from_micros(self.version.saturating_mul(1_000_000));
        let mut info = ObjectMetadata::new(key, size, modified);
        info.etag = Some(format!("\"{}-{}\"", self.etag.as_deref().unwrap_or_default(), self.version));
        info.content_type = said("content_type");
        info.sha256 = said("sha256").and_then(|text| text.parse().ok());
        info
    }

    pub(super) fn is_empty(&self) -> bool {
        self.context.custom.contains_key("empty")
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct ResourcePage {
    pub(super) resources: Vec<Resource>,
    #[serde(default)]
    pub(super) next_cursor: Option<String>,
}

fn unavailable(error: reqwest::Error) -> Error {
    Error::new(ErrorKind::Unavailable, error.without_url())
}

/// Returns the error for a status that is no success.
fn status_error(status: StatusCode, text: &str) -> Error {
    let kind = match status.as_u16() {
        404 => ErrorKind::NotFound,
        413 => ErrorKind::TooLarge,
        400 if text.contains("too large") => ErrorKind::TooLarge,
        401 | 403 => ErrorKind::Configuration,
        // Cloudinary sends 420 if there are too many requests.
        408 | 420 | 429 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Other,
    };
    let text: String = text.chars().take(500).collect();
    Error::new(kind, format!("{status}: {}", text.replace(char::is_control, " ")))
}

impl Cloudinary {
    pub(super) fn endpoint(&self, path: &str) -> String {
        format!("{}/v1_1/{}/{path}", self.api, self.cloud)
    }

    /// Adds the timestamp, the signature and the API key to parameters.
    pub(super) fn signed(&self, mut parameters: BTreeMap<&'static str, String>) -> BTreeMap<&'static str, String> {
        parameters.insert("timestamp", self.clock.now().as_seconds().to_string());
        let signature = sign::request_signature(&parameters, self.secret.expose_secret());
        parameters.insert("signature", signature);
        parameters.insert("api_key", self.key.clone());
        parameters
    }

    /// Sends a request and returns the parsed body of the response.
    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let mut answer = request.timeout(self.patience).send().await.map_err(unavailable)?;
        let (status, mut body) = (answer.status(), Vec::new());
        let class = Classification::from_response(status, answer.headers(), self.clock.now());
        while let Some(bytes) = answer.chunk().await.map_err(unavailable)? {
            body.extend_from_slice(&bytes);
            if body.len() > MAX_RESPONSE_BYTES {
                return Err(Error::new(ErrorKind::Other, "the response of Cloudinary is too large"));
            }
        }
        if !status.is_success() {
            let error = status_error(status, &String::from_utf8_lossy(&body));
            return Err(error.with_retry_after(class.retry_delay()));
        }
        serde_json::from_slice(&body).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("the response of Cloudinary is invalid: {error}"))
        })
    }

    /// Sends a request, and repeats it after a temporary failure. All requests of this module are idempotent.
    pub(super) async fn call<T: DeserializeOwned>(&self, request: impl Fn() -> RequestBuilder) -> Result<T, Error> {
        let retry = Retry::new(self.retries, MAX_RETRY_TIME);
        retry.run(RetrySafety::Idempotent, || self.send(request())).await
    }

    /// Stores a file, or a part of one: `range` has the id of the upload and the position of the part.
    pub(super) async fn upload(
        &self,
        parameters: &BTreeMap<&'static str, String>,
        file: &UploadContent,
        range: Option<(&str, String)>,
    ) -> Result<serde_json::Value, Error> {
        let boundary = Token::random().expose().to_owned();
        let (url, kind) = (self.endpoint("raw/upload"), format!("multipart/form-data; boundary={boundary}"));
        self.call(|| {
            let body = form(&boundary, &self.signed(parameters.clone()), file);
            let request = self.client.post(&url).header("content-type", &kind).body(body);
            match &range {
                Some((id, range)) => request.header("x-unique-upload-id", *id).header("content-range", range),
                None => request,
            }
        })
        .await
    }

    pub(super) async fn fetch_resource(&self, key: &ObjectKey) -> Result<Resource, Error> {
        let url = self.endpoint(&format!("resources/raw/{DELIVERY_TYPE}/{}", sign::public_id(key.as_str())));
        let looked = self.call(|| self.client.get(&url).basic_auth(&self.key, Some(self.secret.expose_secret()))).await;
        looked.map_err(|error| if error.kind() == ErrorKind::NotFound { Error::not_found(key) } else { error })
    }

    pub(super) async fn fetch_page(&self, prefix: &str, cursor: Option<&str>) -> Result<ResourcePage, Error> {
        let mut query = vec![("prefix", prefix), ("max_results", "500"), ("context", "true")];
        query.extend(cursor.map(|cursor| ("next_cursor", cursor)));
        let url = reqwest::Url::parse_with_params(&self.endpoint(&format!("resources/raw/{DELIVERY_TYPE}")), query);
        let url = url.map_err(|error| Error::new(ErrorKind::Configuration, error))?;
        self.call(|| self.client.get(url.clone()).basic_auth(&self.key, Some(self.secret.expose_secret()))).await
    }

    /// Returns the signed URL from which this version is delivered. It does not expire.
    pub(super) fn delivery_url(&self, resource: &Resource) -> String {
        let signature = sign::delivery_signature(&resource.public_id, self.secret.expose_secret());
        let (base, cloud) = (&self.delivery, &self.cloud);
        format!("{base}/{cloud}/raw/{DELIVERY_TYPE}/{signature}/v{}/{}", resource.version, resource.public_id)
    }

    /// Returns the bytes of a version, and checks their number. Returns `None` if the version does not exist any
    /// more.
    pub(super) async fn fetch(&self, resource: &Resource, range: Range<u64>) -> Result<Option<ByteStream>, Error> {
        let mut request = self.client.get(self.delivery_url(resource)).timeout(Duration::from_secs(6 * 60 * 60));
        let whole = range == (0..resource.bytes);
        if !whole {
            request = request.header("range", format!("bytes={}-{}", range.start, range.end - 1));
        }
        let silence = |_| Error::new(ErrorKind::Unavailable, "Cloudinary sent no bytes in time");
        let answer =
            tokio::time::timeout(self.patience, request.send()).await.map_err(silence)?.map_err(unavailable)?;
        let expected = if whole { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
        match answer.status() {
            status if status == expected => Ok(Some(body(answer, range.end - range.start, self.patience))),
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Err(Error::new(
                ErrorKind::Other,
                format!("the status of the response is {status} instead of {expected}"),
            )),
            status => Err(status_error(status, "")),
        }
    }
}

fn body(answer: Response, length: u64, patience: Duration) -> ByteStream {
    let pieces = stream::unfold(Some((answer, length)), move |state| async move {
        let (mut answer, left) = state?;
        let wrong = |what: &str| Some((Err(Error::new(ErrorKind::Unavailable, what)), None));
        match tokio::time::timeout(patience, answer.chunk()).await {
            Err(_) => wrong("Cloudinary sent no bytes in time"),
            Ok(Err(error)) => Some((Err(unavailable(error)), None)),
            Ok(Ok(None)) if left == 0 => None,
            Ok(Ok(None)) => wrong("the response has fewer bytes than the object"),
            Ok(Ok(Some(bytes))) => match left.checked_sub(bytes.len() as u64) {
                Some(left) => Some((Ok(bytes), Some((answer, left)))),
                None => wrong("the response has more bytes than the object"),
            },
        }
    });
    pieces.boxed()
}

/// The content of an upload.
#[derive(Debug)]
pub(super) enum UploadContent {
    Bytes(Vec<Bytes>),
    /// A URL from which Cloudinary reads the content itself.
    At(String),
}

/// Returns a multipart form (RFC 7578). The names and values are not from clients and contain no line breaks.
fn form(boundary: &str, parameters: &BTreeMap<&'static str, String>, file: &UploadContent) -> Vec<u8> {
    let field = |name: &str, value: &str| {
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let mut body: String = parameters.iter().map(|(name, value)| field(name, value)).collect();
    let bytes = match file {
        UploadContent::At(url) => {
            body.push_str(&field("file", url));
            [].as_slice()
        }
        UploadContent::Bytes(bytes) => {
            body.push_str("--");
            body.push_str(boundary);
            body.push_str("\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n");
            body.push_str("Content-Type: application/octet-stream\r\n\r\n");
            bytes
        }
    };
    let mut body = body.into_bytes();
    for bytes in bytes {
        body.extend_from_slice(bytes);
    }
    if matches!(file, UploadContent::Bytes(_)) {
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}
