//! Parsing, scope and fingerprint of idempotency keys.

use std::net::IpAddr;

use axum::extract::OriginalUri;
use http::{HeaderMap, HeaderName, header, request::Parts};

use crate::{
    crypto::Sha256,
    http::{Error, layer::ClientAddr},
    identity::Identity,
};

pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Largest number of characters in a key.
pub(crate) const MAX_KEY_CHARS: usize = 255;

/// A SHA-256 hash.
pub(crate) type Digest = [u8; 32];

/// Returns the key of a request that has the header. Fails with 400 `IDEMPOTENCY_KEY_INVALID`.
pub(crate) fn read(headers: &HeaderMap) -> Result<String, Error> {
    let mut values = headers.get_all(HEADER).into_iter();
    let key = match (values.next(), values.next()) {
        (Some(value), None) => parse(value.as_bytes()),
        _ => None,
    };
    key.ok_or_else(|| {
        let message =
            format!("`Idempotency-Key` must be sent once and have 1 to {MAX_KEY_CHARS} visible ASCII characters");
        Error::bad_request("IDEMPOTENCY_KEY_INVALID", message)
    })
}

/// Parses a plain key, or a key written as a string (RFC 9651, section 3.3.3) without parameters. `"abc"` and `abc`
/// are the same key.
fn parse(value: &[u8]) -> Option<String> {
    let key = match value {
        [b'"', quoted @ ..] => unquoted(quoted.strip_suffix(b"\"")?)?,
        plain => plain.to_vec(),
    };
    let visible = key.iter().all(u8::is_ascii_graphic);
    if visible && (1..=MAX_KEY_CHARS).contains(&key.len()) { String::from_utf8(key).ok() } else { None }
}

fn unquoted(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'"' => return None,
            b'\\' => *bytes.next().filter(|escaped| b"\"\\".contains(escaped))?,
            other => *other,
        });
    }
    Some(plain)
}

/// Returns the scope in which a key is valid: one tenant, one caller, one method and one path.
pub(crate) fn scope(request: &Parts, key: &str) -> Digest {
    let identity = request.extensions.get::<Identity>();
    let tenant = identity.and_then(|identity| identity.tenant).map(|tenant| tenant.uuid().into_bytes());
    let caller = match identity {
        Some(identity) => digest([b"user".as_slice(), identity.user.uuid().as_bytes()]),
        None => anonymous_caller(request),
    };
    // In a nested router the URI's path is only the rest of the path.
    let whole = request.extensions.get::<OriginalUri>().map(|uri| uri.0.path());
    digest([
        tenant.as_ref().map(<[u8; 16]>::as_slice).unwrap_or_default(),
        &caller,
        request.method.as_str().as_bytes(),
        request.uri.path().as_bytes(),
        whole.unwrap_or_default().as_bytes(),
        key.as_bytes(),
    ])
}

/// Identifies a caller who is not signed in: by the client address and the `Authorization` header.
fn anonymous_caller(request: &Parts) -> Digest {
    let address = match request.extensions.get::<ClientAddr>() {
        Some(ClientAddr(IpAddr::V4(address))) => address.octets().to_vec(),
        Some(ClientAddr(IpAddr::V6(address))) => address.octets().to_vec(),
        None => Vec::new(),
    };
    let credentials = request.headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    digest([b"address".as_slice(), &address, credentials.unwrap_or_default()])
}

/// Returns the fingerprint of a request.
pub(crate) fn fingerprint(request: &Parts, body: &[u8]) -> Digest {
    let content_type = request.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    digest([
        request.method.as_str().as_bytes(),
        request.uri.path().as_bytes(),
        request.uri.query().unwrap_or_default().as_bytes(),
        content_type.unwrap_or_default(),
        body,
    ])
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    *Sha256::digest_list(parts).as_bytes()
}
