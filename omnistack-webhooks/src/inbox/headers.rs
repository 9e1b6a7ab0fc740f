//! The headers and the URL of a webhook as they are stored: without credentials.

use omnistack_core::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

/// Parts of the names of headers and query parameters whose values are credentials. Signatures are none: they prove
/// only the request that they belong to.
const CREDENTIAL_PARTS: [&str; 10] =
    ["authorization", "cookie", "secret", "password", "credential", "token", "jwt", "api-key", "api_key", "apikey"];
/// Names of headers and query parameters whose values are credentials, which are also parts of other names.
const CREDENTIAL_NAMES: [&str; 2] = ["key", "auth"];

/// The value in place of a credential in a URL.
const REDACTED: &str = "REDACTED";

/// A header of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct WebhookHeader {
    /// The name, in lower case.
    pub(crate) name: String,
    /// The value. Bytes that are not UTF-8 are replaced.
    pub(crate) value: String,
}

fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIAL_PARTS.iter().any(|part| name.contains(part)) || CREDENTIAL_NAMES.contains(&name.as_str())
}

/// Returns the headers without credentials, and without those that a source calls secret.
pub(super) fn without_credentials(headers: &HeaderMap, secret: &[HeaderName]) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| !is_credential(name.as_str()) && !secret.contains(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).fold(HeaderMap::new(), |mut all, (name, value)| {
        all.append(name, value);
        all
    })
}

/// Returns the URL with the values of credentials in its query replaced.
pub(super) fn redacted(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if is_credential(name) => format!("{name}={REDACTED}"),
        _ => parameter.to_owned(),
    };
    let query: Vec<_> = query.split('&').map(parameter).collect();
    format!("{path}?{}", query.join("&"))
}

/// Returns the headers as JSON: a list of names and values.
pub(super) fn to_json(headers: &HeaderMap) -> String {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let all: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    // A list of texts always serializes.
    serde_json::to_string(&all).unwrap_or_else(|_| "[]".to_owned())
}

/// Returns the stored headers.
pub(super) fn from_json(stored: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for WebhookHeader { name, value } in list(stored) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Returns the stored headers for a response.
pub(super) fn list(stored: &str) -> Vec<WebhookHeader> {
    let all: Vec<(String, String)> = serde_json::from_str(stored).unwrap_or_default();
    all.into_iter().map(|(name, value)| WebhookHeader { name, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_stored_without_credentials() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("stripe-signature", "t=1,v1=2"),
            ("x-github-event", "push"),
            ("x-note", "one"),
            ("x-note", "two"),
            ("authorization", "Bearer abc"),
            ("proxy-authorization", "Basic abc"),
            ("cookie", "session=abc"),
            ("x-webhook-secret", "abc"),
            ("x-gitlab-token", "abc"),
            ("x-api-key", "abc"),
            ("auth", "abc"),
            ("x-hook", "abc"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let stored = to_json(&without_credentials(&headers, &[HeaderName::from_static("x-hook")]));
        assert!(!stored.contains("abc"), "{stored}");
        let read = from_json(&stored);
        assert_eq!(read["stripe-signature"], "t=1,v1=2");
        assert_eq!(read["x-github-event"], "push");
        assert_eq!(read.get_all("x-note").iter().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!((read.len(), list(&stored).len()), (4, 4));
        assert!(from_json("no list").is_empty());
    }

    #[test]
    fn urls_are_stored_without_credentials() {
        for (url, expected) in [
            ("https://app.example.com/webhooks/x", "https://app.example.com/webhooks/x"),
            ("https://a.example/x?message=7&Token=abc&b", "https://a.example/x?message=7&Token=REDACTED&b"),
            ("https://a.example/x?api_key=a=b", "https://a.example/x?api_key=REDACTED"),
            ("https://a.example/x?key=abc&monkey=1", "https://a.example/x?key=REDACTED&monkey=1"),
        ] {
            assert_eq!(redacted(url), expected);
        }
    }
}
