//! A client that sends each request over a connection of its own, as through a load balancer.

#![cfg(test)]

use std::{io, net::SocketAddr};

use axum::body::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// The password of all accounts.
const PASSWORD: &str = "correct horse battery staple 42";
const PUBLIC: &str = "/api/v1/public/auth";

/// A request without a response.
#[derive(Debug)]
pub(super) enum SendError {
    /// The replica does not listen, so the request was not sent. A balancer chooses another replica.
    Refused,
    /// The request was sent, and has no response.
    Lost(String),
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Call {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// Creates a POST request with a JSON body.
    pub(super) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::upload(path, "application/json", body.to_string())
    }

    /// Creates a POST request with a body of this type.
    pub(super) fn upload(path: impl Into<String>, kind: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", kind.to_owned())];
        Self { method: Method::POST, path: path.into(), headers, body: body.into() }
    }

    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub(super) fn token(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sends the request to a replica.
    pub(super) async fn send(&self, address: SocketAddr) -> Result<FullResponse, SendError> {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(SendError::Refused),
            Err(error) => return Err(self.lost(error)),
        };
        let request = Request::builder().method(self.method.clone()).uri(&self.path).header("host", "app.example");
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let request = request.body(Full::new(self.body.clone())).unwrap();
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.lost(error))?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| self.lost(error))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| self.lost(error))?.to_bytes();
        connection.abort();
        Ok(FullResponse { sent: self.title(), status: parts.status, headers: parts.headers, body })
    }

    fn title(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn lost(&self, error: impl std::fmt::Debug) -> SendError {
        SendError::Lost(format!("{}: {error:?}", self.title()))
    }
}

/// A response, with its whole body.
#[derive(Debug)]
pub(super) struct FullResponse {
    sent: String,
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl FullResponse {
    #[track_caller]
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self}");
        self
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns whether the app tells its caller to send the request again.
    pub(super) fn is_put_off(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 503) && self.header("retry-after").is_some()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }
}

impl std::fmt::Display for FullResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {}", self.sent, self.status, String::from_utf8_lossy(&self.body))
    }
}

/// Registers an account and signs it in. Returns the tokens of its session.
pub(super) async fn sign_up_with_tokens(address: SocketAddr, email: &str) -> Value {
    let credentials = json!({ "email": email, "password": PASSWORD });
    Call::post(format!("{PUBLIC}/register"), &credentials).send(address).await.unwrap().expect(202);
    Call::post(format!("{PUBLIC}/login"), &credentials).send(address).await.unwrap().expect(200).json()
}

/// Registers an account and signs it in. Returns its access token.
pub(super) async fn sign_up(address: SocketAddr, email: &str) -> String {
    text(&sign_up_with_tokens(address, email).await, "access_token")
}

/// Returns a text in a JSON object.
#[track_caller]
pub(super) fn text(object: &Value, member: &str) -> String {
    object[member].as_str().unwrap_or_else(|| panic!("no text `{member}` in {object}")).to_owned()
}
