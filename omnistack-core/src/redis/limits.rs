//! Rate limits in Redis.

use std::{sync::Arc, time::Duration};

use fred::types::Value;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::{Redis, script::Script};
use crate::{
    cache::ErrorKind,
    http::{CompiledAlgorithm, CompiledRate, CountResult, RateState, RateStore},
    resilience::Breaker,
};

/// Rate limits counted by one script per request. Requests wait for a much shorter time than commands, so a
/// slow Redis is treated as unavailable for rate limits long before it is for other uses.
pub(super) struct RedisLimits {
    redis: Redis,
    script: Script,
    timeout: Duration,
    /// Open while Redis is too slow for rate limits.
    slowness: Breaker,
}

impl RedisLimits {
    pub(super) fn new(redis: Redis, patience: Duration) -> Arc<Self> {
        let probed = redis.clone();
        let probe = move || {
            let redis = probed.clone();
            async move { timeout(patience, redis.0.responds()).await == Ok(true) }
        };
        let slowness = Breaker::new(redis.0.clock().clone(), probe, |after| {
            tracing::info!(target: "omnistack::redis", ?after, "rate limits are counted by Redis again");
        });
        Arc::new(Self { redis, script: Script::new(include_str!("lua/rate.lua")), timeout: patience, slowness })
    }

    async fn count_in_redis(&self, key: String, terms: CompiledRate, cost: u32) -> Option<CountResult> {
        let keys = vec![self.redis.full_name("r", &key)].into();
        let link = &self.redis.0;
        let asked = link.run("EVALSHA", self.script.call(link.commands(), keys, self.values(terms, cost)));
        match timeout(self.timeout, asked).await {
            Ok(Ok(answer)) => {
                let counted = read(&answer);
                if counted.is_none() {
                    link.log_rejection("the script of rate limits returned an unexpected response");
                }
                counted
            }
            Ok(Err(error)) => {
                // The link has logged an outage.
                if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) {
                    link.log_rejection(&error.to_string());
                }
                None
            }
            Err(_) => {
                if self.slowness.open() {
                    let patience = self.timeout;
                    tracing::warn!(target: "omnistack::redis", ?patience, "Redis is slow; rate limits are counted in this process");
                }
                None
            }
        }
    }

    fn values(&self, terms: CompiledRate, cost: u32) -> Vec<Value> {
        let number = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let mut values = Vec::with_capacity(6);
        match terms.rule {
            CompiledAlgorithm::Bucket { capacity, .. } => {
                values.extend(["b".into(), number(terms.charge(cost)), number(capacity)]);
            }
            CompiledAlgorithm::Sliding { quota, unit, span } => {
                values.extend(["w".into(), number(cost.into()), number(quota), number(unit), number(span)]);
            }
        }
        values.extend(self.redis.0.clock().mock_time().map(|now| Value::Integer(now.as_micros())));
        values
    }
}

impl RateStore for RedisLimits {
    fn is_unavailable(&self) -> bool {
        self.slowness.is_open() || self.redis.0.is_unavailable()
    }

    fn count(self: Arc<Self>, key: String, terms: CompiledRate, cost: u32) -> BoxFuture<'static, Option<CountResult>> {
        Box::pin(async move { self.count_in_redis(key, terms, cost).await })
    }
}

fn read(answer: &Value) -> Option<CountResult> {
    let Value::Array(numbers) = answer else { return None };
    let mut numbers = numbers.iter().map(|number| number.as_u64());
    let mut next = || numbers.next().flatten();
    let (now, allowed) = (next()?, next()? != 0);
    let state = RateState { at: next()?, used: u32::try_from(next()?).ok()?, before: u32::try_from(next()?).ok()? };
    Some(CountResult { now, allowed, state })
}
