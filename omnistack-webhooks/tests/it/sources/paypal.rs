//! Tests of PayPal's signatures and certificates.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    async_trait,
    module::{Module, Registry},
    webhook::WebhookRejection,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use omnistack_webhooks::{FetchPayPalCertificate, PayPalAuthorities, PayPalSource, Webhooks};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, SigningKey as _, date_time_ymd,
};
use reqwest::Url;

use super::{accepted, post, rejected};

const NAME: &str = "messageverificationcerts.paypal.com";
const CERTIFICATE: &str = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-df8cd2d5";
const WEBHOOK: &str = "1JE4291016473214C";
const TIME: &str = "2030-01-01T00:00:00Z";
const BODY: &str =
    r#"{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"S1","amount":{"total":"10.00"}}}"#;

/// An authority with its certificate in PEM.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn root(name: &str) -> Self {
        let (params, key) = (ca(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn intermediate(&self, name: &str) -> Self {
        let (params, key) = (ca(name), KeyPair::generate().unwrap());
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Returns a certificate for the years from `from` to `to`.
    fn leaf(&self, key: &KeyPair, name: &str, from: i32, to: i32) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        params.signed_by(key, &self.issuer).unwrap().pem()
    }
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// PayPal's server of certificates, which counts the requests.
#[derive(Clone, Default)]
struct CertificateServer {
    pem: Arc<Mutex<Option<String>>>,
    requests: Arc<AtomicUsize>,
}

impl CertificateServer {
    fn serve(&self, pem: impl Into<String>) {
        *self.pem.lock().unwrap() = Some(pem.into());
    }

    fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl FetchPayPalCertificate for CertificateServer {
    async fn fetch(&self, _: &Url) -> Result<Vec<u8>, WebhookRejection> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let pem = self.pem.lock().unwrap().clone();
        Ok(pem.ok_or_else(|| WebhookRejection::Unavailable("PayPal is away".into()))?.into_bytes())
    }
}

struct PayPal {
    authorities: PayPalAuthorities,
    server: CertificateServer,
}

impl Module for PayPal {
    fn name(&self) -> &'static str {
        "paypal"
    }

    fn register(&self, registry: &mut Registry) {
        let source = PayPalSource::new([WEBHOOK], self.authorities.clone(), self.server.clone());
        registry.webhook_source("paypal", move |_| Ok(source));
    }
}

async fn app(database: TestDatabase, root: &Authority) -> (TestApp, CertificateServer) {
    let server = CertificateServer::default();
    let authorities = PayPalAuthorities::from_pem(root.pem.as_bytes()).unwrap();
    let paypal = PayPal { authorities, server: server.clone() };
    (TestApp::start(database, |app| app.with(Webhooks::from_env()).with(paypal)).await, server)
}

fn sign(key: &KeyPair, time: &str, webhook: &str, body: &str) -> String {
    let message = format!("tr-1|{time}|{webhook}|{}", crc32fast::hash(body.as_bytes()));
    STANDARD.encode(key.sign(message.as_bytes()).unwrap())
}

fn headers<'a>(time: &'a str, signature: &'a str, certificate: &'a str) -> [(&'static str, &'a str); 5] {
    [
        ("paypal-transmission-id", "tr-1"),
        ("paypal-transmission-time", time),
        ("paypal-transmission-sig", signature),
        ("paypal-cert-url", certificate),
        ("paypal-auth-algo", "SHA256withRSA"),
    ]
}

on_each_database! {
    // Case 43.
    async fn certificates_come_from_paypal_only(database: TestDatabase) {
        let (root, key) = (Authority::root("root"), KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        let (app, server) = app(database, &root).await;
        let intermediate = root.intermediate("intermediate");
        let chain = |from, to| format!("{}{}", intermediate.leaf(&key, NAME, from, to), intermediate.pem);
        server.serve(chain(2029, 2031));
        let signature = sign(&key, TIME, WEBHOOK, BODY);
        let path = "/v1/notifications/certs/CERT-1";
        for certificate in [
            format!("http://api.paypal.com{path}"),
            format!("https://api.paypal.com.evil.example{path}"),
            format!("https://api.paypal.com@evil.example{path}"),
            "https://evil.example/.paypal.com".to_owned(),
            format!("https://127.0.0.1{path}"),
            format!("https://api.paypal.com:8443{path}"),
            format!("https://api.paypal.com{path}?next=https://evil.example"),
        ] {
            rejected(&app, "paypal", &headers(TIME, &signature, &certificate), BODY).await;
        }
        let right = headers(TIME, &signature, CERTIFICATE);
        for missing in 0..right.len() {
            let mut some = right.to_vec();
            some.remove(missing);
            rejected(&app, "paypal", &some, BODY).await;
        }
        let mut other_algorithm = right;
        other_algorithm[4].1 = "SHA1withRSA";
        rejected(&app, "paypal", &other_algorithm, BODY).await;
        assert_eq!(server.count(), 0);

        // Another name, expired, not valid yet, another root, a chain with a gap, no certificate.
        let other = Authority::root("root");
        for pem in [
            format!("{}{}", intermediate.leaf(&key, "evil.example", 2029, 2031), intermediate.pem),
            chain(2028, 2029),
            chain(2031, 2032),
            other.leaf(&key, NAME, 2029, 2031),
            format!("{}{}", other.leaf(&key, NAME, 2029, 2031), other.pem),
            intermediate.leaf(&key, NAME, 2029, 2031),
            String::new(),
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
        ] {
            server.serve(pem);
            rejected(&app, "paypal", &right, BODY).await;
        }
        assert_eq!(server.count(), 8);

        server.serve(chain(2029, 2031));
        accepted(&app, "paypal", &right, BODY).await;
        assert_eq!(server.count(), 9);
        // The certificate is known now.
        rejected(&app, "paypal", &right, BODY.replace(':', ": ")).await;
        let forged = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        for signature in [
            sign(&forged, TIME, WEBHOOK, BODY),
            sign(&key, TIME, "WEBHOOK_ID", BODY),
            sign(&key, "2030-01-01T00:00:01Z", WEBHOOK, BODY),
            String::new(),
        ] {
            rejected(&app, "paypal", &headers(TIME, &signature, CERTIFICATE), BODY).await;
        }
        assert_eq!(server.count(), 9);
    }

    async fn transmissions_have_an_age(database: TestDatabase) {
        let (root, key) = (Authority::root("root"), KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        let (app, server) = app(database, &root).await;
        server.serve(root.leaf(&key, NAME, 2029, 2031));
        for (time, is_recent) in [
            ("2030-01-01T00:05:00Z", true),
            ("2030-01-01T00:05:01Z", false),
            ("2029-12-28T00:00:00Z", true),
            ("2029-12-27T23:59:59Z", false),
            ("yesterday", false),
        ] {
            let signature = sign(&key, time, WEBHOOK, BODY);
            let sent = headers(time, &signature, CERTIFICATE);
            if is_recent {
                accepted(&app, "paypal", &sent, BODY).await;
            } else {
                rejected(&app, "paypal", &sent, BODY).await;
            }
        }
    }

    async fn requests_with_a_new_certificate_wait_for_it(database: TestDatabase) {
        let (root, key) = (Authority::root("root"), KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        let (app, server) = app(database, &root).await;
        server.serve(root.leaf(&key, NAME, 2029, 2031));
        let signature = sign(&key, TIME, WEBHOOK, BODY);
        let sent = headers(TIME, &signature, CERTIFICATE);
        futures_util::future::join_all((0..20).map(|_| accepted(&app, "paypal", &sent, BODY))).await;
        assert!(server.count() <= 4, "{} requests", server.count());
    }

    async fn paypal_sends_again_what_could_not_be_verified(database: TestDatabase) {
        let (root, key) = (Authority::root("root"), KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        let (app, server) = app(database, &root).await;
        let signature = sign(&key, TIME, WEBHOOK, BODY);
        let sent = headers(TIME, &signature, CERTIFICATE);
        post(&app, "paypal", &sent, BODY).await.expect_error(503, "WEBHOOK_UNVERIFIABLE");
        server.serve(root.leaf(&key, NAME, 2029, 2031));
        accepted(&app, "paypal", &sent, BODY).await;
    }

    async fn the_sandbox_may_have_a_name_of_its_own(database: TestDatabase) {
        let (root, key) = (Authority::root("root"), KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        let (app, server) = app(database, &root).await;
        server.serve(root.leaf(&key, "messageverificationcerts.sandbox.paypal.com", 2029, 2031));
        let signature = sign(&key, TIME, WEBHOOK, BODY);
        rejected(&app, "paypal", &headers(TIME, &signature, CERTIFICATE), BODY).await;
        let sandbox = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1";
        accepted(&app, "paypal", &headers(TIME, &signature, sandbox), BODY).await;
    }
}
