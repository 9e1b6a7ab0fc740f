//! Cache store in Redis.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use fred::{
    interfaces::{HashesInterface as _, SetsInterface as _},
    types::Value,
};

use super::{
    Redis,
    script::{Script, Scripts},
};
use crate::cache::{CacheStore, ClaimKind, Error, ErrorKind, Lease};

/// Cache store in Redis. Each method is one command or one script, and therefore one round trip.
pub(super) struct RedisStore {
    redis: Redis,
    scripts: Arc<Scripts>,
}

impl RedisStore {
    pub(super) fn new(redis: Redis) -> Self {
        Self { redis, scripts: Arc::new(Scripts::new()) }
    }

    fn key(&self, key: &str) -> String {
        self.redis.full_name("v", key)
    }

    fn lease_key(&self, key: &str) -> String {
        self.redis.full_name("f", key)
    }

    fn claim(&self, claim: ClaimKind<'_>) -> String {
        match claim {
            ClaimKind::Lock(key) => self.redis.full_name("l", key),
            ClaimKind::Lease(key) => self.lease_key(key),
        }
    }

    /// Returns the names of the key, of its lease, of the counter of tag versions, and of the tags.
    fn with_tags(&self, key: &str, tags: &[String]) -> Vec<String> {
        let mut keys = vec![self.key(key), self.lease_key(key), self.redis.full_name("n", "tags")];
        keys.extend(tags.iter().map(|tag| self.redis.full_name("t", tag)));
        keys
    }

    async fn call(&self, script: &Script, keys: Vec<String>, values: Vec<Value>) -> Result<Value, Error> {
        let commands = self.redis.0.commands();
        self.redis.0.run("EVALSHA", script.call(commands, keys.into(), values)).await
    }

    async fn call_bool(&self, script: &Script, keys: Vec<String>, values: Vec<Value>) -> Result<bool, Error> {
        number(&self.call(script, keys, values).await?).map(|number| number != 0)
    }
}

#[async_trait]
impl CacheStore for RedisStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        Ok(strip_header(self.call(&self.scripts.get, vec![self.key(key)], Vec::new()).await?))
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Duration, tags: &[String]) -> Result<(), Error> {
        let values = vec![Value::Bytes(value), millis(ttl)];
        self.call(&self.scripts.set, self.with_tags(key, tags), values).await.map(drop)
    }

    async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.call_bool(&self.scripts.delete, vec![self.key(key), self.lease_key(key)], Vec::new()).await
    }

    async fn ttl(&self, key: &str) -> Result<Option<Duration>, Error> {
        let left = number(&self.call(&self.scripts.ttl, vec![self.key(key)], Vec::new()).await?)?;
        Ok(u64::try_from(left).ok().map(Duration::from_millis))
    }

    async fn expire(&self, key: &str, ttl: Duration) -> Result<bool, Error> {
        self.call_bool(&self.scripts.expire, vec![self.key(key)], vec![millis(ttl)]).await
    }

    async fn increment(&self, key: &str, by: i64, ttl: Duration) -> Result<i64, Error> {
        number(&self.call(&self.scripts.increment, vec![self.key(key)], vec![by.into(), millis(ttl)]).await?)
    }

    async fn hash_get(&self, key: &str, field: &str) -> Result<Option<Bytes>, Error> {
        self.redis.0.run("HGET", self.redis.0.commands().hget(self.key(key), field)).await
    }

    async fn hash_set(&self, key: &str, field: &str, value: Bytes, ttl: Duration) -> Result<(), Error> {
        let values = vec![field.into(), Value::Bytes(value), millis(ttl)];
        self.call(&self.scripts.hash_set, vec![self.key(key)], values).await.map(drop)
    }

    async fn hash_all(&self, key: &str) -> Result<HashMap<String, Bytes>, Error> {
        self.redis.0.run("HGETALL", self.redis.0.commands().hgetall(self.key(key))).await
    }

    async fn hash_delete(&self, key: &str, field: &str) -> Result<bool, Error> {
        let removed: i64 = self.redis.0.run("HDEL", self.redis.0.commands().hdel(self.key(key), field)).await?;
        Ok(removed > 0)
    }

    async fn set_add(&self, key: &str, member: &str, ttl: Duration) -> Result<bool, Error> {
        self.call_bool(&self.scripts.set_add, vec![self.key(key)], vec![member.into(), millis(ttl)]).await
    }

    async fn set_remove(&self, key: &str, member: &str) -> Result<bool, Error> {
        let removed: i64 = self.redis.0.run("SREM", self.redis.0.commands().srem(self.key(key), member)).await?;
        Ok(removed > 0)
    }

    async fn set_members(&self, key: &str) -> Result<HashSet<String>, Error> {
        self.redis.0.run("SMEMBERS", self.redis.0.commands().smembers(self.key(key))).await
    }

    async fn set_contains(&self, key: &str, member: &str) -> Result<bool, Error> {
        self.redis.0.run("SISMEMBER", self.redis.0.commands().sismember(self.key(key), member)).await
    }

    async fn invalidate(&self, tag: &str) -> Result<(), Error> {
        use fred::interfaces::KeysInterface as _;
        self.redis.0.run("UNLINK", self.redis.0.commands().unlink(self.redis.full_name("t", tag))).await
    }

    async fn lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<Option<u64>, Error> {
        let keys = vec![self.claim(ClaimKind::Lock(key)), self.redis.full_name("n", "fence")];
        match self.call(&self.scripts.lock, keys, vec![owner.into(), millis(ttl)]).await? {
            Value::Null => Ok(None),
            fence => number(&fence).map(|fence| u64::try_from(fence).ok()),
        }
    }

    async fn lease(
        &self,
        key: &str,
        owner: &str,
        lease: Duration,
        ttl: Duration,
        tags: &[String],
    ) -> Result<Lease, Error> {
        let values = vec![owner.into(), millis(lease), millis(ttl)];
        match self.call(&self.scripts.lease, self.with_tags(key, tags), values).await? {
            Value::Integer(0) => Ok(Lease::Busy),
            Value::Integer(_) => Ok(Lease::Granted),
            value => {
                strip_header(value).map(Lease::Value).ok_or_else(|| Error::new(ErrorKind::Other, "empty response"))
            }
        }
    }

    async fn store_leased(&self, key: &str, owner: &str, value: Bytes, ttl: Duration) -> Result<bool, Error> {
        let values = vec![owner.into(), Value::Bytes(value), millis(ttl)];
        self.call_bool(&self.scripts.fill, vec![self.key(key), self.lease_key(key)], values).await
    }

    async fn extend(&self, claim: ClaimKind<'_>, owner: &str, ttl: Duration) -> Result<bool, Error> {
        self.call_bool(&self.scripts.extend, vec![self.claim(claim)], vec![owner.into(), millis(ttl)]).await
    }

    async fn release(&self, claim: ClaimKind<'_>, owner: &str) -> Result<bool, Error> {
        self.call_bool(&self.scripts.release, vec![self.claim(claim)], vec![owner.into()]).await
    }
}

/// Returns the value without the header that `prelude.lua` adds.
fn strip_header(value: Value) -> Option<Bytes> {
    let mut bytes = value.into_bytes()?;
    match bytes.first() {
        Some(0) => Some(bytes.split_off(1)),
        Some(1) => {
            let size = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?);
            let from = usize::try_from(size).ok()?.checked_add(5)?;
            (from <= bytes.len()).then(|| bytes.split_off(from))
        }
        _ => Some(bytes),
    }
}

fn millis(ttl: Duration) -> Value {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).into()
}

fn number(value: &Value) -> Result<i64, Error> {
    value.as_i64().ok_or_else(|| Error::new(ErrorKind::Other, "Redis did not respond with a number"))
}
