//! PayPal: requests that are signed with the key of a certificate.
//!
//! Documentation: <https://developer.paypal.com/api/rest/webhooks/rest/#self-verification-method>.

mod certificates;
mod register;

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    clock::Timestamp,
    webhook::{DataEnvironment, SourceEvent, TIMESTAMP_TOLERANCE, WebhookRejection, WebhookRequest, WebhookSource},
};
use reqwest::Url;
use serde_json::Value;

use self::certificates::CertificateCache;
pub(super) use self::certificates::CertificateChain;
pub use self::certificates::{FetchPayPalCertificate, PayPalAuthorities};
pub(super) use self::register::register;
use super::payload::{ProviderPayload, bounded_id, source_event};

/// Largest age of a transmission. PayPal sends an event again for three days, and does not say whether the time of the
/// transmission stays the same. Repetitions within this time are known by the id of the event.
const MAX_AGE: Duration = Duration::from_secs(4 * 24 * 60 * 60);
/// Hosts of certificates, and whether they are those of the sandbox.
const HOSTS: [(&str, bool); 4] = [
    ("api.paypal.com", false),
    ("api-m.paypal.com", false),
    ("api.sandbox.paypal.com", true),
    ("api-m.sandbox.paypal.com", true),
];
/// The path of certificates.
const CERTIFICATE_PATH: &str = "/v1/notifications/certs/";
/// Largest length of a certificate's URL, in bytes.
const MAX_URL_BYTES: usize = 300;
/// The name in the certificate.
const NAME: &str = "messageverificationcerts.paypal.com";
/// The name in a certificate of the sandbox, if it has one of its own.
const SANDBOX_NAME: &str = "messageverificationcerts.sandbox.paypal.com";

/// PayPal, as the source `paypal`. [`Webhooks`](crate::Webhooks) registers it if `WEBHOOKS_PAYPAL_WEBHOOK_ID` is set.
/// An app that gets certificates in another way registers its own.
///
/// A request names the URL of the certificate whose key has signed it. The URL must be one of PayPal's API, the
/// certificate must come from a trusted authority, have PayPal's name and be valid at the time of the request.
/// Certificates are kept in memory, so that only the first request with a certificate fetches it.
///
/// An event that comes from the sandbox has the environment `test`. The object is the subscription of a payment, or
/// else the resource of the event.
#[derive(Debug)]
pub struct PayPalSource {
    webhook_ids: Vec<String>,
    certificates: CertificateCache,
}

impl PayPalSource {
    /// Creates a source for webhooks with these ids.
    pub fn new(
        webhook_ids: impl IntoIterator<Item = impl Into<String>>,
        authorities: PayPalAuthorities,
        fetch: impl FetchPayPalCertificate,
    ) -> Self {
        let webhook_ids = webhook_ids.into_iter().map(Into::into).collect();
        Self { webhook_ids, certificates: CertificateCache::new(authorities, fetch) }
    }
}

#[async_trait]
impl WebhookSource for PayPalSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let transmission = Transmission::read(request)?;
        transmission.check_age(request.now)?;
        let names: &[&str] = if transmission.is_sandbox { &[NAME, SANDBOX_NAME] } else { &[NAME] };
        let chain = self.certificates.get(&transmission.certificate, names, transmission.at).await?;
        let checksum = crc32fast::hash(request.body);
        let signed = self.webhook_ids.iter().fold(false, |found, webhook| {
            let message = format!("{}|{}|{webhook}|{checksum}", transmission.id, transmission.time);
            chain.has_signed(message.as_bytes(), &transmission.signature) | found
        });
        signed.then_some(()).ok_or(WebhookRejection::Unverified("the signature does not match"))
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        describe(request.header("paypal-cert-url").unwrap_or_default(), request.body)
    }
}

/// The headers of a request.
struct Transmission<'a> {
    id: &'a str,
    /// The time as it was signed.
    time: &'a str,
    at: Timestamp,
    signature: Vec<u8>,
    certificate: Url,
    is_sandbox: bool,
}

impl<'a> Transmission<'a> {
    fn read(request: &WebhookRequest<'a>) -> Result<Self, WebhookRejection> {
        let header = |name| request.header(name).ok_or(WebhookRejection::Unverified("a header of PayPal is missing"));
        let (id, time) = (header("paypal-transmission-id")?, header("paypal-transmission-time")?);
        // With the separator inside of a part, other parts could have the same signature.
        if id.is_empty() || id.contains('|') {
            return Err(WebhookRejection::Unverified("the id of the transmission is not valid"));
        }
        let at = time
            .parse::<Timestamp>()
            .map_err(|_| WebhookRejection::Unverified("the time of the transmission is not valid"))?;
        if !header("paypal-auth-algo")?.eq_ignore_ascii_case("SHA256withRSA") {
            return Err(WebhookRejection::Unverified("the algorithm is not `SHA256withRSA`"));
        }
        let signature = STANDARD.decode(header("paypal-transmission-sig")?);
        let signature = signature.map_err(|_| WebhookRejection::Unverified("the signature is not base64"))?;
        let (certificate, is_sandbox) = certificate_url(header("paypal-cert-url")?)
            .ok_or(WebhookRejection::Unverified("the URL of the certificate is not one of PayPal"))?;
        Ok(Self { id, time, at, signature, certificate, is_sandbox })
    }

    fn check_age(&self, now: Timestamp) -> Result<(), WebhookRejection> {
        if self.at > now + TIMESTAMP_TOLERANCE {
            return Err(WebhookRejection::Unverified("the time of the transmission is in the future"));
        }
        let recent = now.duration_since(self.at) <= MAX_AGE;
        recent.then_some(()).ok_or(WebhookRejection::Unverified("the transmission is more than four days old"))
    }
}

/// Parses the URL of a certificate, and returns whether it is one of the sandbox. Returns `None` for every URL but
/// `https://HOST/v1/notifications/certs/NAME` with a host of PayPal's API.
pub(super) fn certificate_url(text: &str) -> Option<(Url, bool)> {
    if text.len() > MAX_URL_BYTES {
        return None;
    }
    // Whatever a parser would correct or leave out, such as a port or a backslash, is not in a URL of PayPal.
    let url = Url::parse(text).ok().filter(|url| url.as_str() == text && url.scheme() == "https")?;
    let (_, is_sandbox) = HOSTS.into_iter().find(|(host, _)| url.host_str() == Some(*host))?;
    let name = url.path().strip_prefix(CERTIFICATE_PATH)?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && !name.is_empty()
        && name.bytes().all(known);
    plain.then_some((url, is_sandbox))
}

/// Describes an event.
pub(super) fn describe(certificate: &str, body: &[u8]) -> Result<SourceEvent, WebhookRejection> {
    let event = ProviderPayload::parse(body)?;
    // The URL is not signed, but the links in the body are.
    let links = event.get("/links").and_then(Value::as_array).into_iter().flatten();
    let mut links = links.filter_map(|link| Url::parse(link.get("href")?.as_str()?).ok());
    let is_sandbox = certificate_url(certificate).is_some_and(|(_, is_sandbox)| is_sandbox)
        || links.any(|link| link.host_str().is_some_and(|host| host.ends_with("sandbox.paypal.com")));
    let object = event.text("/resource/billing_agreement_id").or_else(|| event.text("/resource/id"));
    Ok(source_event(event.text("/id").as_deref(), event.text("/event_type").as_deref())?
        .occurred_at(event.time("/create_time"))
        .environment(if is_sandbox { DataEnvironment::Test } else { DataEnvironment::Live })
        .object(object.as_deref().map(bounded_id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_at_paypal_only() {
        for (url, expected) in [
            ("https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-df8cd2d5", Some(false)),
            ("https://api-m.paypal.com/v1/notifications/certs/CERT-1", Some(false)),
            ("https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1", Some(true)),
            ("https://api-m.sandbox.paypal.com/v1/notifications/certs/CERT-1", Some(true)),
            ("http://api.paypal.com/v1/notifications/certs/CERT-1", None),
            ("https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1", None),
            ("https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1", None),
            ("https://user@api.paypal.com/v1/notifications/certs/CERT-1", None),
            ("https://:secret@api.paypal.com/v1/notifications/certs/CERT-1", None),
            ("https://evil.example/.paypal.com", None),
            ("https://evil.example/v1/notifications/certs/.paypal.com", None),
            ("https://evil.paypal.com/v1/notifications/certs/CERT-1", None),
            ("https://93.184.216.34/v1/notifications/certs/CERT-1", None),
            ("https://[::1]/v1/notifications/certs/CERT-1", None),
            ("https://api.paypal.com:443/v1/notifications/certs/CERT-1", None),
            ("https://api.paypal.com:8443/v1/notifications/certs/CERT-1", None),
            ("https://api.paypal.com./v1/notifications/certs/CERT-1", None),
            ("https://API.paypal.com/v1/notifications/certs/CERT-1", None),
            ("https:\\\\api.paypal.com/v1/notifications/certs/CERT-1", None),
            (" https://api.paypal.com/v1/notifications/certs/CERT-1", None),
            ("https://api.paypal.com/v1/notifications/certs/../../CERT-1", None),
            ("https://api.paypal.com/v1/notifications/certs/%2e%2e/CERT-1", None),
            ("https://api.paypal.com/v1/notifications/certs/", None),
            ("https://api.paypal.com/v1/notifications/certs/CERT-1?a", None),
            ("https://api.paypal.com/v1/notifications/certs/CERT-1#a", None),
            ("https://api.paypal.com/CERT-1", None),
            ("", None),
        ] {
            assert_eq!(certificate_url(url).map(|(_, is_sandbox)| is_sandbox), expected, "{url}");
        }
        let long = format!("https://api.paypal.com/v1/notifications/certs/{}", "a".repeat(MAX_URL_BYTES));
        assert_eq!(certificate_url(&long), None);
    }

    #[test]
    fn events_are_described() {
        let live = "https://api.paypal.com/v1/notifications/certs/CERT-1";
        let described = |certificate, body: &str| describe(certificate, body.as_bytes()).unwrap();
        let sale = r#"{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","create_time":"2030-01-01T00:00:00Z",
            "resource":{"id":"sale","billing_agreement_id":"I-1"}}"#;
        let event = described(live, sale);
        assert_eq!((event.id.as_str(), event.object.as_deref()), ("WH-1", Some("I-1")));
        assert_eq!(event.environment, DataEnvironment::Live);
        let sandbox = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1";
        assert_eq!(described(sandbox, sale).environment, DataEnvironment::Test);
        let test = r#"{"id":"WH-2","event_type":"BILLING.SUBSCRIPTION.CREATED","resource":{"id":"I-2"},
            "links":[{"rel":"docs"},{"href":"https://api.sandbox.paypal.com/v1/notifications/webhooks-events/WH-2"}]}"#;
        let event = described(live, test);
        assert_eq!((event.object.as_deref(), event.environment), (Some("I-2"), DataEnvironment::Test));
    }
}
