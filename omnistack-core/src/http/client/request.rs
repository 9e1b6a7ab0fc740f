//! Requests of the HTTP client.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::{Body, IntoUrl, Request, Response, Url};

use crate::trace::{Span, SpanKind, attribute};

/// The app's HTTP client. Cheap to clone.
///
/// It is [`reqwest`]'s client, and sends the trace context with each request: `traceparent` and `tracestate`, and
/// `baggage` if it is [propagated](crate::trace::set_propagators). If spans are recorded, each request is one. The span
/// names the method and the host, but not the path and the query, which may contain secrets.
#[derive(Clone, Debug)]
pub struct Client(pub(super) reqwest::Client);

impl Client {
    /// Begins a `GET` request.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Begins a `POST` request.
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Begins a `PUT` request.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Begins a `PATCH` request.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Begins a `DELETE` request.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Begins a request. An invalid URL is an error when it is sent.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder(self.0.request(method, url))
    }

    /// Sends a request, and returns the response when its headers have arrived, whatever its status is.
    ///
    /// # Errors
    /// Fails if there is no connection, if it breaks, or if the response takes longer than the timeout.
    pub async fn execute(&self, mut request: Request) -> Result<Response, reqwest::Error> {
        let span = client_span(&request);
        span.set_headers(request.headers_mut());
        let sent = span.run(self.0.execute(request)).await;
        match &sent {
            Ok(response) => {
                let status = response.status();
                span.set(attribute::HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16()));
                if status.is_client_error() || status.is_server_error() {
                    span.set_error(status.as_str().to_owned());
                }
            }
            Err(error) => span.set_error(error_type(error)),
        }
        sent
    }
}

/// Wraps a client, whose settings then apply.
impl From<reqwest::Client> for Client {
    fn from(client: reqwest::Client) -> Self {
        Self(client)
    }
}

/// Returns the client without the trace context, for libraries that take one.
impl AsRef<reqwest::Client> for Client {
    fn as_ref(&self) -> &reqwest::Client {
        &self.0
    }
}

fn client_span(request: &Request) -> Span {
    let span = Span::child(SpanKind::Client, || request.method().as_str().to_owned().into());
    if span.is_recording() {
        let url = request.url();
        span.set(attribute::HTTP_REQUEST_METHOD, request.method().as_str().to_owned());
        span.set(attribute::SERVER_ADDRESS, url.host_str().unwrap_or_default().to_owned());
        if let Some(port) = url.port_or_known_default() {
            span.set(attribute::SERVER_PORT, i64::from(port));
        }
        span.set(attribute::URL_FULL, redacted(url));
    }
    span
}

/// Returns a URL without what may be secret: its user, path and query.
fn redacted(url: &Url) -> String {
    let path = if url.path().len() > 1 || url.query().is_some() { "/REDACTED" } else { "/" };
    format!("{}{path}", url.origin().ascii_serialization())
}

fn error_type(error: &reqwest::Error) -> &'static str {
    match () {
        () if error.is_connect() => "connect",
        () if error.is_timeout() => "timeout",
        () if error.is_builder() => "invalid_request",
        () => "connection_lost",
    }
}

/// A request that is being made. Its methods are those of [`reqwest::RequestBuilder`].
#[derive(Debug)]
#[must_use = "a request is sent by `send`"]
pub struct RequestBuilder(reqwest::RequestBuilder);

impl RequestBuilder {
    /// Adds a header.
    pub fn header<N, V>(self, name: N, value: V) -> Self
    where
        HeaderName: TryFrom<N>,
        <HeaderName as TryFrom<N>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        Self(self.0.header(name, value))
    }

    /// Sets headers, replacing those of the same names.
    pub fn headers(self, headers: HeaderMap) -> Self {
        Self(self.0.headers(headers))
    }

    /// Sends credentials by HTTP Basic authentication.
    pub fn basic_auth(self, user: &str, password: Option<&str>) -> Self {
        Self(self.0.basic_auth(user, password))
    }

    /// Sends a bearer token.
    pub fn bearer_auth(self, token: &str) -> Self {
        Self(self.0.bearer_auth(token))
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        Self(self.0.body(body))
    }

    /// Sets the timeout, from the start to the last byte of the response.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self(self.0.timeout(timeout))
    }

    /// Sends the request, and returns the response when its headers have arrived, whatever its status is.
    ///
    /// # Errors
    /// Fails like [`Client::execute`], or if a part of the request is invalid.
    pub async fn send(self) -> Result<Response, reqwest::Error> {
        let (client, request) = self.0.build_split();
        Client(client).execute(request?).await
    }
}
