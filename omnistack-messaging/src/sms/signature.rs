//! Verifies that a webhook comes from Twilio.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Url;
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
/// If a parameter occurs more than once, each different value counts once, sorted. Returns `None` if the token is
/// empty.
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

/// Returns whether `given` is the signature of a request to the URL. Twilio sometimes signs the URL with its
/// default port and sometimes without an explicit port, so both forms are accepted.
pub(super) fn is_signed(
    token: &SecretString,
    url: &Url,
    query: Option<&str>,
    parameters: &[(String, String)],
    given: &str,
) -> bool {
    let Some(host) = url.host_str() else { return false };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    [port.as_str(), ""].into_iter().fold(false, |found, port| {
        let url = format!("{}://{host}{port}{}{query}", url.scheme(), url.path());
        let signature = twilio_signature(token, &url, parameters);
        found | signature.is_some_and(|signature| constant_time_eq(signature, given))
    })
}
