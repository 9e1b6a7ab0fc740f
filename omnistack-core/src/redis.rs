//! Redis, for what several replicas share. The only file that knows the client.

use std::{fmt, time::Duration};

use fred::{
    clients::Client,
    interfaces::ClientLike as _,
    types::{
        Builder,
        config::{Config as FredConfig, ReconnectPolicy},
    },
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    app::{BoxError, Registry},
    clock::Clock,
};

crate::section! {
    /// Redis.
    pub struct RedisSettings {
        /// `redis://host:6379` or `rediss://…` with TLS. Absent, everything stays in this process: for one replica.
        pub url: Option<SecretString> = "REDIS_URL";
        /// How long a command may take. One that takes longer may still run: its outcome is unknown, not failed.
        pub command_timeout: Duration = "REDIS_COMMAND_TIMEOUT", default "2s";
    }
}

/// The app's connection to Redis. Cheap to clone; reconnects by itself.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    clock: Clock,
}

impl Redis {
    /// Prepares a connection; [`connect`](Self::connect) opens it.
    pub fn new(url: &str, command_timeout: Duration, clock: Clock) -> Result<Self, BoxError> {
        let config = FredConfig::from_url(url).map_err(|_| "expected redis://host:port or rediss://host:port")?;
        let client = Builder::from_config(config)
            .with_performance_config(|performance| performance.default_command_timeout = command_timeout)
            .with_connection_config(|connection| {
                connection.connection_timeout = Duration::from_secs(5);
                connection.internal_command_timeout = Duration::from_secs(5);
                // Nothing is kept for later while Redis is away: whoever asks has a way to go on without it.
                connection.max_command_attempts = 1;
            })
            // For ever, from 100 ms to 5 s between attempts.
            .set_policy(ReconnectPolicy::new_exponential(0, 100, 5_000, 2))
            .build()?;
        Ok(Self { client, clock })
    }

    /// Opens the connection. It is opened again whenever it is lost.
    pub async fn connect(&self) -> Result<(), BoxError> {
        self.client.connect();
        self.client.wait_for_connect().await?;
        Ok(())
    }

    /// Asks for an answer and returns how long it took.
    pub async fn ping(&self) -> Result<Duration, BoxError> {
        let before = self.clock.elapsed();
        if !self.client.is_connected() {
            return Err("not connected".into());
        }
        let _: String = self.client.ping(None).await?;
        Ok(self.clock.elapsed().saturating_sub(before))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redis")
    }
}

/// With `REDIS_URL`: the connection for every module, kept open while the app serves, and a health check.
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<RedisSettings>() else {
        return;
    };
    let Some(url) = settings.url else {
        registry.banner("redis", || "none: one replica (set REDIS_URL to run several)".into());
        return;
    };
    match Redis::new(url.expose_secret(), settings.command_timeout, registry.clock()) {
        Err(error) => _ = registry.problem(format!("`REDIS_URL`: {error}"), "set it to redis://host:6379, or unset it"),
        Ok(redis) => {
            registry
                .provide(redis.clone())
                .banner("redis", || "as REDIS_URL says".into())
                .health_optional("redis", {
                    let redis = redis.clone();
                    move |_| {
                        Ok(move || {
                            let redis = redis.clone();
                            async move { redis.ping().await.map(drop) }
                        })
                    }
                })
                .service("redis", move |_| {
                    Ok(move |shutdown: crate::app::Shutdown| {
                        let redis = redis.clone();
                        async move {
                            redis.connect().await?;
                            shutdown.cancelled().await;
                            Ok(redis.client.quit().await?)
                        }
                    })
                });
        }
    }
}
