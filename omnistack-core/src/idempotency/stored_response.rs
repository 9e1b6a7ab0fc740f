//! Stored responses.

use axum::{
    body::{Body, Bytes},
    response::IntoResponse as _,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};

use crate::http::{Error, ErrorEnvelope, RenderableError, Response, envelope::LaterEnvelope};

/// Largest body that is stored, in bytes.
pub(crate) const MAX_STORED_BODY_BYTES: u64 = 1024 * 1024;

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A stored response.
#[derive(Clone)]
pub(crate) struct StoredResponse {
    pub(crate) status: StatusCode,
    pub(crate) head: StoredHead,
    /// `None` for a body that is too large or a stream.
    pub(crate) body: Option<Bytes>,
}

/// The headers, and the kind of the response.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct StoredHead {
    /// Names and values. Each byte of a value is stored as the character with its number, since values need not be
    /// UTF-8.
    headers: Vec<(String, String)>,
    /// Whether the response is an [`Error`], which is rendered again for the request that gets it.
    error: bool,
}

/// Returns whether a response is final. After any other response a retry is carried out again.
pub(crate) fn is_final(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.as_u16() < 500 && !status.is_informational() && !passing.contains(&status)
}

impl StoredResponse {
    /// Reads a response. Returns it unchanged, with its stored form.
    ///
    /// # Errors
    /// Fails with 500 if the body breaks off.
    pub(crate) async fn read(response: Response) -> Result<(Response, Self), Error> {
        let (parts, body) = response.into_parts();
        let headers = parts.headers.iter().filter(|(name, _)| is_stored_header(name));
        let headers = headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let head = StoredHead { headers, error: parts.extensions.get::<RenderableError>().is_some() };
        let mut answer = Self { status: parts.status, head, body: None };
        if body.size_hint().exact().is_none_or(|size| size > MAX_STORED_BODY_BYTES) {
            return Ok((Response::from_parts(parts, body), answer));
        }
        let whole = body.collect().await.map_err(Error::internal)?.to_bytes();
        answer.body = Some(whole.clone());
        Ok((Response::from_parts(parts, Body::from(whole)), answer))
    }

    /// Reads a response that a layer around the handler will wrap in an envelope. Returns the response unchanged, and
    /// its stored form with the envelope.
    ///
    /// # Errors
    /// Fails with 500 if the body breaks off.
    pub(crate) async fn read_before_envelope(
        response: Response,
        envelope: &LaterEnvelope,
    ) -> Result<(Response, Self), Error> {
        let (response, mut answer) = Self::read(response).await?;
        if let Some(body) = answer.body.take() {
            answer.body = Some(envelope.wrap(answer.status, response.headers(), body)?);
        }
        Ok((response, answer))
    }

    /// Returns the stored response, marked as replayed. Returns 409 `IDEMPOTENCY_RESPONSE_NOT_STORED` if its body was not
    /// stored.
    pub(crate) fn replay(self) -> Response {
        let Self { status, head, body } = self;
        let Some(body) = body else {
            let message = "the request was carried out, but its response was too large to be stored";
            let error = Error::conflict("IDEMPOTENCY_RESPONSE_NOT_STORED", message);
            return error.with_detail("status", status.as_u16()).into_response();
        };
        let headers: HeaderMap = head.headers.iter().filter_map(|(name, value)| parse_header(name, value)).collect();
        let error = head.error.then(|| serde_json::from_slice::<ErrorEnvelope>(&body).ok()).flatten();
        let mut response = match error {
            Some(envelope) => restore_error(status, envelope, headers).into_response(),
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

/// Restores an error, so that it is rendered with the id and in the format of the retried request.
fn restore_error(status: StatusCode, ErrorEnvelope { error: body }: ErrorEnvelope, headers: HeaderMap) -> Error {
    let mut error = Error::new(status, body.code, body.message);
    if let Some(serde_json::Value::Object(details)) = body.details {
        error = details.into_iter().fold(error, |error, (key, value)| error.with_detail(&key, value));
    }
    let headers = headers.iter().filter(|(name, _)| **name != header::CONTENT_TYPE);
    headers.fold(error, |error, (name, value)| error.with_header(name.clone(), value.clone()))
}

/// Returns whether a header is stored. Headers of one connection, one time or one request, and cookies, are not.
fn is_stored_header(name: &HeaderName) -> bool {
    const NOT_STORED: [&str; 15] = [
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
    !NOT_STORED.contains(&name.as_str()) && !name.as_str().starts_with("x-ratelimit-")
}

fn text(value: &HeaderValue) -> String {
    value.as_bytes().iter().copied().map(char::from).collect()
}

fn parse_header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let bytes: Option<Vec<u8>> = value.chars().map(|letter| u8::try_from(letter).ok()).collect();
    Some((name.parse().ok()?, HeaderValue::from_bytes(&bytes?).ok()?))
}
