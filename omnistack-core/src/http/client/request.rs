//! Requests of the HTTP client.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::{Body, IntoUrl, Request, Response, Url};

use super::{
    UrlSource,
    guard::{AddressGuard, REFUSED_URL, is_refused},
};
use crate::trace::{Span, SpanKind, attribute};

/// An HTTP client. Cheap to clone.
///
/// It is [`reqwest`]'s client, and sends the trace context with each request: `traceparent` and `tracestate`, and
/// `baggage` if it is [propagated](crate::trace::set_propagators). The client for URLs that users enter sends none,
/// since baggage may describe users and tenants. If spans are recorded, each request is one. The span names the method
/// and the host, but not the path and the query, which may contain secrets.
#[derive(Clone, Debug)]
pub struct Client {
    inner: reqwest::Client,
    limits: RequestLimits,
}

/// The restrictions of the requests of a client.
#[derive(Clone, Debug, Default)]
struct RequestLimits {
    /// The addresses that it may connect to. Its resolver leaves out all others.
    guard: Option<AddressGuard>,
    /// Whether requests are sent without the trace context.
    untraced: bool,
}

impl Client {
    /// Creates a client around one whose resolver refuses what `guard` does not permit.
    pub(super) fn guarded(inner: reqwest::Client, guard: AddressGuard, source: UrlSource) -> Self {
        Self { inner, limits: RequestLimits { guard: Some(guard), untraced: source == UrlSource::Users } }
    }

    /// Returns whether the client may call a URL, as far as its text shows: `false` if its host is an address that a
    /// guarded client refuses. The addresses of a host name are checked when the request is sent.
    pub fn permits(&self, url: &Url) -> bool {
        self.limits.guard.as_ref().is_none_or(|guard| guard.permits_host(url))
    }

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
        RequestBuilder { request: self.inner.request(method, url), limits: self.limits.clone() }
    }

    /// Sends a request, and returns the response when its headers have arrived, whatever its status is.
    ///
    /// # Errors
    /// Fails if there is no connection, if it breaks, or if the response takes longer than the timeout. A guarded
    /// client fails, without a connection, if the host has no permitted address; see [`is_refused`].
    pub async fn execute(&self, mut request: Request) -> Result<Response, reqwest::Error> {
        let span = client_span(&request);
        if !self.limits.untraced {
            span.set_headers(request.headers_mut());
        }
        let sent = if self.permits(request.url()) {
            span.run(self.inner.execute(request)).await
        } else {
            span.run(self.refuse(request.url().clone())).await
        };
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

    /// Returns the error of a request whose host is an address that the client may not connect to. The connector does
    /// not pass an address to the resolver, which would refuse it, and an error of reqwest can't be created here. So
    /// this calls another host, which the resolver refuses without a lookup; the error then gets the URL of the
    /// request. Nothing is sent.
    async fn refuse(&self, url: Url) -> Result<Response, reqwest::Error> {
        self.inner.get(REFUSED_URL).send().await.map_err(|error| error.with_url(url))
    }
}

/// Wraps a client, whose settings then apply. It is not guarded.
impl From<reqwest::Client> for Client {
    fn from(client: reqwest::Client) -> Self {
        Self { inner: client, limits: RequestLimits::default() }
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
        () if is_refused(error) => "refused_address",
        () if error.is_connect() => "connect",
        () if error.is_timeout() => "timeout",
        () if error.is_builder() => "invalid_request",
        () => "connection_lost",
    }
}

/// A request that is being made. Its methods are those of [`reqwest::RequestBuilder`].
#[derive(Debug)]
#[must_use = "a request is sent by `send`"]
pub struct RequestBuilder {
    request: reqwest::RequestBuilder,
    limits: RequestLimits,
}

impl RequestBuilder {
    /// Adds a header.
    pub fn header<N, V>(self, name: N, value: V) -> Self
    where
        HeaderName: TryFrom<N>,
        <HeaderName as TryFrom<N>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        Self { request: self.request.header(name, value), ..self }
    }

    /// Sets headers, replacing those of the same names.
    pub fn headers(self, headers: HeaderMap) -> Self {
        Self { request: self.request.headers(headers), ..self }
    }

    /// Sends credentials by HTTP Basic authentication.
    pub fn basic_auth(self, user: &str, password: Option<&str>) -> Self {
        Self { request: self.request.basic_auth(user, password), ..self }
    }

    /// Sends a bearer token.
    pub fn bearer_auth(self, token: &str) -> Self {
        Self { request: self.request.bearer_auth(token), ..self }
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        Self { request: self.request.body(body), ..self }
    }

    /// Sets the timeout, from the start to the last byte of the response.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { request: self.request.timeout(timeout), ..self }
    }

    /// Sends the request, and returns the response when its headers have arrived, whatever its status is.
    ///
    /// # Errors
    /// Fails like [`Client::execute`], or if a part of the request is invalid.
    pub async fn send(self) -> Result<Response, reqwest::Error> {
        let (inner, request) = self.request.build_split();
        Client { inner, limits: self.limits }.execute(request?).await
    }
}
