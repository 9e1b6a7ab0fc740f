//! Calls to the APIs of providers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use omnistack_core::{
    BoxError,
    http::client::{Client, RequestBuilder, base_url},
    module::Registry,
};
use reqwest::{Response, Url};

/// Timeout of a call, from the connection to the last byte of the response.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Largest response that is read, in bytes: a page of 100 events.
const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;

/// The API of a provider.
#[derive(Clone, Debug)]
pub(super) struct ProviderApi {
    client: Client,
    base: Url,
}

/// A response of a provider.
pub(super) struct ProviderResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl ProviderApi {
    /// Creates an API with the base URL of the setting `name`. Returns `None` after a problem was reported.
    pub(super) fn from_setting(registry: &mut Registry, name: &str, base: &str) -> Option<Self> {
        let base = match base_url(base) {
            Ok(base) => base,
            Err(error) => {
                let fix = format!("set {name} to https://…, or unset it");
                registry.report_problem(format!("`{name}`: {error}"), fix);
                return None;
            }
        };
        Some(Self { client: registry.settings_client()?, base })
    }

    /// Begins a request.
    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        self.client.get(self.url(path, query))
    }

    /// Begins a request without a body.
    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path, &[]))
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

/// Sends a request, and returns the whole response, whatever its status is.
///
/// # Errors
/// Fails if the call takes longer than 15 seconds, if it breaks, or if the response has more than 16 MiB.
pub(super) async fn send(request: RequestBuilder) -> Result<ProviderResponse, BoxError> {
    let sent = request.timeout(TIMEOUT).send().await;
    let response = sent.map_err(reqwest::Error::without_url)?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(ProviderResponse { status, headers, body: read_body(response, MAX_RESPONSE_BYTES).await?.into() })
}

/// Reads the body of a response.
///
/// # Errors
/// Fails if the connection breaks, or if the body has more bytes than the limit.
pub(super) async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, BoxError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + chunk.len() > limit {
            return Err(format!("the response has more than {limit} bytes").into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
