//! The settings of Redis. Without the feature `redis`, the crate compiles nothing else of the module `redis`.

crate::settings! {
    feature "redis" of "omnistack";
    /// Redis.
    pub struct RedisSettings {
        /// URL of Redis: `redis://host:6379`, or `rediss://…` for TLS. If unset, cache, messages and rate
        /// limits are kept in this process, which supports one replica only.
        pub url: Option<secrecy::SecretString> = "REDIS_URL";
        /// Time limit of a command. A command that takes longer may still run, so its outcome is unknown rather
        /// than failed.
        pub command_timeout: std::time::Duration = "REDIS_COMMAND_TIMEOUT", default "2s", range "1ms"..="1m";
        /// Time that a request waits for its rate limit to be counted. If that is exceeded, rate limits are
        /// counted in this process until Redis responds within this time again.
        pub rate_limit_timeout: std::time::Duration = "REDIS_RATE_LIMIT_TIMEOUT", default "100ms", range "1ms"..="1m";
        /// Prefix of all keys and channels. Apps that share a Redis need different prefixes.
        pub prefix: String = "REDIS_PREFIX", default "omnistack";
    }
}
