//! [`Client`], which calls the app in this process, and its requests and responses.

use std::{error::Error as StdError, fmt, future::IntoFuture, net::Ipv4Addr, pin::Pin};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use omnistack_core::{
    app::AppService,
    http::{Error, Response, layer::PeerAddr},
    identity::Identity,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tower::ServiceExt as _;

/// A client that sends requests as one caller through the whole middleware stack of the app, without a socket.
#[derive(Clone)]
pub struct TestClient {
    service: AppService,
    token: Option<String>,
    identity: Option<Identity>,
}

impl TestClient {
    pub(crate) fn new(service: AppService, token: Option<String>, identity: Option<Identity>) -> Self {
        Self { service, token, identity }
    }

    /// Returns the caller's identity, or `None` if the client was created by
    /// [`TestApp::anonymous`](crate::TestApp::anonymous) or [`TestApp::client_with_token`](crate::TestApp::client_with_token).
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Returns the caller's bearer token, for clients outside this process. Returns `None` if the client sends no
    /// credentials.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Creates a GET request, which is sent when awaited.
    pub fn get(&self, path: impl AsRef<str>) -> TestRequest {
        self.request(Method::GET, path)
    }

    /// Creates a POST request with a JSON body, which is sent when awaited.
    pub fn post(&self, path: impl AsRef<str>, body: impl Serialize) -> TestRequest {
        self.request(Method::POST, path).json(body)
    }

    /// Creates a PATCH request with a JSON body, which is sent when awaited.
    pub fn patch(&self, path: impl AsRef<str>, body: impl Serialize) -> TestRequest {
        self.request(Method::PATCH, path).json(body)
    }

    /// Creates a DELETE request, which is sent when awaited.
    pub fn delete(&self, path: impl AsRef<str>) -> TestRequest {
        self.request(Method::DELETE, path)
    }

    /// Creates a request of any method, which is sent when awaited.
    ///
    /// # Panics
    /// Panics if `path` is not a valid URI.
    #[track_caller]
    pub fn request(&self, method: Method, path: impl AsRef<str>) -> TestRequest {
        let path = path.as_ref();
        let request = match Request::builder().method(method).uri(path).body(Body::empty()) {
            Ok(request) => request,
            Err(error) => panic!("`{path}` is not a valid URI: {error}"),
        };
        let mut builder = TestRequest { service: self.service.clone(), request };
        builder.request.extensions_mut().insert(PeerAddr((Ipv4Addr::LOCALHOST, 1).into()));
        match &self.token {
            Some(token) => builder.header("authorization", format!("Bearer {token}")),
            None => builder,
        }
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A request under construction. Awaiting it sends it and returns its [`TestResponse`].
#[must_use = "a request is sent when awaited"]
#[derive(Debug)]
pub struct TestRequest {
    service: AppService,
    request: Request<Body>,
}

impl TestRequest {
    /// Sets a header.
    ///
    /// # Panics
    /// Panics if `name` is not a valid header name or `value` not a valid header value.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_ref())) else {
            panic!("`{name}` or its value is not valid in a header");
        };
        self.request.headers_mut().insert(name, value);
        self
    }

    /// Sets a JSON body and its content type.
    ///
    /// # Panics
    /// Panics if `body` can't be serialized as JSON.
    #[track_caller]
    pub fn json(mut self, body: impl Serialize) -> Self {
        match serde_json::to_vec(&body) {
            Ok(body) => *self.request.body_mut() = Body::from(body),
            Err(error) => panic!("the body can't be JSON: {error}"),
        }
        self.header("content-type", "application/json")
    }

    /// Sets the body without changing the content type.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    /// Sets the client's IP address. The default is 127.0.0.1.
    pub fn client_ip(mut self, address: std::net::IpAddr) -> Self {
        self.request.extensions_mut().insert(PeerAddr((address, 1).into()));
        self
    }
}

impl IntoFuture for TestRequest {
    type Output = TestResponse;
    type IntoFuture = Pin<Box<dyn Future<Output = TestResponse> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let sent = format!("{} {}", self.request.method(), self.request.uri());
            let Ok(response) = self.service.oneshot(self.request).await;
            let causes = causes(&response);
            let (parts, body) = response.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => panic!("{sent}: the response body failed: {error}"),
            };
            TestResponse { sent, status: parts.status, headers: parts.headers, body, causes }
        })
    }
}

/// A response, with its whole body.
#[derive(Clone, Debug)]
pub struct TestResponse {
    sent: String,
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The causes of the error, the outermost first. The app logs it and does not send it.
    causes: Vec<String>,
}

/// Returns the causes of an error response, the outermost first.
fn causes(response: &Response) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Error::of_response(response).and_then(StdError::source);
    while let Some(error) = next {
        let text = error.to_string();
        // Many errors repeat the text of their cause.
        if !causes.last().is_some_and(|outer| outer.contains(&text)) {
            causes.push(text);
        }
        next = error.source();
    }
    causes
}

impl TestResponse {
    /// Returns what caused an error, the outermost cause first: for a 500, the error that the handler returned, with its
    /// sources, or the message of its panic. Clients never see it. It is empty if the error has no cause.
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// Returns the status, the body and the causes of an error, for the message of an assertion.
    fn shown(&self) -> String {
        let causes: Vec<_> = self.causes.iter().map(|cause| format!("\n  caused by: {cause}")).collect();
        format!("{}: {} {}{}", self.sent, self.status, self.text(), causes.concat())
    }

    /// Asserts that the status is `status`. A failure shows the request, the body and the [causes](Self::causes).
    #[track_caller]
    pub fn expect(self, status: impl TryInto<StatusCode>) -> Self {
        let Ok(status) = status.try_into() else { panic!("`status` is not a status code") };
        assert_eq!(self.status, status, "{}", self.shown());
        self
    }

    /// Asserts that the status is 2xx.
    #[track_caller]
    pub fn expect_ok(self) -> Self {
        assert!(self.status.is_success(), "{}", self.shown());
        self
    }

    /// Asserts that the response is an error in OmniStack's JSON form, with this status and error code, a message, a
    /// timestamp and the request id of the `X-Request-Id` header.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        let body = self.json();
        assert_eq!((self.status.as_u16(), body["error"]["code"].as_str()), (status, Some(code)), "{}", self.shown());
        assert_eq!(body["error"]["request_id"].as_str(), self.header("x-request-id"), "{}: {body}", self.sent);
        assert!(
            body["error"]["timestamp"].is_string() && body["error"]["message"].is_string(),
            "{}: {body}",
            self.sent
        );
        assert!(self.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{}", self.sent);
        self
    }

    /// Returns the body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        self.json_as()
    }

    /// Deserializes the body from JSON.
    #[track_caller]
    pub fn json_as<T: DeserializeOwned>(&self) -> T {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {}", self.shown()),
        }
    }

    /// Returns the body as text, with invalid UTF-8 replaced by `U+FFFD`.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the first value of a header, or `None` if it is absent or not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the URL of `Link: <…>; rel="next"` (RFC 8288), or `None` if there is no such link.
    pub fn next_link(&self) -> Option<&str> {
        let link = self.headers.get(header::LINK)?.to_str().ok()?;
        link.strip_prefix('<')?.split_once(">; rel=\"next\"").map(|(path, _)| path)
    }
}
