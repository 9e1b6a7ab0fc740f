//! Redis, for state that replicas share: the only module that uses the Redis client.
//!
//! One connection is used for all commands, and another one for the subscriptions of each [`PubSub`] and
//! [`RedisSubscriber`]. They are opened when they are first used, and again whenever they are lost. Redis 6 or
//! newer is required, with one primary: scripts use several keys at once, so Redis Cluster is not supported.
//!
//! # Outages
//!
//! Redis is unavailable if there is no connection, or if it does not respond within `REDIS_COMMAND_TIMEOUT`.
//! From then on no caller waits: every use fails immediately, until a check in the background, at least every
//! half second, gets a response. If Redis becomes unavailable again within 30 seconds, checks are less
//! frequent, up to 5 seconds apart. The beginning and the end of an outage are logged once each.

mod broker;
mod cache;
mod connection;
mod limits;
mod script;
mod settings;
mod subscriber;

use std::{fmt, sync::Arc, time::Duration};

use fred::{
    interfaces::ClientLike as _,
    types::{
        Builder, RespVersion,
        config::{Config as FredConfig, ReconnectPolicy, UnresponsiveConfig},
    },
};
use secrecy::ExposeSecret as _;

use crate::{
    BoxError,
    cache::{Cache, Error},
    clock::Clock,
    http::RateLimits,
    module::Registry,
    pubsub::PubSub,
};
use broker::RedisBroker;
use cache::RedisStore;
use connection::RedisConnection;
use limits::RedisLimits;

pub use script::{RedisValue, Script};
pub use settings::RedisSettings;
pub use subscriber::{RedisListener, RedisSubscriber};

/// Kind of the keys and topics of scripts.
const SCRIPT_KIND: &str = "s";

/// The app's connection to Redis. Cheap to clone; reconnects automatically.
///
/// ```no_run
/// # use omnistack_core::{clock::Clock, redis::Redis};
/// # use std::time::Duration;
/// let redis = Redis::new("redis://127.0.0.1:6379", "shop", Duration::from_secs(2), Clock::system())?;
/// let (cache, publisher) = (redis.cache(), redis.publisher()?);
/// # Ok::<(), omnistack_core::BoxError>(())
/// ```
#[derive(Clone)]
pub struct Redis(Arc<RedisConnection>, Arc<RedisConfig>);

/// Configuration of the connections, and the prefix of names.
struct RedisConfig {
    builder: Builder,
    prefix: String,
}

impl Redis {
    /// Prepares connections, which are opened when they are first used. `prefix` is the beginning of all keys
    /// and channels.
    ///
    /// # Errors
    ///
    /// Fails if the URL is invalid.
    pub fn new(url: &str, prefix: &str, command_timeout: Duration, clock: Clock) -> Result<Self, BoxError> {
        const EXPECTED: &str = "expected redis://host:port or rediss://host:port";
        if !["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(EXPECTED.into());
        }
        let mut config = FredConfig::from_url(url).map_err(|_| EXPECTED)?;
        // RESP3 allows commands, and pings that check the connection, on a connection with subscriptions.
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
                // No commands are queued while Redis is unavailable: all callers can continue without it.
                connection.max_command_attempts = 1;
                // Detects a server that vanished without closing the connection.
                connection.unresponsive = UnresponsiveConfig {
                    max_timeout: Some(command_timeout.max(Duration::from_secs(1)) * 5),
                    interval: Duration::from_secs(1),
                };
            })
            // Reconnects without a limit, with 100 ms to 2 s between attempts.
            .set_policy(ReconnectPolicy::new_exponential(0, 100, 2_000, 2));
        let link = RedisConnection::new(builder.build()?, command_timeout, clock);
        Ok(Self(link, Arc::new(RedisConfig { builder, prefix: prefix.into() })))
    }

    /// Opens the connection now instead of at the first use.
    ///
    /// # Errors
    ///
    /// Fails if Redis is unavailable. The connection is then opened as soon as Redis is available.
    pub async fn connect(&self) -> Result<(), BoxError> {
        Ok(Box::pin(self.0.ready()).await?)
    }

    /// Sends a ping and returns how long the response took.
    ///
    /// # Errors
    ///
    /// Fails if Redis is unavailable.
    pub async fn ping(&self) -> Result<Duration, BoxError> {
        let before = self.0.clock().elapsed();
        self.0.run("PING", Box::pin(self.0.commands().ping::<()>(None))).await?;
        Ok(self.0.clock().elapsed().saturating_sub(before))
    }

    /// Creates a cache in Redis, shared by all replicas. Clones of one cache share computations without asking
    /// Redis, so create only one per process.
    pub fn cache(&self) -> Cache {
        Cache::new(RedisStore::new(self.clone()))
    }

    /// Creates a publisher that sends messages through Redis to all replicas. Each one opens its own connection
    /// for subscriptions, so create only one per process.
    ///
    /// # Errors
    ///
    /// Fails if the client can't be built from the URL.
    pub fn publisher(&self) -> Result<PubSub, BoxError> {
        Ok(PubSub::new(RedisBroker::new(self.clone(), self.1.builder.build_subscriber_client()?)))
    }

    /// Creates rate limits that are counted for all replicas, by the clock of Redis. If counting takes longer
    /// than `timeout`, requests are counted in this process until Redis responds within that time again. With a
    /// [`MockClock`](crate::clock::MockClock), that clock is used instead.
    pub fn rate_limits(&self, timeout: Duration) -> RateLimits {
        RateLimits::shared(RedisLimits::new(self.clone(), timeout), self.0.clock().clone())
    }

    /// Runs a script. The keys, and the topics that it publishes to, get a prefix, so that they are apart from those of
    /// other apps and of the cache.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::cache::ErrorKind::Unavailable) if Redis is unavailable or rejects the script,
    /// [`Unknown`](crate::cache::ErrorKind::Unknown) if no response arrived in time, so that the script may have run or
    /// may run later, and [`Other`](crate::cache::ErrorKind::Other) if the script fails.
    ///
    /// ```no_run
    /// use omnistack_core::{cache, redis::{Redis, Script}};
    ///
    /// static VISIT: Script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    ///
    /// async fn count_visit(redis: &Redis) -> Result<Option<i64>, cache::Error> {
    ///     Ok(redis.run_script(&VISIT, ["visits"], vec![1_i64.into()]).await?.as_i64())
    /// }
    /// ```
    pub async fn run_script(
        &self,
        script: &Script,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
        values: Vec<RedisValue>,
    ) -> Result<RedisValue, Error> {
        let keys: Vec<_> = keys.into_iter().map(|key| self.full_name(SCRIPT_KIND, key.as_ref())).collect();
        let values = values.into_iter().map(RedisValue::into_client).collect();
        let answer = self.0.run("EVALSHA", script.call(self.0.commands(), keys.into(), values)).await?;
        Ok(RedisValue::from_client(answer))
    }

    /// Creates a subscriber to the topics that scripts publish to. It opens its own connection with the first
    /// subscription.
    ///
    /// # Errors
    ///
    /// Fails if the client can't be built from the URL.
    pub fn subscriber(&self, listener: Arc<dyn RedisListener>) -> Result<RedisSubscriber, BoxError> {
        let client = self.1.builder.build_subscriber_client()?;
        Ok(RedisSubscriber::new(self.clone(), client, SCRIPT_KIND, listener))
    }

    /// Returns the full name of a key or channel of a kind.
    fn full_name(&self, kind: &str, name: &str) -> String {
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

/// Provides the connection to all modules and adds a health check, if `REDIS_URL` is set. Returns the cache,
/// publisher and rate limits of the app.
pub(crate) fn register(registry: &mut Registry) -> Option<(Cache, PubSub, RateLimits)> {
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
            registry.report_problem(format!("`REDIS_URL`: {error}"), "set it to redis://host:6379, or unset it");
            None
        }
        Ok((redis, publisher)) => {
            let (cache, limits) = (redis.cache(), redis.rate_limits(settings.rate_limit_timeout));
            let checked = redis.clone();
            registry
                .provide(redis.clone())
                .banner("redis", || "configured by REDIS_URL".into())
                .health_optional("redis", move |_| {
                    Ok(move || {
                        let redis = checked.clone();
                        async move { redis.ping().await.map(drop) }
                    })
                })
                // Connects before the first request needs it. A failure is reported by the health check.
                .background_service("redis", move |_| {
                    Ok(move |_: crate::ShutdownToken| {
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
