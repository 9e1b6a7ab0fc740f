//! Requests of exporters, which run on a thread of their own, without a runtime.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use axum::body::Bytes;
use http::{Request, Response};
use omnistack_core::http::client::Client;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

/// Longest duration of a request.
pub(super) const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a response that are read.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// A client that sends the requests of an exporter with the app's HTTP client, on the app's runtime.
#[derive(Clone)]
pub(super) struct ExportClient {
    client: Client,
    runtime: Handle,
}

impl ExportClient {
    /// Creates a client that uses the current runtime.
    pub(super) fn new(client: Client) -> Self {
        Self { client, runtime: Handle::current() }
    }
}

#[async_trait]
impl HttpClient for ExportClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let send = async move {
            let mut request = reqwest::Request::try_from(request)?;
            *request.timeout_mut() = Some(EXPORT_TIMEOUT);
            let mut response = client.execute(request).await?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                body.extend_from_slice(&chunk);
                if body.len() > MAX_RESPONSE_BYTES {
                    return Err("the response is too large".into());
                }
            }
            let mut received = Response::new(Bytes::from(body));
            *received.status_mut() = response.status();
            *received.headers_mut() = std::mem::take(response.headers_mut());
            Ok(received)
        };
        self.runtime.spawn(send).await?
    }
}

impl fmt::Debug for ExportClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportClient").finish_non_exhaustive()
    }
}
