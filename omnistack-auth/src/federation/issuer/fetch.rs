//! HTTP requests to issuers, with limits on time and size.

use std::{net::IpAddr, time::Duration};

use omnistack_core::http::client::{Client, RequestBuilder};
use reqwest::{Response, Url};

/// The timeout of a request, from the connection to the last byte of the response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// A fetcher of documents, with the app's client for URLs in settings. It follows no redirects, since only the issuer's
/// own URL is trusted, and refuses private addresses, since an issuer's document names further URLs.
#[derive(Clone, Debug)]
pub(crate) struct Fetch(pub(crate) Client);

impl Fetch {
    /// Returns the document. Fails with a message if the status is not 200, or the document is too large.
    pub(crate) async fn get(&self, url: &Url) -> Result<Vec<u8>, String> {
        let answer = send_request(self.0.get(url.clone()).header("accept", "application/json")).await?;
        if answer.status() != 200 {
            return Err(format!("responded with status {}", answer.status().as_u16()));
        }
        read_body(answer).await
    }
}

/// Sends a request and returns the status and the body of the response.
pub(crate) async fn send(request: RequestBuilder) -> Result<(u16, Vec<u8>), String> {
    let answer = send_request(request).await?;
    let status = answer.status().as_u16();
    Ok((status, read_body(answer).await?))
}

async fn send_request(request: RequestBuilder) -> Result<Response, String> {
    request.timeout(REQUEST_TIMEOUT).send().await.map_err(|error| error_chain(&error))
}

async fn read_body(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| error_chain(&error))? {
        if body.len() + chunk.len() > MAX_DOCUMENT_BYTES {
            return Err(format!("responded with more than {MAX_DOCUMENT_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns the message of an error and of its causes, in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Parses a URL to fetch keys from: `https`, or `http` to this host, without credentials. Fails with a message
/// otherwise.
pub(crate) fn parse_source_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    let secure = url.scheme() == "https" || (url.scheme() == "http" && is_local(&url));
    if !secure || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{text}` must begin with https:// (http:// only for this host) and have no credentials"));
    }
    Ok(url)
}

pub(crate) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
