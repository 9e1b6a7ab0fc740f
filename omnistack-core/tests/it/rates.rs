//! Tests of rate limits that replicas share through Redis.

#![cfg(test)]

use std::time::Duration;

use axum::routing::get;
use futures_util::future::join_all;
use omnistack_core::{
    clock::{Clock, MockClock, Timestamp},
    http::{Rate, RateLimits, SharedRateLimiter},
    module::{Api, Module, Mount, MountRateLimit, Registry},
    rate_limit::RateLimitKey,
    redis::Redis,
};
use omnistack_testkit::{TestApp, TestDatabase, TestRedis};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::lines::CapturedLog;

const DAY: Duration = Duration::from_secs(86_400);
/// A Redis timeout that no working machine exceeds.
const LONG_TIMEOUT: Duration = Duration::from_secs(10);

fn key(key: &str) -> String {
    key.to_owned()
}

/// Returns the rate limits of one replica, once it is connected.
async fn replica(server: &TestRedis) -> RateLimits {
    let redis = server.redis_with("test", LONG_TIMEOUT);
    redis.connect().await.unwrap();
    redis.rate_limits(LONG_TIMEOUT)
}

#[tokio::test]
async fn redis_decides_as_the_process_does() {
    let server = TestRedis::start().await;
    let mut random = StdRng::seed_from_u64(7);
    // Token buckets with whole microseconds, because the in-process limiter counts in nanoseconds.
    for rate in [
        Rate::per_minute(100),
        Rate::per_minute(60).burst(3),
        Rate::new(5, Duration::from_secs(3600)).burst(2),
        Rate::new(1000, Duration::from_secs(1)),
        Rate::per_minute(100).sliding(),
        Rate::new(7, Duration::from_secs(90)).sliding(),
        Rate::new(3, Duration::from_millis(250)).sliding(),
        Rate::new(1_000_000, DAY).sliding(),
        Rate::new(1, 366 * DAY).sliding(),
    ] {
        // Both limiters count periods from this time.
        let mock = MockClock::at(Timestamp::default());
        let redis = Redis::new(&server.url(), &format!("{rate}"), LONG_TIMEOUT, mock.clock()).unwrap();
        redis.connect().await.unwrap();
        let here = RateLimits::in_process(mock.clock()).limiter::<String>("test", rate);
        let there = redis.rate_limits(LONG_TIMEOUT).limiter::<String>("test", rate);
        let longest = u64::try_from(rate.window.as_micros()).unwrap();
        let (mut allowed, mut refused) = (0, 0);
        for step in 0..500 {
            let pause = match random.random_range(0..10) {
                0..4 => 0,
                4..8 => random.random_range(0..1 + longest / u64::from(rate.quota)),
                8 => random.random_range(0..longest),
                _ => random.random_range(0..3 * longest),
            };
            mock.advance(Duration::from_micros(pause));
            let most =
                if random.random_range(0..20) == 0 { rate.quota.saturating_add(1) } else { rate.quota.div_ceil(4) };
            let (who, cost) = (key(["a", "b"][random.random_range(0..2)]), random.random_range(0..=most));
            let (one, other) = (here.check(&who, cost).await, there.check(&who, cost).await);
            assert_eq!(
                (one.allowed, one.remaining),
                (other.allowed, other.remaining),
                "{rate}, step {step}, cost {cost}"
            );
            for (one, other) in [(one.reset, other.reset), (one.retry_after, other.retry_after)] {
                assert!(one.abs_diff(other) <= Duration::from_micros(1), "{rate}, step {step}: {one:?}, {other:?}");
            }
            if one.allowed { allowed += 1 } else { refused += 1 }
        }
        assert!(allowed > 20 && refused > 20, "{rate}: {allowed} allowed, {refused} refused");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_let_in_exactly_the_quota() {
    let server = TestRedis::start().await;
    let replicas = join_all((0..3).map(|_| replica(&server))).await;
    for rate in [Rate::new(100, DAY), Rate::new(100, DAY).sliding()] {
        let limiters: Vec<SharedRateLimiter<String>> =
            replicas.iter().map(|replica| replica.limiter("test", rate)).collect();
        let asking = (0..600).map(|turn| {
            let limiter = limiters[turn % 3].clone();
            tokio::spawn(async move { limiter.check(&key("alice"), 1).await })
        });
        let verdicts: Vec<_> = join_all(asking).await.into_iter().map(Result::unwrap).collect();
        let mut remaining: Vec<_> =
            verdicts.iter().filter(|verdict| verdict.allowed).map(|verdict| verdict.remaining).collect();
        remaining.sort_unstable();
        assert_eq!(remaining, (0..100).collect::<Vec<_>>(), "{rate}: each place was given once");
        assert!(limiters[0].check(&key("bob"), 1).await.allowed, "{rate}: keys are apart");
        let other = replicas[1].limiter::<String>("other", rate);
        assert!(other.check(&key("alice"), 100).await.allowed, "{rate}: names are apart");
    }
}

#[tokio::test]
async fn a_check_is_one_round_trip_and_its_key_goes_away() {
    let server = TestRedis::start().await;
    let limits = replica(&server).await;
    for rate in [Rate::new(2, Duration::from_millis(300)), Rate::new(2, Duration::from_millis(150)).sliding()] {
        let limiter = limits.limiter("test", rate);
        limiter.check(&key("first"), 1).await;
        server.command("CONFIG RESETSTAT").unwrap();
        for _ in 0..50 {
            limiter.check(&key("alice"), 1).await;
        }
        let stats = server.command("INFO commandstats").unwrap();
        let calls = |name: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
            line.map_or(0, |line| line.split(',').next().unwrap().parse::<u32>().unwrap())
        };
        assert_eq!((calls("evalsha"), calls("eval"), calls("script|load")), (50, 0, 0), "{stats}");
        // Redis uses its own clock, so this takes real time.
        let ttl = server.command(&format!("PTTL test:r:test:{}:alice", format!("{rate}").replace(' ', "-"))).unwrap();
        let ttl: i64 = ttl.trim_start_matches(':').parse().unwrap();
        assert!((-2..=303).contains(&ttl) && ttl != -1, "{rate}: {ttl}");
    }
}

// On one thread, so that the captured log belongs to this test.
#[tokio::test]
async fn with_redis_killed_or_frozen_each_process_counts_at_once() {
    const REDIS_TIMEOUT: Duration = Duration::from_millis(100);
    let (lines, _guard) = CapturedLog::capture();
    let clock = Clock::system();
    let mut server = TestRedis::start().await;
    let redis = server.redis();
    redis.connect().await.unwrap();
    let limiter = redis.rate_limits(REDIS_TIMEOUT).limiter("test", Rate::new(10, DAY));
    // The script is loaded, and this check is counted.
    for name in ["killed", "frozen"] {
        assert_eq!(limiter.check(&key(name), 4).await.remaining, 6);
    }
    assert!(lines.take().is_empty());

    for outage in ["killed", "frozen"] {
        if outage == "killed" {
            server.kill();
        } else {
            server.freeze();
        }
        let before = clock.elapsed();
        let who = key(outage);
        let verdicts = join_all((0..20).map(|_| limiter.check(&who, 1))).await;
        let first = clock.elapsed().saturating_sub(before);
        assert!(first < 3 * REDIS_TIMEOUT, "{outage}: {first:?}");
        let allowed = verdicts.iter().filter(|verdict| verdict.allowed).count();
        assert_eq!(allowed, 10, "{outage}: the process keeps the rate by itself");

        let before = clock.elapsed();
        for _ in 0..1000 {
            assert!(!limiter.check(&who, 1).await.allowed);
        }
        let many = clock.elapsed().saturating_sub(before);
        assert!(many < REDIS_TIMEOUT, "{outage}: 1000 checks took {many:?}");
        let (away, back) = match outage {
            "killed" => ("Redis is unavailable; continuing without it", "Redis is available again"),
            _ => ("Redis is slow; rate limits are counted in this process", "rate limits are counted by Redis again"),
        };
        assert_eq!(lines.take(), [away], "{outage}");

        if outage == "killed" {
            server.restart().await;
        } else {
            server.unfreeze();
        }
        lines.wait_for(back).await;
        assert_eq!(lines.take(), [back], "{outage}");
        let after = limiter.check(&key("after"), 1).await;
        assert_eq!((after.allowed, after.remaining), (true, 9));
        assert!(server.command("EXISTS test:r:test:10/day:after").unwrap().ends_with(":1"), "{outage}: counted there");
        server.command("FLUSHALL").unwrap();
    }
}

#[tokio::test]
async fn a_redis_that_refuses_is_not_asked_to_decide() {
    let server = TestRedis::start().await;
    let limiter = replica(&server).await.limiter("test", Rate::new(2, DAY));
    assert!(limiter.check(&key("alice"), 1).await.allowed);
    server.command("CONFIG SET maxmemory 1").unwrap();
    let mut allowed = 0;
    for _ in 0..10 {
        allowed += u32::from(limiter.check(&key("alice"), 1).await.allowed);
    }
    assert_eq!(allowed, 2);
}

struct Routes;

impl Module for Routes {
    fn name(&self) -> &'static str {
        "test"
    }

    fn register(&self, registry: &mut Registry) {
        let api = || Api::new().hidden("/hello", get(|| async {})).hidden("/other", get(|| async {}));
        let all = |rate| MountRateLimit::new(rate).by(RateLimitKey::Global);
        registry
            .routes(Mount::public("/bucket").rate_limit(all(Rate::new(30, DAY))), api(), |_| Ok(()))
            .routes(Mount::public("/window").rate_limit(all(Rate::new(30, DAY).sliding())), api(), |_| Ok(()))
            .routes(Mount::public("/dear").rate_limit(all(Rate::new(30, DAY)).cost("/hello", 3)), api(), |_| Ok(()))
            .routes(Mount::public("/each").rate_limit(all(Rate::new(15, DAY)).each_route()), api(), |_| Ok(()))
            .routes(Mount::public("/free"), api(), |_| Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_with_a_redis_limit_together() {
    let server = TestRedis::start().await;
    let app = || {
        TestApp::start(TestDatabase::sqlite(), |app| {
            let app = app.with(Routes).set("REDIS_URL", server.url()).set("REDIS_RATE_LIMIT_TIMEOUT", "10s");
            app.set("HTTP_RATE_LIMIT", "1000/day")
        })
    };
    let apps = [app().await, app().await, app().await];
    for (path, expected) in [("bucket", 30), ("window", 30), ("dear", 10), ("each", 15)] {
        let asking = (0..90).map(|turn| {
            let client = apps[turn % 3].anonymous();
            tokio::spawn(async move { client.get(format!("/api/v1/public/{path}/hello")).await })
        });
        let answers: Vec<_> = join_all(asking).await.into_iter().map(Result::unwrap).collect();
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(200), count(429)), (expected, 90 - expected), "{path}");
        let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
        refused.header("retry-after").unwrap();
        assert!(refused.header("ratelimit").unwrap().starts_with("\"default\";r=0;t="));
    }
    // A limit per route does not affect the other route.
    apps[0].anonymous().get("/api/v1/public/each/other").await.expect(200);
    apps[0].anonymous().get("/api/v1/public/bucket/other").await.expect(429);
    // All requests count towards the limit of the address.
    let answer = apps[1].anonymous().get("/api/v1/public/free/hello").await.expect(200);
    assert_eq!(answer.header("ratelimit"), Some("\"default\";r=637;t=31364"));
    // The limiter on Redis uses the app's clock too.
    apps[2].clock().advance(2 * DAY);
    apps[2].anonymous().get("/api/v1/public/bucket/hello").await.expect(200);
}
