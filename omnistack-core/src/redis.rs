//! Redis, for what several replicas share: the only room that knows the client.
//!
//! One connection serves every command and another hears messages; both are opened with their first use and again whenever
//! they are lost. Redis 6 or newer, one primary (scripts use several keys at once, so no Redis Cluster).
//!
//! # Away
//!
//! Redis is away when there is no connection, or when it does not answer within `REDIS_COMMAND_TIMEOUT`. From then on
//! nobody waits: every use is refused at once, until a look in the background, every half second at most, finds it
//! answering. The log has one line when it goes and one when it is back.

mod absence;
mod broker;
mod cache;
mod limits;
mod link;
mod script;

use std::{fmt, sync::Arc, time::Duration};

use fred::{
    interfaces::ClientLike as _,
    types::{
        Builder, RespVersion,
        config::{Config as FredConfig, ReconnectPolicy, UnresponsiveConfig},
    },
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    app::{BoxError, Registry},
    cache::Cache,
    clock::Clock,
    http::RateLimits,
    pubsub::Publisher,
};
use broker::RedisBroker;
use cache::RedisStore;
use limits::RedisLimits;
use link::Link;

crate::section! {
    /// Redis.
    pub struct RedisSettings {
        /// `redis://host:6379` or `rediss://…` with TLS. Absent, everything stays in this process: for one replica.
        pub url: Option<SecretString> = "REDIS_URL";
        /// How long a command may take. One that takes longer may still run: its outcome is unknown, not failed.
        pub command_timeout: Duration = "REDIS_COMMAND_TIMEOUT", default "2s", range "1ms"..="1m";
        /// How long a request may wait to be counted. If that is not enough, rates are counted in this process until Redis
        /// answers in that time.
        pub rate_limit_timeout: Duration = "REDIS_RATE_LIMIT_TIMEOUT", default "100ms", range "1ms"..="1m";
        /// What the names of all keys and channels begin with. Apps that share a Redis need different ones.
        pub prefix: String = "REDIS_PREFIX", default "omnistack";
    }
}

/// The app's connection to Redis. Cheap to clone; reconnects by itself.
///
/// ```no_run
/// # use omnistack_core::{clock::Clock, redis::Redis};
/// # use std::time::Duration;
/// let redis = Redis::new("redis://127.0.0.1:6379", "shop", Duration::from_secs(2), Clock::system())?;
/// let (cache, publisher) = (redis.cache(), redis.publisher()?);
/// # Ok::<(), omnistack_core::app::BoxError>(())
/// ```
#[derive(Clone)]
pub struct Redis(Arc<Link>, Arc<Origin>);

/// Where it is, and whose names it uses.
struct Origin {
    builder: Builder,
    prefix: String,
}

impl Redis {
    /// Prepares connections, opened when they are first used. `prefix` begins the name of every key and channel.
    ///
    /// # Errors
    /// The URL can't be used.
    pub fn new(url: &str, prefix: &str, command_timeout: Duration, clock: Clock) -> Result<Self, BoxError> {
        const EXPECTED: &str = "expected redis://host:port or rediss://host:port";
        if !["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(EXPECTED.into());
        }
        let mut config = FredConfig::from_url(url).map_err(|_| EXPECTED)?;
        // Commands are answered, and the connection asked whether it is alive, while it listens to channels.
        config.version = RespVersion::RESP3;
        let mut builder = Builder::from_config(config);
        builder
            .with_performance_config(|performance| {
                performance.default_command_timeout = command_timeout;
                performance.broadcast_channel_capacity = 4096;
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = Duration::from_secs(5);
                connection.internal_command_timeout = Duration::from_secs(5);
                // Nothing is kept for later while Redis is away: whoever asks has a way to go on without it.
                connection.max_command_attempts = 1;
                // A peer that vanished without a word.
                connection.unresponsive = UnresponsiveConfig {
                    max_timeout: Some(command_timeout.max(Duration::from_secs(1)) * 5),
                    interval: Duration::from_secs(1),
                };
            })
            // For ever, from 100 ms to 2 s between attempts.
            .set_policy(ReconnectPolicy::new_exponential(0, 100, 2_000, 2));
        let link = Link::new(builder.build()?, command_timeout, clock);
        Ok(Self(link, Arc::new(Origin { builder, prefix: prefix.into() })))
    }

    /// Opens the connection now, not with the first use.
    ///
    /// # Errors
    /// Redis is away. It is connected to as soon as it is there.
    pub async fn connect(&self) -> Result<(), BoxError> {
        Ok(Box::pin(self.0.ready()).await?)
    }

    /// Asks for an answer and returns how long it took.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn ping(&self) -> Result<Duration, BoxError> {
        let before = self.0.clock().elapsed();
        self.0.run(Box::pin(self.0.commands().ping::<()>(None))).await?;
        Ok(self.0.clock().elapsed().saturating_sub(before))
    }

    /// A cache in Redis, for all replicas. Its clones compute a value together without asking Redis who does: make one.
    pub fn cache(&self) -> Cache {
        Cache::new(RedisStore::new(self.clone()))
    }

    /// Messages through Redis, to all replicas. Each has a connection of its own to listen with: make one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn publisher(&self) -> Result<Publisher, BoxError> {
        Ok(Publisher::new(RedisBroker::new(self.clone(), self.1.builder.build_subscriber_client()?)))
    }

    /// Rates counted for all replicas, by Redis' own clock. Who waits for longer than `timeout` is counted in this process,
    /// and so is everybody after until Redis answers in that time. With a [`MockClock`](crate::clock::MockClock) rates go by
    /// that.
    pub fn rate_limits(&self, timeout: Duration) -> RateLimits {
        RateLimits::shared(RedisLimits::new(self.clone(), timeout), self.0.clock().clone())
    }

    /// The name of a key or channel of a kind.
    fn name(&self, kind: &str, name: &str) -> String {
        let prefix = &self.1.prefix;
        let mut full = String::with_capacity(prefix.len() + kind.len() + name.len() + 2);
        for part in [prefix, ":", kind, ":", name] {
            full.push_str(part);
        }
        full
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redis")
    }
}

/// With `REDIS_URL`: the connection for every module, and a health check; and what the app's cache, messages and
/// rates go through.
pub(crate) fn register(registry: &mut Registry) -> Option<(Cache, Publisher, RateLimits)> {
    let settings = registry.config::<RedisSettings>()?;
    let Some(url) = settings.url else {
        registry.banner("redis", || "none: one replica (set REDIS_URL to run several)".into());
        return None;
    };
    let redis = Redis::new(url.expose_secret(), &settings.prefix, settings.command_timeout, registry.clock());
    let made = redis.and_then(|redis| {
        let publisher = redis.publisher()?;
        Ok((redis, publisher))
    });
    match made {
        Err(error) => {
            registry.problem(format!("`REDIS_URL`: {error}"), "set it to redis://host:6379, or unset it");
            None
        }
        Ok((redis, publisher)) => {
            let (cache, limits) = (redis.cache(), redis.rate_limits(settings.rate_limit_timeout));
            let checked = redis.clone();
            registry
                .provide(redis.clone())
                .banner("redis", || "as REDIS_URL says".into())
                .health_optional("redis", move |_| {
                    Ok(move || {
                        let redis = checked.clone();
                        async move { redis.ping().await.map(drop) }
                    })
                })
                // Connected before the first request needs it; whether it succeeds is for the health check to say.
                .service("redis", move |_| {
                    Ok(move |_: crate::app::Shutdown| {
                        let redis = redis.clone();
                        async move {
                            _ = redis.connect().await;
                            Ok(())
                        }
                    })
                });
            Some((cache, publisher, limits))
        }
    }
}
