//! The server process: an app whose callers are named by their tokens. It prints its address, and publishes what it
//! reads: on each line a channel, and after a space the size of the message if it is a large one. The line `?` asks for
//! the number of queries of the database so far.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::request::Parts;
use omnistack_core::{
    ShutdownToken,
    app::{App, Server},
    async_trait,
    clock::Clock,
    config::Config,
    db::{QueryEvent, QueryObserver},
    http::Error,
    id::Id,
    identity::{Authenticate, Authenticator, Identity, Permissions, TenantId, bearer_token},
    module::{Module, Registry},
    realtime::{RealtimeChannel, RealtimePublisher},
};
use omnistack_realtime::{ChannelRule, Channels, Realtime};
use serde_json::json;
use uuid::Uuid;

use crate::process::{LISTENING, QUERIES, lines_of_input, micros};

/// The tenant of all callers.
fn tenant() -> TenantId {
    Id::from_uuid(Uuid::from_u128(1))
}

/// Callers whose token is the id of the user.
struct NamedCallers;

impl Module for NamedCallers {
    fn name(&self) -> &'static str {
        "bench-callers"
    }

    fn register(&self, registry: &mut Registry) {
        registry.provide(Authenticator::new(Self));
    }
}

#[async_trait]
impl Authenticate for NamedCallers {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let Some(token) = bearer_token(request) else { return Ok(None) };
        let user: Uuid = token.parse().map_err(|_| Error::unauthorized("the token is not the id of a user"))?;
        let caller = Identity::user(Id::from_uuid(user)).for_tenant(tenant());
        Ok(Some(caller.with_permissions(Permissions::all())))
    }
}

/// Counts the statements.
struct CountQueries(Arc<AtomicU64>);

impl QueryObserver for CountQueries {
    fn observe(&self, _: QueryEvent<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves until the input ends.
pub(crate) async fn run(database: &str, redis: Option<&str>) {
    let config = Config::from_pairs([
        ("APP_ENV", "development"),
        ("DATABASE_URL", database),
        ("HTTP_RATE_LIMIT", "off"),
        ("REALTIME_MAX_CONNECTIONS_PER_ADDRESS", "0"),
        ("REALTIME_DRAIN", "0s"),
    ]);
    let rooms = ChannelRule::new("room:{id}").subscribe(|_, _| true);
    let realtime = Realtime::from_env().channels(Channels::new().rule(rooms));
    let mut builder = App::builder(config).clock(Clock::system()).with(NamedCallers).with(realtime);
    if let Some(redis) = redis {
        builder = builder.set("REDIS_URL", redis).set("REDIS_PREFIX", "bench-realtime");
    }
    let app = builder.build().unwrap();
    app.migrate().await.unwrap();
    app.start().await.unwrap();
    let queries = Arc::new(AtomicU64::new(0));
    app.db().observe(CountQueries(Arc::clone(&queries)));
    let publisher: RealtimePublisher = app.context().get().unwrap();
    let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), app.server_settings()).await.unwrap();
    println!("{LISTENING}{}", server.local_addr().unwrap());
    let shutdown = ShutdownToken::new();
    let publishing = async {
        let mut lines = lines_of_input();
        while let Some(line) = lines.recv().await {
            if line == QUERIES {
                println!("{}", queries.load(Ordering::Relaxed));
                continue;
            }
            let (channel, bytes) = line.split_once(' ').unwrap_or((line.as_str(), "0"));
            let channel = RealtimeChannel::of_tenant(tenant(), channel).unwrap();
            let message = match bytes.parse::<usize>().unwrap() {
                0 => json!({ "at": micros() }),
                bytes => json!({ "at": micros(), "padding": "x".repeat(bytes) }),
            };
            publisher.publish(channel, &message).await.unwrap();
        }
        shutdown.cancel();
    };
    tokio::join!(app.serve(server, shutdown.clone()), publishing);
}
