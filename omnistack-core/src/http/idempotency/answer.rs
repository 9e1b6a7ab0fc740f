//! What is kept of an answer.

use axum::{
    body::{Body, Bytes},
    response::IntoResponse as _,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};

use crate::http::{Error, ErrorEnvelope, Rendered, Response};

/// The largest body that is kept, in bytes.
pub(super) const LARGEST: u64 = 1024 * 1024;

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An answer as it is stored.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) head: Head,
    /// None of one that is too large, or comes bit by bit.
    pub(super) body: Option<Bytes>,
}

/// All but the status and the body.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Head {
    /// Each byte of a value as the character of its number: values need not be UTF-8.
    headers: Vec<(String, String)>,
    /// Whether it is an error of ours, to be rendered for the request that gets it.
    error: bool,
}

/// Whether an answer is final: a request that was answered otherwise may be carried out again.
pub(super) fn is_final(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.as_u16() < 500 && !status.is_informational() && !passing.contains(&status)
}

impl Answer {
    /// Reads a response, and returns it whole again.
    ///
    /// # Errors
    /// Its body broke off.
    pub(super) async fn of(response: Response) -> Result<(Response, Self), Error> {
        let (parts, body) = response.into_parts();
        let headers = parts.headers.iter().filter(|(name, _)| is_kept(name));
        let headers = headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let head = Head { headers, error: parts.extensions.get::<Rendered>().is_some() };
        let mut answer = Self { status: parts.status, head, body: None };
        if body.size_hint().exact().is_none_or(|size| size > LARGEST) {
            return Ok((Response::from_parts(parts, body), answer));
        }
        let whole = body.collect().await.map_err(Error::internal)?.to_bytes();
        answer.body = Some(whole.clone());
        Ok((Response::from_parts(parts, Body::from(whole)), answer))
    }

    /// The answer again.
    pub(super) fn replay(self) -> Response {
        let Self { status, head, body } = self;
        let Some(body) = body else {
            let message = "this request was carried out; its answer was too large to be kept";
            let error = Error::conflict("IDEMPOTENCY_ANSWER_NOT_KEPT", message);
            return error.detail("status", status.as_u16()).into_response();
        };
        let headers: HeaderMap = head.headers.iter().filter_map(|(name, value)| header_of(name, value)).collect();
        let error = head.error.then(|| serde_json::from_slice::<ErrorEnvelope>(&body).ok()).flatten();
        let mut response = match error {
            Some(envelope) => error_of(status, envelope, headers).into_response(),
            None => {
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                response
            }
        };
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

/// An error as it was made, so that it bears the id of the request it answers now, in the form that request asks for.
fn error_of(status: StatusCode, ErrorEnvelope { error: body }: ErrorEnvelope, headers: HeaderMap) -> Error {
    let mut error = Error::new(status, body.code, body.message);
    if let Some(serde_json::Value::Object(details)) = body.details {
        error = details.into_iter().fold(error, |error, (key, value)| error.detail(&key, value));
    }
    let headers = headers.iter().filter(|(name, _)| **name != header::CONTENT_TYPE);
    headers.fold(error, |error, (name, value)| error.header(name.clone(), value.clone()))
}

/// Not what belongs to one connection, one moment or one request, and nothing that signs anybody in.
fn is_kept(name: &HeaderName) -> bool {
    const LEFT: [&str; 15] = [
        "connection",
        "content-length",
        "date",
        "idempotent-replayed",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "ratelimit",
        "ratelimit-policy",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    ];
    !LEFT.contains(&name.as_str()) && !name.as_str().starts_with("x-ratelimit-")
}

fn text(value: &HeaderValue) -> String {
    value.as_bytes().iter().copied().map(char::from).collect()
}

fn header_of(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let bytes: Option<Vec<u8>> = value.chars().map(|letter| u8::try_from(letter).ok()).collect();
    Some((name.parse().ok()?, HeaderValue::from_bytes(&bytes?).ok()?))
}
