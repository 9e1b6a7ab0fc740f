//! The calls to issuers: small documents, from where the operator said, within limits.

use std::{net::IpAddr, time::Duration};

use omnistack_core::http::client::Client;
use reqwest::{RequestBuilder, Response, Url};

/// How long a document may take, from the connection to its last byte.
const DEADLINE: Duration = Duration::from_secs(5);
/// The largest document, in bytes.
const LARGEST: usize = 256 * 1024;

/// Fetches documents with the app's client. It follows no redirects: what comes from elsewhere is not the issuer's.
#[derive(Clone, Debug)]
pub(crate) struct Fetch(pub(crate) Client);

impl Fetch {
    /// A document, whole.
    pub(crate) async fn get(&self, url: &Url) -> Result<Vec<u8>, String> {
        let answer = begin(self.0.get(url.clone()).header("accept", "application/json")).await?;
        if answer.status() != 200 {
            return Err(format!("answered {}", answer.status().as_u16()));
        }
        whole(answer).await
    }
}

/// Sends a request; the status of its answer, and its body, whole.
pub(crate) async fn send(request: RequestBuilder) -> Result<(u16, Vec<u8>), String> {
    let answer = begin(request).await?;
    let status = answer.status().as_u16();
    Ok((status, whole(answer).await?))
}

async fn begin(request: RequestBuilder) -> Result<Response, String> {
    request.timeout(DEADLINE).send().await.map_err(|error| chain(&error))
}

async fn whole(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + chunk.len() > LARGEST {
            return Err(format!("answered with more than {LARGEST} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A URL to fetch keys from: `https`, or `http` on this machine, without credentials.
pub(crate) fn source(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("`{text}` is no URL: {error}"))?;
    let secure = url.scheme() == "https" || (url.scheme() == "http" && is_local(&url));
    if !secure || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{text}` is not https://… (http only to this machine), or has credentials in it"));
    }
    Ok(url)
}

pub(crate) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
