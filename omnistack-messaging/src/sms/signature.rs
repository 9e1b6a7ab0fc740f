//! Verifies that a webhook comes from Twilio.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};

use omnistack_core::crypto::constant_time_eq;

/// Returns the signature that Twilio sends in `X-Twilio-Signature`: base64 of HMAC-SHA-1, with the account's auth
/// token as key, over the URL and the names and values of the form's parameters, sorted.
///
/// ```
/// use omnistack_messaging::sms::twilio_signature;
///
/// // The example of Twilio's documentation.
/// let parameters = [
///     ("CallSid", "CA1234567890ABCDE"), ("Caller", "+14158675309"), ("Digits", "1234"),
///     ("From", "+14158675309"), ("To", "+18005551212"),
/// ];
/// let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
/// let signature = twilio_signature(&"12345".into(), "https://mycompany.com/myapp.php?foo=1&bar=2", &parameters);
/// assert_eq!(signature.as_deref(), Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="));
/// ```
///
/// If a parameter occurs more than once, each different value counts once, sorted. A request with a JSON body has no
/// parameters: its URL contains the hash of the body. Returns `None` if the token is empty.
pub fn twilio_signature(token: &SecretString, url: &str, parameters: &[(String, String)]) -> Option<String> {
    let token = Some(token.expose_secret().as_bytes()).filter(|token| !token.is_empty())?;
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(token).ok()?;
    mac.update(url.as_bytes());
    let mut sorted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in parameters {
        sorted.entry(name).or_default().insert(value);
    }
    for (name, values) in sorted {
        for value in values {
            mac.update(name.as_bytes());
            mac.update(value.as_bytes());
        }
    }
    Some(STANDARD.encode(mac.finalize().into_bytes()))
}

/// Returns whether `given` is the signature of a request to one of the URLs. Twilio sometimes signs a URL with its
/// default port and sometimes without an explicit port, so both forms are accepted.
pub(super) fn is_signed(token: &SecretString, urls: &[String], parameters: &[(String, String)], given: &str) -> bool {
    // All forms are compared, so that the duration doesn't reveal which one is right.
    urls.iter().flat_map(|url| port_forms(url)).fold(false, |found, url| {
        let signature = twilio_signature(token, &url, parameters);
        found | signature.is_some_and(|signature| constant_time_eq(signature, given))
    })
}

/// Returns the URL with an explicit port, if its scheme has a default one, and without a port.
fn port_forms(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return Vec::new() };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let default_port = match scheme {
        "https" => Some("443"),
        "http" => Some("80"),
        _ => None,
    };
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| is_port(port)) {
        Some((host, port)) => (host, Some(port)),
        None => (authority, default_port),
    };
    let with_port = port.map(|port| format!("{scheme}://{host}:{port}{path}"));
    with_port.into_iter().chain([format!("{scheme}://{host}{path}")]).collect()
}

#[cfg(test)]
mod tests {
    use super::port_forms;

    #[test]
    fn a_url_is_signed_with_and_without_its_port() {
        for (url, forms) in [
            ("https://example.com/a?b=:1", vec!["https://example.com:443/a?b=:1", "https://example.com/a?b=:1"]),
            ("https://example.com:443", vec!["https://example.com:443", "https://example.com"]),
            ("https://example.com:8443/", vec!["https://example.com:8443/", "https://example.com/"]),
            ("http://example.com?a", vec!["http://example.com:80?a", "http://example.com?a"]),
            ("http://[::1]:8080/a", vec!["http://[::1]:8080/a", "http://[::1]/a"]),
            ("http://[::1]/a", vec!["http://[::1]:80/a", "http://[::1]/a"]),
            ("/a", vec![]),
        ] {
            assert_eq!(port_forms(url), forms, "{url}");
        }
    }
}
