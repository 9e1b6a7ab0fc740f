//! The app of the tests, its callers, and a client that shows each line of the server.

#![cfg(test)]

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request::Parts};
use http_body_util::BodyExt as _;
use omnistack_core::{
    ShutdownToken,
    app::{AppBuilder, Server},
    async_trait,
    clock::{Clock, Timestamp},
    http::Error,
    id::Id,
    identity::{Authenticate, Authenticator, Identity, Permissions, TenantId, bearer_token},
    module::{Module, Registry},
};
use omnistack_realtime::{ChannelRule, Channels, Realtime, RealtimeChannel, RealtimePublisher};
use omnistack_testkit::{TestApp, TestDatabase, TestRedis};
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest as _},
};
use tower::ServiceExt as _;
use uuid::Uuid;

/// Longest time that a test waits for the server.
const TEST_REPLY_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) const SOCKET: &str = "/api/v1/app/ws";

/// The rules of the tests' channels.
pub(crate) fn channels() -> Channels {
    let day = Duration::from_secs(24 * 60 * 60);
    Channels::new()
        .rule(ChannelRule::new("room:{id}").subscribe(|_, _| true).publish(|_, _| true).join_leave())
        .rule(ChannelRule::new("secret:{id}").subscribe(|caller, _| caller.can("secrets:read")))
        .rule(ChannelRule::new("stream:{id}").subscribe(|_, _| true).without_history())
        .rule(ChannelRule::new("job:{id}").subscribe(|_, _| true).latest_value())
        .rule(ChannelRule::new("run:{id}").subscribe(|_, _| true).history(1000, day))
}

/// The callers of a test, by token. Each request is authenticated by a bearer token or the cookie `session`.
#[derive(Clone, Default)]
pub(crate) struct Callers {
    known: Arc<Mutex<HashMap<String, (Identity, Option<Timestamp>)>>>,
    clock: Arc<OnceLock<Clock>>,
}

impl Callers {
    /// Creates a user with all permissions in a tenant, and returns its identity and its token.
    pub(crate) fn user_of(&self, tenant: TenantId) -> (Identity, String) {
        let user = Identity::user(Id::from_uuid(Uuid::new_v4())).with_permissions(Permissions::all());
        let user = user.for_tenant(tenant);
        let token = self.token_of(&user);
        (user, token)
    }

    /// Creates a user in a tenant of its own.
    pub(crate) fn user(&self) -> (Identity, String) {
        self.user_of(Id::from_uuid(Uuid::new_v4()))
    }

    /// Creates a token without an expiry.
    pub(crate) fn token_of(&self, identity: &Identity) -> String {
        let token = Uuid::new_v4().simple().to_string();
        self.set(&token, identity);
        token
    }

    /// Creates a JSON Web Token that expires.
    pub(crate) fn token_until(&self, identity: &Identity, expiry: Timestamp) -> String {
        let claims = json!({ "exp": expiry.as_seconds(), "jti": Uuid::new_v4() }).to_string();
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        self.known.lock().unwrap().insert(token.clone(), (identity.clone(), Some(expiry)));
        token
    }

    /// Changes the identity of a token.
    pub(crate) fn set(&self, token: &str, identity: &Identity) {
        self.known.lock().unwrap().insert(token.to_owned(), (identity.clone(), None));
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.known.lock().unwrap().remove(token);
    }
}

impl Module for Callers {
    fn name(&self) -> &'static str {
        "test-callers"
    }

    fn register(&self, registry: &mut Registry) {
        _ = self.clock.set(registry.clock());
        registry.provide(Authenticator::new(self.clone()));
    }
}

#[async_trait]
impl Authenticate for Callers {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let cookie = request.headers.get("cookie").and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.strip_prefix("session="));
        let Some(token) = bearer_token(request).or(cookie) else { return Ok(None) };
        let now = self.clock.get().unwrap().now();
        let known = self.known.lock().unwrap().get(token).cloned();
        match known.filter(|(_, expiry)| expiry.is_none_or(|expiry| now < expiry)) {
            Some((identity, _)) => Ok(Some(identity)),
            None => Err(Error::unauthorized("the test has no caller with this token")),
        }
    }
}

/// The app of a test.
pub(crate) struct RealtimeApp {
    pub(crate) app: TestApp,
    pub(crate) callers: Callers,
}

impl RealtimeApp {
    pub(crate) async fn start(assemble: impl FnOnce(AppBuilder) -> AppBuilder) -> Self {
        let callers = Callers::default();
        let app = TestApp::start_with_auth(TestDatabase::sqlite(), |app| {
            assemble(app.with(callers.clone()).with(Realtime::from_env().channels(channels())))
        })
        .await;
        Self { app, callers }
    }

    /// Starts a replica of an app that has a Redis. It has callers of its own.
    pub(crate) async fn replica(redis: &TestRedis) -> Self {
        Self::start(|app| app.clock(Clock::system()).set("REDIS_URL", redis.url()).set("REDIS_PREFIX", "test")).await
    }

    pub(crate) fn publisher(&self) -> RealtimePublisher {
        self.app.app().context().get().unwrap()
    }

    /// Publishes numbers to a channel of a tenant.
    pub(crate) async fn publish(&self, tenant: TenantId, channel: &str, numbers: impl IntoIterator<Item = u64>) {
        let publisher = self.publisher();
        for number in numbers {
            let channel = RealtimeChannel::of_tenant(tenant, channel).unwrap();
            publisher.publish(channel, &json!({ "number": number })).await.unwrap();
        }
    }

    /// Serves the app with its background services while the test runs, and shuts it down.
    pub(crate) async fn serve(&self, test: impl AsyncFnOnce(SocketAddr)) {
        self.serve_until(async |address, _| test(address).await).await;
    }

    /// Serves the app like [`serve`](Self::serve), and lets the test begin the shutdown.
    pub(crate) async fn serve_until(&self, test: impl AsyncFnOnce(SocketAddr, &ShutdownToken)) {
        let server = Server::bind(([127, 0, 0, 1], 0).into(), self.app.app().server_settings()).await.unwrap();
        let address = server.local_addr().unwrap();
        let shutdown = ShutdownToken::new();
        let tested = async {
            test(address, &shutdown).await;
            shutdown.cancel();
        };
        let (cut, ()) = tokio::join!(self.app.app().serve(server, shutdown.clone()), tested);
        assert_eq!(cut, 0, "all connections were closed in time");
    }
}

/// A client of the protocol.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    lines: VecDeque<Value>,
    /// Pushes that arrived before a reply.
    pushes: VecDeque<Value>,
    last_id: u32,
}

impl Client {
    /// Opens a connection without a command. Fails with the status of the response.
    pub(crate) async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Self, StatusCode> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            request.headers_mut().insert(name, HeaderValue::try_from(*value).unwrap());
        }
        // With a small buffer, a client that does not read is noticed soon.
        let stream = TcpSocket::new_v4().unwrap();
        stream.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = stream.connect(address).await.unwrap();
        match timeout(TEST_REPLY_TIMEOUT, client_async(request, stream)).await.unwrap() {
            Ok((socket, _)) => Ok(Self { socket, lines: VecDeque::new(), pushes: VecDeque::new(), last_id: 0 }),
            Err(tungstenite::Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a connection and signs in with the connect command.
    pub(crate) async fn connect(address: SocketAddr, token: &str) -> Self {
        let mut client = Self::open(address, SOCKET, &[]).await.unwrap();
        let reply = client.call(json!({ "connect": { "token": token } })).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        client
    }

    /// Waits until the server has read what was sent so far. The time limits of the connection began before.
    pub(crate) async fn is_read(&mut self) {
        self.socket.send(Message::Ping(tungstenite::Bytes::new())).await.unwrap();
        while !matches!(self.raw().await, Message::Pong(_)) {}
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: impl Into<String>) {
        self.socket.send(Message::text(frame.into())).await.unwrap();
    }

    /// Sends a command and returns its reply. Pushes before it are kept.
    pub(crate) async fn call(&mut self, mut command: Value) -> Value {
        self.last_id += 1;
        command["id"] = self.last_id.into();
        self.send(command.to_string()).await;
        loop {
            let line = self.line().await;
            if line["id"] == self.last_id {
                return line;
            }
            self.pushes.push_back(line);
        }
    }

    /// Subscribes to a channel and returns the result.
    pub(crate) async fn subscribe(&mut self, channel: &str) -> Value {
        let reply = self.call(json!({ "subscribe": { "channel": channel } })).await;
        assert!(reply["subscribe"].is_object(), "{reply}");
        reply["subscribe"].clone()
    }

    /// Returns the next push.
    pub(crate) async fn push(&mut self) -> Value {
        let line = match self.pushes.pop_front() {
            Some(push) => push,
            None => self.line().await,
        };
        assert!(line["push"].is_object(), "{line}");
        line["push"].clone()
    }

    /// Returns the number in the next publication.
    pub(crate) async fn number(&mut self) -> u64 {
        loop {
            let push = self.push().await;
            if let Some(number) = push["pub"]["data"]["number"].as_u64() {
                return number;
            }
        }
    }

    /// Returns the next line, and answers pings.
    pub(crate) async fn line(&mut self) -> Value {
        loop {
            match self.lines.pop_front() {
                Some(ping) if ping == json!({}) => self.send("{}").await,
                Some(line) => return line,
                None => match self.message().await {
                    Some(Message::Text(frame)) => {
                        self.lines.extend(frame.lines().map(|line| serde_json::from_str(line).unwrap()));
                    }
                    other => panic!("the server sent {other:?}"),
                },
            }
        }
    }

    /// Reads until the server closes the connection, and returns the code.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match self.message().await {
                Some(Message::Close(Some(frame))) => return frame.code.into(),
                Some(Message::Text(_) | Message::Ping(_)) => {}
                other => panic!("the server sent {other:?}"),
            }
        }
    }

    /// Returns the next message of any kind, without an answer to a ping of the protocol.
    pub(crate) async fn raw(&mut self) -> Message {
        self.message().await.unwrap()
    }

    async fn message(&mut self) -> Option<Message> {
        timeout(TEST_REPLY_TIMEOUT, self.socket.next()).await.unwrap().map(Result::unwrap)
    }
}

/// The events of a stream.
#[derive(Debug)]
pub(crate) struct EventReader {
    pub(crate) headers: HeaderMap,
    body: Body,
    text: String,
}

/// An event, with the fields that it has.
#[derive(Debug, Default)]
pub(crate) struct ServerEvent {
    pub(crate) id: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) data: Value,
}

impl EventReader {
    /// Opens an event stream. Fails with the status of the response.
    pub(crate) async fn open(test: &RealtimeApp, path: &str, headers: &[(&str, &str)]) -> Result<Self, StatusCode> {
        let mut request = http::Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let Ok(response) = test.app.app().service().oneshot(request).await;
        if response.status() != StatusCode::OK {
            return Err(response.status());
        }
        let (parts, body) = response.into_parts();
        Ok(Self { headers: parts.headers, body, text: String::new() })
    }

    /// Returns the next event, or `None` at the end of the stream.
    pub(crate) async fn event(&mut self) -> Option<ServerEvent> {
        let end = loop {
            if let Some(end) = self.text.find("\n\n") {
                break end;
            }
            let frame = timeout(TEST_REPLY_TIMEOUT, self.body.frame()).await.unwrap()?.unwrap();
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        };
        let rest = self.text.split_off(end + 2);
        let text = std::mem::replace(&mut self.text, rest);
        let mut event = ServerEvent::default();
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("event", kind)) => event.kind = Some(kind.to_owned()),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                _ => {}
            }
        }
        Some(event)
    }
}
