//! The rules for the URL, the event types and the custom headers of an endpoint.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderName, HeaderValue};
use omnistack_core::{
    http::{
        FieldError,
        client::{AddressGuard, ClientSettings, UrlSource},
    },
    module::Registry,
    webhook::WebhookEventType,
};
use reqwest::Url;

/// Longest URL, in bytes.
const MAX_URL_BYTES: usize = 2_000;
/// Largest number of custom headers of an endpoint.
const MAX_HEADERS: usize = 20;
/// Longest value of a custom header, in bytes.
const MAX_HEADER_BYTES: usize = 2_000;
/// The entry that stands for all types of events.
pub(crate) const ALL_EVENTS: &str = "*";

/// Headers that an endpoint can't set: those of a connection (RFC 9110, section 7.6.1), and those that frame, describe
/// or trace the request.
const RESERVED_HEADERS: [&str; 22] = [
    "baggage",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Prefixes of headers that an endpoint can't set, because receivers read the signature from them.
const RESERVED_PREFIXES: [&str; 2] = ["webhook-", "svix-"];

/// The URLs that an endpoint may have.
#[derive(Clone, Debug)]
pub(crate) struct UrlPolicy {
    requires_https: bool,
    guard: AddressGuard,
}

impl UrlPolicy {
    /// Returns the policy of the app. Returns `None` after reporting invalid settings.
    pub(crate) fn of(registry: &mut Registry) -> Option<Self> {
        let environment = registry.environment();
        let guard = registry.config::<ClientSettings>()?.guard(UrlSource::Users, environment);
        Some(Self { requires_https: environment.is_production(), guard })
    }

    /// Returns a URL in its normalized form. A host name is not resolved here: the addresses are checked when the
    /// client connects.
    ///
    /// # Errors
    /// Fails if the URL is too long, can't be parsed, has credentials or a fragment, names a private address, or has
    /// another scheme than `https` (outside production `http` as well).
    pub(crate) fn check(&self, text: &str) -> Result<String, FieldError> {
        let refused = |message: &str| Err(FieldError::new("url", message));
        if text.len() > MAX_URL_BYTES {
            return refused("is longer than 2,000 bytes");
        }
        let Ok(url) = text.trim().parse::<Url>() else {
            return refused("is not a URL, such as https://example.com/webhooks");
        };
        match url.scheme() {
            "https" => {}
            "http" if !self.requires_https => {}
            _ => return refused("must begin with https://"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("must not contain credentials; send them in a custom header");
        }
        if url.fragment().is_some() {
            return refused("must not contain a fragment");
        }
        if !self.guard.permits_host(&url) {
            return refused("must not name a private or reserved address");
        }
        Ok(url.into())
    }
}

/// Returns the types of events of an endpoint, each once. `["*"]` stands for all types.
///
/// # Errors
/// Fails if the list is empty, combines `*` with others, or names types that are not in the catalogue.
pub(crate) fn check_events(requested: &[String], known: &[WebhookEventType]) -> Result<Vec<String>, Vec<FieldError>> {
    if requested.is_empty() {
        return Err(vec![FieldError::new("events", "must name at least one type of event, or `*` for all")]);
    }
    if requested.iter().any(|kind| kind == ALL_EVENTS) {
        return match requested {
            [_] => Ok(vec![ALL_EVENTS.to_owned()]),
            _ => Err(vec![FieldError::new("events", "must not combine `*` with other types")]),
        };
    }
    let is_unknown = |kind: &str| !known.iter().any(|one| one.r#type == kind);
    let unknown: Vec<_> = requested.iter().enumerate().filter(|(_, kind)| is_unknown(kind)).collect();
    if unknown.is_empty() {
        let unique: BTreeSet<_> = requested.iter().cloned().collect();
        return Ok(unique.into_iter().collect());
    }
    let names: Vec<_> = known.iter().map(|one| one.r#type).collect();
    let message = format!("is not a type of event; the types are {}", names.join(", "));
    Err(unknown.into_iter().map(|(at, _)| FieldError::new(format!("events[{at}]"), message.clone())).collect())
}

/// Returns custom headers with their names in lower case.
///
/// # Errors
/// Fails if there are too many, or if a name or a value is not valid or is reserved.
pub(crate) fn check_headers(requested: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Vec<FieldError>> {
    if requested.len() > MAX_HEADERS {
        return Err(vec![FieldError::new("headers", format!("must have at most {MAX_HEADERS} entries"))]);
    }
    let (mut headers, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, value) in requested {
        match check_header(&name, &value) {
            Ok(name) => _ = headers.insert(name, value),
            Err(message) => problems.push(FieldError::new(format!("headers.{name}"), message)),
        }
    }
    if problems.is_empty() { Ok(headers) } else { Err(problems) }
}

fn check_header(name: &str, value: &str) -> Result<String, &'static str> {
    let name = HeaderName::try_from(name).map_err(|_| "is not the name of a header")?;
    let name = name.as_str();
    if RESERVED_HEADERS.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err("is a header that an endpoint can't set");
    }
    if value.len() > MAX_HEADER_BYTES {
        return Err("has a value of more than 2,000 bytes");
    }
    let is_valid = HeaderValue::try_from(value).is_ok_and(|value| value.to_str().is_ok());
    if is_valid { Ok(name.to_owned()) } else { Err("has a value with characters other than printable ASCII") }
}

#[cfg(test)]
mod tests {
    use omnistack_core::http::client::AddressGuard;

    use super::*;

    #[test]
    fn urls_and_what_is_refused() {
        let policy = |requires_https| UrlPolicy { requires_https, guard: AddressGuard::default() };
        for (text, production, development) in [
            ("https://example.com/hook?token=7", true, true),
            ("https://example.com:8443", true, true),
            ("http://example.com/hook", false, true),
            ("ftp://example.com/hook", false, false),
            ("https://ada:secret@example.com/", false, false),
            ("https://ada@example.com/", false, false),
            ("https://example.com/#part", false, false),
            ("https://127.0.0.1/", false, false),
            ("https://0x7f.1/", false, false),
            ("https://[::1]/", false, false),
            ("https://[::ffff:10.0.0.1]/", false, false),
            ("https://169.254.169.254/latest/meta-data", false, false),
            ("https://127.0.0.1./", false, false),
            ("https://[fe80::1%25eth0]/", false, false),
            ("https://[::ffff:a00:1]/", false, false),
            ("https://example.com./", true, true),
            ("https://münchen.example/", true, true),
            ("https://example.com:99999/", false, false),
            ("example.com/hook", false, false),
            ("", false, false),
        ] {
            assert_eq!(policy(true).check(text).is_ok(), production, "{text} in production");
            assert_eq!(policy(false).check(text).is_ok(), development, "{text} in development");
        }
        assert!(policy(true).check(&format!("https://example.com/{}", "a".repeat(2_000))).is_err());
    }

    #[test]
    fn headers_and_what_is_refused() {
        for (name, value, expected) in [
            ("Authorization", "Bearer 7", true),
            ("X-Api-Key", "k", true),
            ("Host", "a", false),
            ("transfer-encoding", "chunked", false),
            ("Webhook-Id", "msg", false),
            ("svix-id", "msg", false),
            ("content-type", "text/plain", false),
            ("with space", "a", false),
            ("", "a", false),
            ("x-line", "a\r\nhost: b", false),
            ("x-umlaut", "ä", false),
        ] {
            let one = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            assert_eq!(check_headers(one).is_ok(), expected, "{name}: {value}");
        }
        let many = (0..=MAX_HEADERS).map(|number| (format!("x-{number}"), "a".to_owned())).collect();
        assert!(check_headers(many).is_err());
    }
}
