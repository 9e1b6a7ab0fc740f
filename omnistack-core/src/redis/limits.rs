//! Rate limits in Redis.

use std::{sync::Arc, time::Duration};

use fred::types::Value;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::{
    Redis,
    absence::{Absence, look},
    script::Script,
};
use crate::{
    cache::ErrorKind,
    http::{Counted, RateStore, Rule, State, Terms},
};

/// Rate limits counted by one script per request. Requests wait for a much shorter time than commands, so a
/// slow Redis is treated as unavailable for rate limits long before it is for other uses.
pub(super) struct RedisLimits {
    redis: Redis,
    script: Script,
    patience: Duration,
    slow: Absence,
}

impl RedisLimits {
    pub(super) fn new(redis: Redis, patience: Duration) -> Arc<Self> {
        let slow = Absence::new(redis.0.clock().clone());
        Arc::new(Self { redis, script: Script::new(include_str!("lua/rate.lua")), patience, slow })
    }

    async fn ask(self: &Arc<Self>, key: String, terms: Terms, cost: u32) -> Option<Counted> {
        let keys = vec![self.redis.name("r", &key)].into();
        let link = &self.redis.0;
        let asked = link.run(self.script.call(link.commands(), keys, self.values(terms, cost)));
        match timeout(self.patience, asked).await {
            Ok(Ok(answer)) => {
                let counted = read(&answer);
                if counted.is_none() {
                    link.complain("the script of rate limits returned an unexpected response");
                }
                counted
            }
            Ok(Err(error)) => {
                // The link has logged an outage.
                if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) {
                    link.complain(&error.to_string());
                }
                None
            }
            Err(_) => {
                self.go_on_without();
                None
            }
        }
    }

    fn values(&self, terms: Terms, cost: u32) -> Vec<Value> {
        let number = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let mut values = Vec::with_capacity(6);
        match terms.rule {
            Rule::Bucket { capacity, .. } => {
                values.extend(["b".into(), number(terms.charge(cost)), number(capacity)]);
            }
            Rule::Sliding { quota, unit, span } => {
                values.extend(["w".into(), number(cost.into()), number(quota), number(unit), number(span)]);
            }
        }
        values.extend(self.redis.0.clock().by_hand().map(|now| Value::Integer(now.as_micros())));
        values
    }

    /// Counts in this process until Redis responds in time again.
    fn go_on_without(self: &Arc<Self>) {
        let Some(pause) = self.slow.begin() else { return };
        let patience = self.patience;
        tracing::warn!(target: "omnistack::redis", ?patience, "Redis is slow; rate limits are counted in this process");
        tokio::spawn(look(Arc::downgrade(self), pause, async |limits: &Self| {
            let answers = timeout(limits.patience, limits.redis.0.answers()).await == Ok(true);
            if answers {
                let after = limits.slow.end();
                tracing::info!(target: "omnistack::redis", ?after, "rate limits are counted by Redis again");
            }
            answers
        }));
    }
}

impl RateStore for RedisLimits {
    fn is_away(&self) -> bool {
        self.slow.is_away() || self.redis.0.is_away()
    }

    fn count(self: Arc<Self>, key: String, terms: Terms, cost: u32) -> BoxFuture<'static, Option<Counted>> {
        Box::pin(async move { self.ask(key, terms, cost).await })
    }
}

fn read(answer: &Value) -> Option<Counted> {
    let Value::Array(numbers) = answer else { return None };
    let mut numbers = numbers.iter().map(|number| number.as_u64());
    let mut next = || numbers.next().flatten();
    let (now, allowed) = (next()?, next()? != 0);
    let state = State { at: next()?, used: u32::try_from(next()?).ok()?, before: u32::try_from(next()?).ok()? };
    Some(Counted { now, allowed, state })
}
