//! Tests that changes of rights reach open connections, and that clients which reconnect cause no queries.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderName, HeaderValue};
use omnistack::{
    ExposeSecret as _, ShutdownToken,
    auth::{
        model::Device,
        session::{NewSession, Sessions, TokenPair},
        users::CreatedUser,
    },
    db::{QueryEvent, QueryObserver},
    identity::{TenantId, UserId},
    realtime::{RealtimeChannel, RealtimePublisher},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::disabled_webhook::{sign_in, user};

/// Longest time until a change has reached an open connection.
const MAX_REACH_TIME: Duration = Duration::from_secs(1);
/// Most attempts of a change. In the first attempt, the app may not follow changes yet; further ones are for busy
/// machines.
const MAX_ATTEMPTS: u32 = 5;
/// Interval at which a client publishes until it is refused.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);
/// Longest time that a test waits for the server.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// Number of clients that reconnect.
const CLIENTS: u64 = 30;

/// A connection that is subscribed to a channel.
struct LiveSocket {
    socket: WebSocketStream<TcpStream>,
    /// The result of the command `subscribe`.
    subscribed: Value,
    last_id: u64,
}

impl LiveSocket {
    /// Connects with the credentials in a header, and subscribes to a channel.
    async fn open(address: SocketAddr, header: (&'static str, &str), subscribe: Value) -> Self {
        let mut request = format!("ws://{address}/api/v1/app/ws").into_client_request().unwrap();
        let (name, value) = (HeaderName::from_static(header.0), HeaderValue::try_from(header.1).unwrap());
        request.headers_mut().insert(name, value);
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, _) = timeout(REPLY_TIMEOUT, client_async(request, stream)).await.unwrap().unwrap();
        let mut live = Self { socket, subscribed: Value::Null, last_id: 0 };
        let connected = live.call(json!({ "connect": {} })).await;
        assert!(connected["connect"].is_object(), "{connected}");
        let subscribed = live.call(json!({ "subscribe": subscribe })).await;
        assert!(subscribed["subscribe"].is_object(), "{subscribed}");
        live.subscribed = subscribed["subscribe"].clone();
        live
    }

    async fn message(&mut self) -> Message {
        timeout(REPLY_TIMEOUT, self.socket.next()).await.unwrap().unwrap().unwrap()
    }

    /// Sends a command and returns its reply.
    async fn call(&mut self, mut command: Value) -> Value {
        self.last_id += 1;
        command["id"] = self.last_id.into();
        self.socket.send(Message::text(command.to_string())).await.unwrap();
        loop {
            let Message::Text(frame) = self.message().await else { panic!("the server has closed the connection") };
            let mut lines = frame.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            if let Some(reply) = lines.find(|line| line["id"] == self.last_id) {
                return reply;
            }
        }
    }

    /// Reads until the server closes the connection. Returns the close code.
    async fn closed(&mut self) -> u64 {
        loop {
            if let Message::Close(Some(frame)) = self.message().await {
                return u16::from(frame.code).into();
            }
        }
    }

    /// Publishes until the server refuses a message. Returns the code of the error.
    async fn refused(&mut self) -> u64 {
        let mut interval = tokio::time::interval(PUBLISH_INTERVAL);
        loop {
            interval.tick().await;
            let reply = self.call(json!({ "publish": { "channel": "room:1", "data": { "text": "hi" } } })).await;
            if let Some(code) = reply["error"]["code"].as_u64() {
                return code;
            }
        }
    }
}

/// A change of the rights of a member of a team.
#[derive(Clone, Copy, Debug)]
enum Change {
    SignOut,
    EndSession,
    RevokeKey,
    RemoveMember,
    LowerRole,
}

/// A team with an owner and a member.
struct Team<'a> {
    app: &'a TestApp,
    address: SocketAddr,
    id: TenantId,
    owner: TestClient,
    member: UserId,
}

impl Team<'_> {
    /// Gives the member the role `admin`.
    async fn add_member(&self) {
        let mut tx = self.app.db().tenant(self.id).begin().await.unwrap();
        let sql = "insert into omni_members (tenant_id, user_id, role, created_at) values ($1, $2, 'admin', $3)
            on conflict (tenant_id, user_id) do update set role = 'admin'";
        let add = tx.query(sql).bind(self.id).bind(self.member).bind(self.app.clock().clock().now());
        add.execute().await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Signs the member in to the team.
    async fn sign_in(&self) -> (TokenPair, TestClient) {
        let tokens = session_of(self.app, self.member, self.id).await;
        let client = self.app.client_with_token(tokens.access.expose_secret());
        (tokens, client)
    }

    async fn connect(&self, tokens: &TokenPair) -> LiveSocket {
        let bearer = format!("Bearer {}", tokens.access.expose_secret());
        LiveSocket::open(self.address, ("authorization", &bearer), json!({ "channel": "run:1" })).await
    }

    /// Makes a change while the member is connected. Returns the code that the client gets, or `None` if the client
    /// gets no code in time.
    async fn reach(&self, change: Change) -> Option<u64> {
        self.add_member().await;
        let (tokens, member) = self.sign_in().await;
        let member_path = format!("/api/v1/app/teams/{}/members/{}", self.id, self.member);
        let mut socket = match change {
            Change::RevokeKey => {
                let key = json!({ "name": "robot", "scopes": ["projects:read"] });
                let key = member.post("/api/v1/app/api-keys", key).await.expect(201).json();
                let secret = key["secret"].as_str().unwrap();
                let live = LiveSocket::open(self.address, ("x-api-key", secret), json!({ "channel": "run:1" })).await;
                let id = key["id"].as_str().unwrap();
                member.delete(format!("/api/v1/app/api-keys/{id}")).await.expect(204);
                live
            }
            Change::SignOut => {
                let live = self.connect(&tokens).await;
                let body = json!({ "refresh_token": tokens.refresh.expose_secret() });
                self.app.anonymous().post("/api/v1/public/auth/logout", body).await.expect(204);
                live
            }
            Change::EndSession => {
                let live = self.connect(&tokens).await;
                let (_, other) = self.sign_in().await;
                other.delete(format!("/api/v1/app/auth/sessions/{}", tokens.session)).await.expect(204);
                live
            }
            Change::RemoveMember => {
                let live = self.connect(&tokens).await;
                self.owner.delete(&member_path).await.expect(204);
                live
            }
            Change::LowerRole => {
                let live = self.connect(&tokens).await;
                self.owner.patch(&member_path, json!({ "role": "viewer" })).await.expect(200);
                live
            }
        };
        let notified = async {
            match change {
                Change::LowerRole => socket.refused().await,
                _ => socket.closed().await,
            }
        };
        timeout(MAX_REACH_TIME, notified).await.ok()
    }
}

async fn session_of(app: &TestApp, user: UserId, tenant: TenantId) -> TokenPair {
    let sessions: Sessions = app.app().context().get().unwrap();
    let mut tx = app.db().begin().await.unwrap();
    let session = NewSession::new(user, Device::default()).for_tenant(tenant);
    let tokens = sessions.create_in(&mut tx, session).await.unwrap();
    tx.commit().await.unwrap();
    tokens
}

/// An observer that counts statements.
struct QueryCount(Arc<AtomicU64>);

impl QueryObserver for QueryCount {
    fn observe(&self, _: QueryEvent<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

on_each_database! {
    async fn a_change_of_rights_reaches_an_open_connection_within_a_second(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let server = app.listen_with_defaults().await;
        let (ada, eva) = (user(&app, "ada@example.com").await, user(&app, "eva@example.com").await);
        let founder = sign_in(&app, ada).await;
        let team = founder.post("/api/v1/app/teams", json!({ "name": "Rockets" })).await.expect(201).json();
        let id: TenantId = team["id"].as_str().unwrap().parse().unwrap();
        let owner = app.client_with_token(session_of(&app, ada.user, id).await.access.expose_secret());
        let team = Team { app: &app, address: server.address, id, owner, member: eva.user };
        let shutdown = ShutdownToken::new();
        let changes = async {
            for (change, expected) in [
                (Change::LowerRole, 103),
                (Change::SignOut, 3500),
                (Change::EndSession, 3500),
                (Change::RevokeKey, 3500),
                // The client reconnects, without the tenant.
                (Change::RemoveMember, 3011),
            ] {
                let mut attempts = 1;
                let code = loop {
                    if let Some(code) = team.reach(change).await {
                        break code;
                    }
                    assert!(attempts < MAX_ATTEMPTS, "{change:?} reaches no connection within a second");
                    attempts += 1;
                };
                assert_eq!(code, expected, "{change:?}");
            }
            shutdown.cancel();
        };
        tokio::join!(app.app().run_workers(shutdown.clone()), changes);
    }

    async fn clients_that_reconnect_cause_less_than_a_query_each(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let server = app.listen_with_defaults().await;
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let CreatedUser { user, tenant } = user(&app, &format!("user-{number}@example.com")).await;
            let bearer = format!("Bearer {}", session_of(&app, user, tenant).await.access.expose_secret());
            let live = LiveSocket::open(server.address, ("authorization", &bearer), json!({ "channel": "run:1" })).await;
            clients.push((tenant, bearer, live.subscribed));
        }
        let publisher: RealtimePublisher = app.app().context().get().unwrap();
        for (tenant, ..) in &clients {
            let run = RealtimeChannel::of_tenant(*tenant, "run:1").unwrap();
            publisher.publish(run, &"while away").await.unwrap();
        }
        let queries = Arc::new(AtomicU64::new(0));
        app.db().observe(QueryCount(Arc::clone(&queries)));
        for (_, bearer, before) in &clients {
            let position = json!({ "channel": "run:1", "recover": true, "epoch": before["epoch"] });
            let live = LiveSocket::open(server.address, ("authorization", bearer), position).await;
            let recovered = &live.subscribed;
            assert_eq!(recovered["recovered"], true, "{recovered}");
            assert_eq!(recovered["publications"][0]["data"], "while away");
        }
        let queries = queries.load(Ordering::SeqCst);
        assert!(queries < CLIENTS, "{queries} queries of {CLIENTS} clients");
    }
}
