//! Whether a webhook comes from Twilio.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use crate::crypto::same;

/// The signature Twilio puts into `X-Twilio-Signature`: base64 of HMAC-SHA-1, by the account's auth token, of the URL and
/// each of the form's parameters, name and value, in order.
///
/// ```
/// use omnistack_core::sms::twilio_signature;
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
/// Of a parameter that comes more than once each different value counts once, in order. There is none by an empty token.
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

/// Whether this is the signature of a request to the URL. Twilio sometimes signs with the port that goes without saying, and
/// sometimes without one that was said.
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
        found | signature.is_some_and(|signature| same(signature, given))
    })
}
