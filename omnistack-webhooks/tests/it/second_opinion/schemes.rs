//! The providers whose requests both the app and `webhook-verify` can verify.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use omnistack_core::{
    async_trait,
    clock::Timestamp,
    crypto::{HmacKey, Mac},
    webhook::{StandardSecret, WebhookRejection, WebhookRequest, WebhookSource, WebhookSources},
};
use omnistack_testkit::{TestApp, TestDatabase};
use omnistack_webhooks::{
    FetchPayPalCertificate, GenericSource, PayPalAuthorities, PayPalSource, SignatureEncoding, Webhooks,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, SigningKey as _, date_time_ymd,
};
use reqwest::Url;
use webhook_verify::{CustomScheme, Encoding, HashAlg, Provider, Secret, VerifyOptions, VerifyingKeyMaterial};

use super::{NOW, SECRET};

/// The id of PayPal's webhook.
const PAYPAL_WEBHOOK: &str = "1JE4291016473214C";
/// The header of PayPal that the second opinion requires and does not read.
pub(super) const PAYPAL_CERTIFICATE: &str = "paypal-cert-url";
/// Largest age of a request of PayPal.
const PAYPAL_MAX_AGE: Duration = Duration::from_secs(4 * 24 * 60 * 60);

/// A request as its sender has signed it.
#[derive(Clone)]
pub(super) struct SignedRequest {
    /// The header with the signature.
    pub(super) header: &'static str,
    /// The text before the signature in its header.
    pub(super) before: String,
    /// The signature, encoded.
    pub(super) signature: String,
    /// The other headers.
    pub(super) others: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl SignedRequest {
    fn new(header: &'static str, before: impl Into<String>, signature: String, body: &[u8]) -> Self {
        Self { header, before: before.into(), signature, others: Vec::new(), body: body.to_vec() }
    }

    fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.others.push((header, value.into()));
        self
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let signature = (self.header, format!("{}{}", self.before, self.signature));
        let all = self.others.iter().cloned().chain([signature]);
        all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap())).collect()
    }
}

/// Signs with a secret at a time in seconds since 1970.
type Sign = Box<dyn Fn(&str, i64, &[u8]) -> SignedRequest>;

/// A provider: the source of the app, the one of `webhook-verify`, and how it signs.
pub(super) struct Scheme {
    pub(super) name: &'static str,
    source: Arc<dyn WebhookSource>,
    provider: Provider,
    options: VerifyOptions,
    sign: Sign,
    /// The times at which requests are signed, in seconds from now. Empty if the time is not signed.
    pub(super) times: &'static [i64],
}

impl Scheme {
    fn new(name: &'static str, source: Arc<dyn WebhookSource>, provider: Provider, sign: Sign) -> Self {
        let options = VerifyOptions::default().with_clock(Some(Arc::new(StoppedClock)));
        Self { name, source, provider, options, sign, times: &[] }
    }

    fn timed(self) -> Self {
        Self { times: &[-1_000_000, -301, -300, -299, -1, 1, 299, 300, 301], ..self }
    }

    /// Signs a request at a time in seconds from now.
    pub(super) fn sign(&self, secret: &str, time: i64, body: &[u8]) -> SignedRequest {
        (self.sign)(secret, NOW + time, body)
    }

    /// Returns whether the source accepts a request, and whether `webhook-verify` does.
    pub(super) async fn verify(&self, headers: &HeaderMap, body: &[u8]) -> (bool, bool) {
        let now = at(NOW);
        let url = "https://app.example.com/api/v1/public/webhooks/second-opinion";
        let ours = self.source.verify(&WebhookRequest { url, headers, body, now }).await;
        let second = webhook_verify::verify(self.provider, headers, body, &Secret::new(SECRET), self.options.clone());
        (ours.is_ok(), second.is_ok())
    }
}

/// The clock of `webhook-verify`.
struct StoppedClock;

impl webhook_verify::Clock for StoppedClock {
    fn now(&self) -> u64 {
        NOW.unsigned_abs()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn mac(secret: &str, message: impl AsRef<[u8]>) -> Mac {
    HmacKey::new(secret).unwrap().sign(message)
}

/// Returns all schemes.
pub(super) async fn schemes() -> Vec<Scheme> {
    let settings = ["STRIPE", "GITHUB", "RAZORPAY", "STANDARD"].map(|name| format!("WEBHOOKS_{name}_SECRETS"));
    let app = TestApp::start(TestDatabase::sqlite(), |app| {
        settings.iter().fold(app.with(Webhooks::from_env()), |app, setting| app.set(setting.as_str(), SECRET))
    })
    .await;
    let sources: WebhookSources = app.app().context().get().unwrap();
    let source = |name: &str| sources.get(name).unwrap().1;
    vec![
        Scheme::new("stripe", source("stripe"), Provider::Stripe, Box::new(stripe)).timed(),
        Scheme::new("github", source("github"), Provider::GitHub, Box::new(github)),
        Scheme::new("standard", source("standard"), Provider::StandardWebhooks, Box::new(standard)).timed(),
        Scheme::new("razorpay", source("razorpay"), Provider::Custom(RAZORPAY), of_body("x-razorpay-signature")),
        paypal(),
        // Providers that an app sets up as a generic source.
        Scheme::new("linear", generic("linear-signature"), Provider::Linear, of_body("linear-signature")),
        Scheme::new("dropbox", generic("x-dropbox-signature"), Provider::Dropbox, of_body("x-dropbox-signature")),
        shopify(),
        v0("slack", Provider::Slack, "x-slack-signature", "x-slack-request-timestamp"),
        v0("zoom", Provider::Zoom, "x-zm-signature", "x-zm-request-timestamp"),
    ]
}

/// Razorpay, which `webhook-verify` does not know.
const RAZORPAY: CustomScheme = CustomScheme {
    hash: HashAlg::Sha256,
    signature_header: "x-razorpay-signature",
    timestamp_header: None,
    encoding: Encoding::Hex,
    prefix: None,
    signed_string: |_, body| body.to_vec(),
};

fn stripe(secret: &str, seconds: i64, body: &[u8]) -> SignedRequest {
    let message = [seconds.to_string().as_bytes(), b".", body].concat();
    SignedRequest::new("stripe-signature", format!("t={seconds},v1="), mac(secret, message).to_hex(), body)
}

fn github(secret: &str, _: i64, body: &[u8]) -> SignedRequest {
    SignedRequest::new("x-hub-signature-256", "sha256=", mac(secret, body).to_hex(), body)
}

fn standard(secret: &str, seconds: i64, body: &[u8]) -> SignedRequest {
    let signed = StandardSecret::parse(secret).unwrap().sign("msg_1", seconds, body);
    let signature = signed.strip_prefix("v1,").unwrap().to_owned();
    SignedRequest::new("webhook-signature", "v1,", signature, body)
        .with("webhook-id", "msg_1")
        .with("webhook-timestamp", seconds.to_string())
}

/// Returns a sender that signs the body and sends the signature in hexadecimal.
fn of_body(header: &'static str) -> Sign {
    Box::new(move |secret: &str, _: i64, body: &[u8]| SignedRequest::new(header, "", mac(secret, body).to_hex(), body))
}

fn generic_source(header: &'static str) -> GenericSource {
    GenericSource::new(HeaderName::from_static(header), [SECRET.into()]).unwrap()
}

fn generic(header: &'static str) -> Arc<dyn WebhookSource> {
    Arc::new(generic_source(header))
}

fn shopify() -> Scheme {
    const HEADER: &str = "x-shopify-hmac-sha256";
    let source = generic_source(HEADER).encoding(SignatureEncoding::Base64);
    let sign = |secret: &str, _: i64, body: &[u8]| SignedRequest::new(HEADER, "", mac(secret, body).to_base64(), body);
    Scheme::new("shopify", Arc::new(source), Provider::Shopify, Box::new(sign))
}

/// Returns a provider with signatures `v0=`, which are over `v0:{timestamp}:{body}`.
fn v0(name: &'static str, provider: Provider, header: &'static str, timestamp: &'static str) -> Scheme {
    let source = generic_source(header).prefix("v0=").timestamp_header(HeaderName::from_static(timestamp));
    let source = source.template("v0:{timestamp}:{body}").unwrap();
    let sign = move |secret: &str, seconds: i64, body: &[u8]| {
        let message = [format!("v0:{seconds}:").as_bytes(), body].concat();
        SignedRequest::new(header, "v0=", mac(secret, message).to_hex(), body).with(timestamp, seconds.to_string())
    };
    Scheme::new(name, Arc::new(source), provider, Box::new(sign)).timed()
}

/// PayPal's server of certificates.
struct CertificateServer(String);

#[async_trait]
impl FetchPayPalCertificate for CertificateServer {
    async fn fetch(&self, _: &Url) -> Result<Vec<u8>, WebhookRejection> {
        Ok(self.0.clone().into_bytes())
    }
}

fn paypal() -> Scheme {
    let mut root = CertificateParams::default();
    root.distinguished_name.push(DnType::CommonName, "root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_key = KeyPair::generate().unwrap();
    let authorities = PayPalAuthorities::from_pem(root.self_signed(&root_key).unwrap().pem().as_bytes()).unwrap();

    let name = "messageverificationcerts.paypal.com";
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, name);
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (leaf.not_before, leaf.not_after) = (date_time_ymd(2029, 1, 1), date_time_ymd(2031, 1, 1));
    let [key, other_key] = [(); 2].map(|()| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
    let certificate = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap().pem();

    let material = VerifyingKeyMaterial::X509Certificate(certificate.clone().into_bytes());
    let source = PayPalSource::new([PAYPAL_WEBHOOK], authorities, CertificateServer(certificate));
    let sign = move |secret: &str, seconds: i64, body: &[u8]| {
        let time = at(seconds).to_string();
        let message = format!("tr-1|{time}|{PAYPAL_WEBHOOK}|{}", crc32fast::hash(body));
        let key = if secret == SECRET { &key } else { &other_key };
        let signature = STANDARD.encode(key.sign(message.as_bytes()).unwrap());
        SignedRequest::new("paypal-transmission-sig", "", signature, body)
            .with("paypal-transmission-id", "tr-1")
            .with("paypal-transmission-time", time)
            .with(PAYPAL_CERTIFICATE, "https://api.paypal.com/v1/notifications/certs/CERT-1")
            .with("paypal-auth-algo", "SHA256withRSA")
    };
    let scheme = Scheme::new("paypal", Arc::new(source), Provider::PayPal, Box::new(sign));
    let options = scheme.options.clone().with_max_age(Some(PAYPAL_MAX_AGE)).with_webhook_id(PAYPAL_WEBHOOK);
    let options = options.with_verifying_material(material);
    Scheme { options, times: &[-345_601, -345_600, -301, -1, 1, 299, 300], ..scheme }
}
