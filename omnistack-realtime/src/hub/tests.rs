//! Tests of the hub with sessions that have no transport.

mod codes;
mod delivery;
mod fake_engine;
mod identities;
mod interleavings;
mod limits;
mod presence;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use http::request::Parts;
use omnistack_core::{
    cache::Cache,
    clock::MockClock,
    config::Config,
    crypto::KeyRing,
    db::{self, Tx},
    http::{Error, StatusCode},
    identity::{Authenticate, Authenticator, Identity, TenantId, UserId, bearer_token},
    realtime::{RealtimeChannel, RealtimeMessage},
    usage::{Decimal, UsageEvent, UsageRecorder, UsageSink},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Hub, HubParts, OutboundItem, OutboundReader, Session, SessionOrigin, Transport, lock};
use crate::{
    channel::{ChannelRule, Channels},
    engine::{Engine, MemoryEngine},
    procedures::Procedures,
    protocol::CloseCode,
    sign_in::{Credential, SignIn},
};

const TENANT: &str = "0190a7c8-0000-7000-8000-0000000000aa";
const ALICE: &str = "0190a7c8-0000-7000-8000-000000000001";
const BOB: &str = "0190a7c8-0000-7000-8000-000000000002";

/// The identities of tokens. A token that is not there is refused. The token `slow` waits until the test goes on.
#[derive(Clone, Default)]
struct Users(Arc<Mutex<HashMap<String, Result<Identity, StatusCode>>>>, Arc<Notify>);

#[async_trait]
impl Authenticate for Users {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let Some(token) = bearer_token(request) else { return Ok(None) };
        if token == "slow" {
            self.1.notified().await;
        }
        match lock(&self.0).get(token) {
            Some(Ok(identity)) => Ok(Some(identity.clone())),
            Some(Err(status)) => Err(Error::new(*status, "REFUSED", "refused")),
            None => Err(Error::unauthorized("unknown token")),
        }
    }
}

impl Users {
    fn set(&self, token: &str, identity: Result<Identity, StatusCode>) {
        lock(&self.0).insert(token.to_owned(), identity);
    }
}

/// The amounts that were recorded as used.
#[derive(Clone, Default)]
struct UsedAmounts(Arc<Mutex<Vec<Decimal>>>);

#[async_trait]
impl UsageRecorder for UsedAmounts {
    fn count(&self, event: UsageEvent) {
        lock(&self.0).push(event.quantity);
    }

    async fn record_in(&self, _: &mut Tx, _: Vec<UsageEvent>) -> Result<(), db::Error> {
        Ok(())
    }
}

/// A hub with two users of a tenant, whose tokens are `alice` and `bob`, and a reader, `carol`.
struct TestHub {
    hub: Hub,
    clock: MockClock,
    users: Users,
    used: UsedAmounts,
}

fn tenant() -> TenantId {
    TENANT.parse().unwrap()
}

fn member(user: &str, permissions: &str) -> Identity {
    let user: UserId = user.parse().unwrap();
    Identity::user(user).for_tenant(tenant()).with_permissions(permissions.parse().unwrap())
}

fn rules() -> Channels {
    let day = Duration::from_secs(86_400);
    Channels::new()
        .rule(
            ChannelRule::new("room:{id}")
                .subscribe(|caller, _| caller.can("rooms:read"))
                .publish(|caller, _| caller.can("rooms:write"))
                .on_publish(|_, _, message| match message["text"].as_str() {
                    Some(text) => Ok(json!({ "text": text.to_uppercase() })),
                    None => Err("send a text".to_owned()),
                })
                .history(1000, day)
                .join_leave(),
        )
        .rule(ChannelRule::new("progress:{id}").subscribe(|_, _| true).latest_value())
        .rule(ChannelRule::new("plain:{id}").subscribe(|_, _| true).without_history())
        .allow("run:{id}", |caller, _| caller.can("rooms:read"))
        .allow("secret:{id}", |_, _| false)
        .allow("broken:{id}", |_, _| panic!("a mistake in the app"))
}

impl TestHub {
    fn start(settings: &[(&str, &str)]) -> Self {
        let clock = start_of_2030();
        Self::with_engine(Arc::new(MemoryEngine::new(clock.clock())), &clock, settings)
    }

    fn with_engine(engine: Arc<dyn Engine>, clock: &MockClock, settings: &[(&str, &str)]) -> Self {
        let (users, used) = (Users::default(), UsedAmounts::default());
        users.set("alice", Ok(member(ALICE, "rooms:*")));
        users.set("bob", Ok(member(BOB, "rooms:*")));
        users.set("carol", Ok(member("0190a7c8-0000-7000-8000-000000000003", "projects:read")));
        let keys: KeyRing = KeyRing::new_key("test").parse().unwrap();
        let cache = Cache::in_process(1 << 20, clock.clock());
        let hub = Hub::new(HubParts {
            settings: Config::from_pairs(settings.iter().copied()).read_settings().unwrap(),
            channels: rules(),
            procedures: Procedures::default(),
            engine,
            clock: clock.clock(),
            app_version: "1.2.3".to_owned(),
            usage: UsageSink::new(used.clone()),
            sign_in: SignIn::new(Authenticator::new(users.clone()), cache, keys, clock.clock()),
        });
        Self { hub, clock: clock.clone(), users, used }
    }

    fn open(&self) -> TestClient {
        self.try_open(Transport::WebSocket, &[]).unwrap()
    }

    fn try_open(&self, transport: Transport, server_channels: &[&str]) -> Result<TestClient, CloseCode> {
        let (request, ()) = http::Request::new(()).into_parts();
        self.try_open_as(SessionOrigin {
            transport,
            address: Some("192.0.2.7".parse().unwrap()),
            base: Credential::from_request(&request),
            caller: None,
            identity_changes: self.hub.identity_changes(),
            server_channels: server_channels.iter().map(|&name| name.to_owned()).collect(),
        })
    }

    fn try_open_as(&self, origin: SessionOrigin) -> Result<TestClient, CloseCode> {
        let (session, reader) = Session::open(&self.hub, origin)?;
        Ok(TestClient { session, reader, lines: VecDeque::new(), closed: None, last_id: 0 })
    }

    /// Opens a connection and signs it in.
    async fn connect(&self, token: &str) -> TestClient {
        let mut client = self.open();
        let reply = client.command("connect", json!({ "token": token })).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        client
    }

    async fn publish(&self, name: &str, data: Value) {
        let channel = RealtimeChannel::of_tenant(tenant(), name).unwrap();
        self.hub.publish(RealtimeMessage::new(channel, &data).unwrap(), None).await.unwrap();
    }

    /// Moves the clock second by second, as the service of the hub does.
    async fn advance(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.hub.tick(self.clock.clock().now()).await;
            settle().await;
        }
    }
}

/// A client without a transport.
struct TestClient {
    session: Session,
    reader: OutboundReader,
    lines: VecDeque<Value>,
    closed: Option<CloseCode>,
    last_id: u32,
}

impl TestClient {
    /// Sends a command, and returns its reply. Pushes before the reply remain for [`next`](Self::next).
    async fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut command = json!({ "id": id });
        command[method] = parameters;
        self.closed = self.session.handle(&command.to_string()).await.err();
        self.read();
        let index = self.lines.iter().position(|line| line["id"] == id);
        index.and_then(|index| self.lines.remove(index)).unwrap_or_default()
    }

    async fn subscribe(&mut self, channel: &str) -> Value {
        let reply = self.command("subscribe", json!({ "channel": channel })).await;
        assert!(reply["subscribe"].is_object(), "{reply}");
        reply["subscribe"].clone()
    }

    /// Subscribes from the position of an earlier result.
    async fn recover(&mut self, channel: &str, epoch: &Value, offset: u64) -> Value {
        let parameters = json!({ "channel": channel, "recover": true, "epoch": epoch, "offset": offset });
        self.command("subscribe", parameters).await["subscribe"].clone()
    }

    /// Takes the frames that wait.
    fn read(&mut self) {
        while let Some(item) = self.reader.next().now_or_never() {
            match item {
                OutboundItem::Frames(frames) => {
                    self.lines.extend(frames.iter().map(|frame| serde_json::from_slice::<Value>(frame).unwrap()));
                }
                OutboundItem::Close(code) => {
                    self.closed = Some(code);
                    return;
                }
            }
        }
    }

    /// Returns the next line that waits, or `Value::Null`.
    fn next(&mut self) -> Value {
        self.read();
        self.lines.pop_front().unwrap_or_default()
    }

    /// Returns all lines that wait.
    fn rest(&mut self) -> Vec<Value> {
        self.read();
        self.lines.drain(..).collect()
    }

    /// Returns the data of the messages that wait.
    fn messages(&mut self) -> Vec<Value> {
        let lines = self.rest();
        lines
            .iter()
            .filter(|line| line["push"]["pub"].is_object())
            .map(|line| line["push"]["pub"]["data"].clone())
            .collect()
    }

    fn closed(&mut self) -> Option<CloseCode> {
        self.read();
        self.closed
    }
}

fn start_of_2030() -> MockClock {
    MockClock::at("2030-01-01T00:00:00Z".parse().unwrap())
}

/// Lets the tasks of the hub run.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
