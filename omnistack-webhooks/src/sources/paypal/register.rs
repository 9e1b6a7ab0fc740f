//! The source of the settings, and the HTTP client that fetches certificates.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{BoxError, http::client::Client, module::Registry, webhook::WebhookRejection};
use reqwest::{StatusCode, Url};

use super::{FetchPayPalCertificate, PayPalAuthorities, PayPalSource};
use crate::sources::{provider_api::read_body, settings::PayPalWebhookSettings};

/// Timeout of fetching a certificate, from the connection to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest certificate with its chain, in bytes.
const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

pub(in crate::sources) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<PayPalWebhookSettings>() else { return };
    if settings.webhook_ids.is_empty() {
        return;
    }
    if settings.webhook_ids.iter().any(|id| !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')) {
        let fix = "copy the id of the webhook from PayPal's dashboard, such as 1JE4291016473214C";
        registry.report_problem("`WEBHOOKS_PAYPAL_WEBHOOK_ID` is not the id of a webhook", fix);
        return;
    }
    let authorities = authorities(registry, &settings);
    // The URL comes from the request, although it can be one of PayPal's only.
    let client = registry.guarded_client();
    if let Some((authorities, client)) = authorities.zip(client) {
        let source = PayPalSource::new(settings.webhook_ids, authorities, CertificateClient(client));
        registry.webhook_source("paypal", move |_| Ok(source));
    }
}

fn authorities(registry: &mut Registry, settings: &PayPalWebhookSettings) -> Option<PayPalAuthorities> {
    let Some(path) = &settings.authorities else {
        let found = PayPalAuthorities::of_system();
        if found.is_none() {
            let fix = "install the certificates of the operating system (`ca-certificates`), or set \
                       WEBHOOKS_PAYPAL_AUTHORITIES to a PEM file";
            registry.report_problem("no certificate of the operating system can be read", fix);
        }
        return found;
    };
    let found = std::fs::read(path).ok().and_then(|pem| PayPalAuthorities::from_pem(&pem));
    if found.is_none() {
        let what = format!("`WEBHOOKS_PAYPAL_AUTHORITIES`: {} is not a PEM file with certificates", path.display());
        registry.report_problem(what, "set it to a PEM file with certificates, or unset it");
    }
    found
}

/// A client that fetches certificates and follows no redirects.
struct CertificateClient(Client);

fn unavailable(error: impl Into<BoxError>) -> WebhookRejection {
    WebhookRejection::Unavailable(error.into())
}

#[async_trait]
impl FetchPayPalCertificate for CertificateClient {
    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, WebhookRejection> {
        let response = self.0.get(url.clone()).timeout(FETCH_TIMEOUT).send().await.map_err(unavailable)?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(unavailable(format!("PayPal responded to the request for a certificate with {status}")));
            }
            _ => return Err(WebhookRejection::Unverified("there is no certificate at the URL")),
        }
        read_body(response, MAX_CERTIFICATE_BYTES).await.map_err(unavailable)
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::{
        config::Environment,
        http::client::{ClientSettings, UrlSource},
    };
    use omnistack_testkit::mock_server::{MockResponse, MockServer};

    use super::*;

    fn client() -> CertificateClient {
        let settings = ClientSettings { allow_private_addresses: true, ..ClientSettings::default() };
        CertificateClient(settings.guarded_client(UrlSource::Users, Environment::Test).unwrap())
    }

    /// Returns what becomes of a response: `certificate`, `unverified` or `unavailable`.
    async fn fetched(server: &MockServer, path: &str, response: MockResponse) -> &'static str {
        server.expect("GET", path).reply(response);
        match client().fetch(&format!("{}{path}", server.url()).parse().unwrap()).await {
            Ok(_) => "certificate",
            Err(WebhookRejection::Unverified(_)) => "unverified",
            Err(_) => "unavailable",
        }
    }

    // Case 43: a redirect is not followed.
    #[tokio::test]
    async fn a_certificate_is_a_short_answer_of_its_own_url() {
        let (server, elsewhere) = (MockServer::start().await, MockServer::start().await);
        let largest = "x".repeat(MAX_CERTIFICATE_BYTES);
        for (path, response, expected) in [
            ("/found", MockResponse::text(200, &largest), "certificate"),
            ("/too-large", MockResponse::text(200, format!("{largest}x")), "unavailable"),
            ("/moved", MockResponse::status(302).header("location", elsewhere.url()), "unverified"),
            ("/moved-for-good", MockResponse::status(308).header("location", elsewhere.url()), "unverified"),
            ("/none", MockResponse::status(404), "unverified"),
            ("/busy", MockResponse::status(429), "unavailable"),
            ("/down", MockResponse::status(503), "unavailable"),
        ] {
            assert_eq!(fetched(&server, path, response).await, expected, "{path}");
        }
        assert!(elsewhere.requests().is_empty());
    }
}
