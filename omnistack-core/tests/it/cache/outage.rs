//! Tests of Redis outages and recovery.

use std::{convert::Infallible, time::Duration};

use futures_util::future::join_all;
use omnistack_core::{
    cache::{Cache, ErrorKind},
    clock::Clock,
};
use omnistack_testkit::TestRedis;

use super::MINUTE;
use crate::lines::CapturedLog;

/// The command timeout of `TestRedis::redis`.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);

/// Calls every operation once, all concurrently.
async fn use_all(cache: &Cache) {
    let computed = cache.get_or_insert_with("computed", MINUTE, async || Ok::<_, Infallible>(1));
    let (read, (), computed, counted, locked, _, ()) = tokio::join!(
        cache.get::<i32>("key"),
        cache.set("key", &1, MINUTE).into_future(),
        computed.into_future(),
        cache.increment("count", MINUTE),
        cache.lock("lock", MINUTE),
        cache.delete("key"),
        cache.invalidate_tag("tag"),
    );
    assert_eq!(read, None);
    assert_eq!(computed.unwrap(), 1);
    for error in [counted.unwrap_err(), locked.unwrap_err()] {
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown), "{error:?}");
    }
}

// On one thread, so that the captured log belongs to this test.
#[tokio::test]
async fn redis_killed_frozen_and_back() {
    let (lines, _guard) = CapturedLog::capture();
    let clock = Clock::system();
    let mut server = TestRedis::start().await;
    let redis = server.redis();
    redis.connect().await.unwrap();
    let cache = redis.cache();
    assert!(lines.take().is_empty());

    for outage in ["killed", "frozen"] {
        if outage == "killed" {
            server.kill();
        } else {
            server.freeze();
        }
        let before = clock.elapsed();
        use_all(&cache).await;
        let first = clock.elapsed().saturating_sub(before);
        // Reading, waiting for the lease and computing take at most two commands, one after another.
        assert!(first < 2 * COMMAND_TIMEOUT + COMMAND_TIMEOUT / 2, "{outage}: {first:?}");

        let before = clock.elapsed();
        for _ in 0..20 {
            join_all((0..10).map(|_| use_all(&cache))).await;
        }
        let many = clock.elapsed().saturating_sub(before);
        assert!(many < COMMAND_TIMEOUT, "{outage}: 200 uses of everything took {many:?}");
        assert_eq!(lines.take(), ["Redis is unavailable; continuing without it"], "{outage}");

        if outage == "killed" {
            server.restart().await;
        } else {
            server.unfreeze();
        }
        lines.wait_for("Redis is available again").await;
        assert_eq!(lines.take(), ["Redis is available again"], "{outage}");
        let value = cache.get_or_insert_with("again", MINUTE, async || Ok::<_, Infallible>(2)).await.unwrap();
        assert_eq!((value, cache.get::<i32>("again").await), (2, Some(2)), "{outage}");
        assert!(cache.lock(outage, MINUTE).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn redis_away_from_the_start() {
    let (lines, _guard) = CapturedLog::capture();
    let mut server = TestRedis::start().await;
    server.kill();
    let redis = server.redis();
    let cache = redis.cache();
    assert!(redis.connect().await.is_err());
    use_all(&cache).await;
    assert!(redis.ping().await.is_err());
    server.restart().await;
    lines.wait_for("Redis is available again").await;
    cache.set("key", &1, MINUTE).await;
    assert_eq!(cache.get::<i32>("key").await, Some(1));
    redis.ping().await.unwrap();
}

#[tokio::test]
async fn what_redis_refuses_is_a_miss() {
    let server = TestRedis::start().await;
    let redis = server.redis();
    redis.connect().await.unwrap();
    let cache = redis.cache();
    server.command("CONFIG SET maxmemory 1").unwrap();
    cache.set("key", &1, MINUTE).await;
    assert_eq!(cache.get::<i32>("key").await, None);
    assert_eq!(cache.increment("count", MINUTE).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(cache.lock("lock", MINUTE).await.is_err());
    let value = cache.get_or_insert_with("computed", MINUTE, async || Ok::<_, Infallible>(1)).await.unwrap();
    assert_eq!(value, 1);
}
