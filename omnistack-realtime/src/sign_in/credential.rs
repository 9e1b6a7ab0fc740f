//! Credentials of open connections.

use std::{fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, header, request::Parts};
use omnistack_core::{
    ExposeSecret as _, SecretString, clock::Timestamp, http::layer::ClientAddr, identity::bearer_token,
};
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// Request headers that say nothing about the caller, beside those that begin with `sec-`.
const UNRELATED_HEADERS: [&str; 19] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "baggage",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "dnt",
    "last-event-id",
    "pragma",
    "priority",
    "referer",
    "traceparent",
    "tracestate",
    "upgrade",
    "user-agent",
    "x-forwarded-for",
    "x-request-id",
];

/// The header of API keys. A token that arrives later replaces it.
const API_KEY_HEADER: &str = "x-api-key";

/// The credential of a connection, with which its caller is authenticated again: the request headers that name the
/// caller and the tenant. It is much smaller than the request, whose headers keep the read buffer of their connection.
#[derive(Clone)]
pub(crate) struct Credential {
    /// A line `name:value` for each header.
    headers: SecretString,
    address: Option<IpAddr>,
    expires_at: Option<Timestamp>,
}

impl Credential {
    /// Returns the credential of a request.
    pub(crate) fn from_request(request: &Parts) -> Self {
        let mut headers = String::new();
        // HTTP/2 sends the host in the URI, as `:authority`.
        let authority = request.uri.authority().filter(|_| !request.headers.contains_key(header::HOST));
        if let Some(authority) = authority {
            push_header(&mut headers, header::HOST.as_str(), authority.as_str());
        }
        for (name, value) in &request.headers {
            let name = name.as_str();
            if !name.starts_with("sec-")
                && !UNRELATED_HEADERS.contains(&name)
                && let Ok(value) = value.to_str()
            {
                push_header(&mut headers, name, value);
            }
        }
        Self {
            headers: headers.into(),
            address: request.extensions.get::<ClientAddr>().map(|client| client.0),
            expires_at: bearer_token(request).and_then(token_expiry),
        }
    }

    /// Returns the credential with a bearer token in place of all others, for the same tenant. Returns `None` if the
    /// token has characters that no header may have.
    pub(crate) fn with_token(&self, token: &str) -> Option<Self> {
        let authorization = format!("Bearer {token}");
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut headers = String::new();
        let replaced = [header::AUTHORIZATION.as_str(), header::COOKIE.as_str(), API_KEY_HEADER];
        for (name, value) in self.headers().filter(|(name, _)| !replaced.contains(name)) {
            push_header(&mut headers, name, value);
        }
        push_header(&mut headers, header::AUTHORIZATION.as_str(), &authorization);
        Some(Self { headers: headers.into(), address: self.address, expires_at: token_expiry(token) })
    }

    /// Returns when the bearer token expires, and the connection with it. Returns `None` for an API key, and for a
    /// cookie, which the browser renews by other requests.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Returns whether one of the tokens has expired, of a header or of a cookie.
    pub(super) fn has_expired_token(&self, now: Timestamp) -> bool {
        let values = self.headers().flat_map(|(_, value)| value.split([' ', ';', '=']));
        values.filter_map(token_expiry).any(|expiry| expiry <= now)
    }

    /// Returns a request with the credential. It changes no state, so that a cookie needs no `Origin`: the request
    /// that opened the connection had one.
    pub(super) fn to_request(&self) -> Parts {
        let (mut request, ()) = http::Request::new(()).into_parts();
        for (name, value) in self.headers() {
            if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                value.set_sensitive(true);
                request.headers.append(name, value);
            }
        }
        if let Some(address) = self.address {
            request.extensions.insert(ClientAddr(address));
        }
        request
    }

    /// Returns the credential as text, which is to be sealed.
    pub(super) fn to_secret_text(&self) -> Result<SecretString, serde_json::Error> {
        let Self { headers, address, expires_at } = self;
        let headers = headers.expose_secret().to_owned();
        let record = CredentialRecord { headers, address: *address, expires_at: expires_at.map(Timestamp::as_micros) };
        serde_json::to_string(&record).map(SecretString::from)
    }

    /// Returns the credential of such a text.
    pub(super) fn from_secret_text(text: &SecretString) -> Result<Self, serde_json::Error> {
        let CredentialRecord { headers, address, expires_at } = serde_json::from_str(text.expose_secret())?;
        Ok(Self { headers: headers.into(), address, expires_at: expires_at.map(Timestamp::from_micros) })
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.expose_secret().lines().filter_map(|line| line.split_once(':'))
    }
}

/// Hides the secret.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// A credential in a ticket.
#[derive(Serialize, Deserialize)]
struct CredentialRecord {
    headers: String,
    address: Option<IpAddr>,
    /// Microseconds since 1970.
    expires_at: Option<i64>,
}

fn push_header(headers: &mut String, name: &str, value: &str) {
    headers.extend([name, ":", value, "\n"]);
}

/// Returns the claim `exp` of a JSON Web Token (RFC 7519, section 4.1.4), or `None` for another token. The signature is
/// not verified here.
fn token_expiry(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: Number,
    }
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    // The time may have a fraction.
    let seconds: i64 = claims.exp.to_string().split('.').next()?.parse().ok()?;
    seconds.checked_mul(1_000_000).map(Timestamp::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn request(headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::get("/api/v1/app/ws").body(()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
        }
        request.into_parts().0
    }

    #[test]
    fn only_tokens_with_a_time_expire() {
        for (token, expected) in [
            (token(r#"{"exp":1900000000}"#), Some(1_900_000_000)),
            (token(r#"{"exp":1900000000.5}"#), Some(1_900_000_000)),
            (token(r#"{"exp":"soon"}"#), None),
            (token("{}"), None),
            ("omni_live_4eC39HqLyjWDarjtT1zdp7dc".to_owned(), None),
            ("a.b.c".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(token_expiry(&token).map(Timestamp::as_seconds), expected, "{token}");
        }
    }

    #[test]
    fn a_credential_keeps_the_caller_and_the_tenant_and_hides_them() {
        let request = request(&[
            ("host", "acme.example.com"),
            ("cookie", "session=secret"),
            ("x-tenant-id", "0190a7c8-0000-7000-8000-000000000001"),
            ("user-agent", "Firefox"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("upgrade", "websocket"),
        ]);
        let credential = Credential::from_request(&request);
        assert!(!format!("{credential:?}").contains("secret"));
        let text = credential.to_secret_text().unwrap();
        let again = Credential::from_secret_text(&text).unwrap().to_request();
        let names: Vec<_> = again.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "cookie", "x-tenant-id"]);

        let later = credential.with_token("abc").unwrap().to_request();
        let names: Vec<_> = later.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "x-tenant-id", "authorization"]);
        assert_eq!(bearer_token(&later), Some("abc"));
        for refused in ["", "a b", "a\nb", "ä"] {
            assert!(credential.with_token(refused).is_none(), "{refused}");
        }
    }

    #[test]
    fn a_cookie_that_has_expired_is_told_apart() {
        let cookie = format!("a=1; __Host-omnistack-access={}", token(r#"{"exp":1900000000}"#));
        let credential = Credential::from_request(&request(&[("cookie", &cookie)]));
        assert_eq!(credential.expires_at(), None);
        let at = |seconds: i64| credential.has_expired_token(Timestamp::from_micros(seconds * 1_000_000));
        assert_eq!((at(1_899_999_999), at(1_900_000_000)), (false, true));
    }
}
