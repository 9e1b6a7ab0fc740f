//! Tests of the cache, in the process and on Redis.

#![cfg(test)]

mod fill;
mod locks;
mod outage;

use std::{collections::HashMap, time::Duration};

use omnistack_core::{
    cache::{Cache, ErrorKind},
    clock::{Clock, MockClock},
    redis::Redis,
};
use omnistack_testkit::{TestApp, TestCache, TestDatabase, on_each_cache};
use serde::{Deserialize, Serialize};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Planet {
    name: String,
    moons: u32,
}

fn mars() -> Planet {
    Planet { name: "Mars".into(), moons: 2 }
}

on_each_cache! {
    async fn values_are_typed_and_replaced(test: TestCache) {
        let cache = test.cache();
        assert_eq!(cache.get::<Planet>("planet").await, None);
        cache.set("planet", &mars(), MINUTE).await;
        assert_eq!(cache.get::<Planet>("planet").await, Some(mars()));
        assert_eq!(test.replica().get::<Planet>("planet").await, Some(mars()));
        assert_eq!(cache.get::<Vec<u8>>("planet").await, None, "of another type: a miss");

        for value in ["", "text", "\0\u{1}ä\r\n"] {
            cache.set("planet", value, MINUTE).await;
            assert_eq!(cache.get::<String>("planet").await.as_deref(), Some(value));
        }
        let large = "x".repeat(1 << 20);
        cache.set("large", &large, MINUTE).tags(["t"]).await;
        assert_eq!(cache.get::<String>("large").await, Some(large));

        assert!(cache.delete("planet").await);
        assert!(!cache.delete("planet").await);
        assert_eq!(cache.get::<String>("planet").await, None);
    }

    async fn everything_has_its_time(test: TestCache) {
        let cache = test.cache();
        let about = |left: Option<Duration>, ttl: Duration| {
            let left = left.expect("it is there");
            assert!(left <= ttl && left + Duration::from_secs(20) > ttl, "{left:?} of {ttl:?}");
        };
        assert_eq!(cache.ttl("value").await, None);
        assert!(!cache.expire("value", MINUTE).await);

        cache.set("value", &1, MINUTE).await;
        cache.set("tagged", &1, MINUTE).tags(["a", "b"]).await;
        cache.increment("count", MINUTE).await.unwrap();
        cache.hash_set("hash", "field", &1, MINUTE).await;
        cache.set_add("set", "member", MINUTE).await;
        for key in ["value", "tagged", "count", "hash", "set"] {
            about(cache.ttl(key).await, MINUTE);
            assert!(cache.expire(key, 2 * MINUTE).await, "{key}");
            about(cache.ttl(key).await, 2 * MINUTE);
        }
        // A lifetime of more than a year is cut to a year.
        cache.set("value", &1, Duration::MAX).await;
        about(cache.ttl("value").await, Duration::from_secs(365 * 86_400));

        for key in ["value", "tagged", "count", "hash", "set"] {
            assert!(cache.expire(key, Duration::from_millis(20)).await, "{key}");
        }
        test.advance(Duration::from_millis(20)).await;
        for key in ["value", "tagged", "count"] {
            assert_eq!(cache.get::<i64>(key).await, None, "{key}");
            assert_eq!(cache.ttl(key).await, None, "{key}");
        }
        assert_eq!(cache.hash_get::<i64>("hash", "field").await, None);
        assert!(cache.set_members("set").await.is_empty());
        assert_eq!(cache.increment("count", MINUTE).await.unwrap(), 1, "counts anew");
    }

    async fn a_count_is_exact_and_ends_a_time_after_its_first(test: TestCache) {
        let (cache, replica) = (test.cache().clone(), test.replica());
        let counting = (0..50).map(|turn| {
            let cache = if turn % 2 == 0 { cache.clone() } else { replica.clone() };
            tokio::spawn(async move { cache.increment("count", MINUTE).await.unwrap() })
        });
        let mut counts = Vec::new();
        for counting in counting.collect::<Vec<_>>() {
            counts.push(counting.await.unwrap());
        }
        counts.sort_unstable();
        assert_eq!(counts, (1..=50).collect::<Vec<_>>());

        let before = cache.ttl("count").await.unwrap();
        assert_eq!(cache.increment_by("count", -8, 10 * MINUTE).await.unwrap(), 42);
        assert!(cache.ttl("count").await.unwrap() <= before, "only the first sets the time");
        assert_eq!(cache.get::<i64>("count").await, Some(42));

        let large = 9_007_199_254_740_993;
        assert_eq!(cache.increment_by("large", large, MINUTE).await.unwrap(), large);
        assert_eq!(cache.increment_by("large", i64::MAX, MINUTE).await.unwrap_err().kind(), ErrorKind::WrongType);
        assert_eq!(cache.get::<i64>("large").await, Some(large));
    }

    async fn hashes(test: TestCache) {
        let cache = test.cache();
        assert!(cache.hash_get_all::<Planet>("planets").await.is_empty());
        assert!(!cache.hash_delete("planets", "Mars").await);
        cache.hash_set("planets", "Mars", &mars(), MINUTE).await;
        cache.hash_set("planets", "Venus", &Planet { name: "Venus".into(), moons: 0 }, MINUTE).await;
        cache.hash_set("planets", "Mars", &Planet { moons: 3, ..mars() }, MINUTE).await;
        assert_eq!(test.replica().hash_get::<Planet>("planets", "Mars").await.unwrap().moons, 3);
        assert_eq!(cache.hash_get::<Planet>("planets", "Pluto").await, None);
        let all: HashMap<String, Planet> = cache.hash_get_all("planets").await;
        assert_eq!(all.len(), 2);
        assert!(cache.hash_delete("planets", "Mars").await);
        assert!(cache.hash_delete("planets", "Venus").await);
        assert_eq!(cache.ttl("planets").await, None, "without a field there is no hash");
    }

    async fn sets(test: TestCache) {
        let cache = test.cache();
        assert!(cache.set_add("online", "alice", MINUTE).await);
        assert!(!cache.set_add("online", "alice", MINUTE).await);
        assert!(test.replica().set_add("online", "böb", MINUTE).await);
        assert!(cache.set_contains("online", "böb").await);
        let mut members: Vec<_> = cache.set_members("online").await.into_iter().collect();
        members.sort_unstable();
        assert_eq!(members, ["alice", "böb"]);
        assert!(cache.set_remove("online", "alice").await);
        assert!(!cache.set_remove("online", "alice").await);
        assert!(!cache.set_contains("online", "alice").await);
        assert!(cache.delete("online").await);
        assert!(cache.set_members("online").await.is_empty());
    }

    async fn one_kind_is_not_used_as_another(test: TestCache) {
        let cache = test.cache();
        cache.set("text", "a", MINUTE).await;
        cache.hash_set("hash", "field", "a", MINUTE).await;
        cache.set_add("set", "a", MINUTE).await;
        for key in ["text", "hash", "set"] {
            assert_eq!(cache.increment(key, MINUTE).await.unwrap_err().kind(), ErrorKind::WrongType, "{key}");
        }
        for key in ["hash", "set"] {
            assert_eq!(cache.get::<String>(key).await, None, "{key}");
        }
        assert_eq!(cache.hash_get::<String>("set", "a").await, None);
        assert!(!cache.set_contains("hash", "a").await);
        // `set` replaces a value of any type.
        cache.set("hash", "b", MINUTE).await;
        assert_eq!(cache.get::<String>("hash").await.as_deref(), Some("b"));
        assert!(cache.delete("set").await);
    }

    async fn a_tag_drops_what_is_stored_under_it(test: TestCache) {
        let (cache, replica) = (test.cache(), test.replica());
        cache.set("a", &1, MINUTE).tags(["user:1"]).await;
        cache.set("b", &2, MINUTE).tags(["user:1", "team:1"]).await;
        cache.set("c", &3, MINUTE).tags(["team:1"]).await;
        cache.set("d", &4, MINUTE).await;
        // Setting a value without tags removes its old tags.
        cache.set("e", &5, MINUTE).tags(["user:1"]).await;
        cache.set("e", &6, MINUTE).await;
        // Extending the lifetime of a value extends that of its tag too.
        cache.set("f", &7, Duration::from_millis(20)).tags(["short"]).await;
        assert!(cache.expire("f", MINUTE).await);
        test.advance(Duration::from_millis(20)).await;
        assert_eq!(cache.get::<i32>("f").await, Some(7));

        replica.invalidate_tag("user:1").await;
        replica.invalidate_tag("short").await;
        replica.invalidate_tag("nothing").await;
        for (key, value) in [("a", None), ("b", None), ("c", Some(3)), ("d", Some(4)), ("e", Some(6)), ("f", None)] {
            assert_eq!(cache.get::<i32>(key).await, value, "{key}");
            assert_eq!(cache.ttl(key).await.is_some(), value.is_some(), "{key}");
        }
        assert!(!cache.delete("a").await);
        assert!(!cache.expire("b", MINUTE).await);
        // The tag can be used again.
        cache.set("a", &8, MINUTE).tags(["user:1"]).await;
        assert_eq!(replica.get::<i32>("a").await, Some(8));
        assert_eq!(cache.get::<i32>("b").await, None, "and revives nothing");
        cache.invalidate_tag("user:1").await;
        assert_eq!(replica.get::<i32>("a").await, None);
    }
}

#[tokio::test]
async fn the_process_holds_no_more_than_it_may() {
    let cache = Cache::in_process(1 << 20, Clock::system());
    let value = "x".repeat(10_000);
    for turn in 0..1000 {
        cache.set(&format!("key:{turn}"), &value, MINUTE).await;
    }
    assert_eq!(cache.get::<String>("key:999").await.as_deref(), Some(&*value), "what was stored last is there");
    let mut there = 0;
    for turn in 0..1000 {
        there += usize::from(cache.get::<String>(&format!("key:{turn}")).await.is_some());
    }
    // Once the cache is full, it evicts values soon, but not at once.
    assert!((50..300).contains(&there), "{there}");
}

#[tokio::test]
async fn apps_with_different_prefixes_share_a_redis() {
    let url = omnistack_testkit::TestRedis::start().await;
    let [one, other] = ["one", "other"].map(|prefix| url.redis_with(prefix, MINUTE).cache());
    one.set("key", &1, MINUTE).tags(["tag"]).await;
    other.set("key", &2, MINUTE).tags(["tag"]).await;
    one.invalidate_tag("tag").await;
    assert_eq!(one.get::<i32>("key").await, None);
    assert_eq!(other.get::<i32>("key").await, Some(2));
}

#[tokio::test]
async fn a_restarted_redis_is_sent_the_scripts_again() {
    let server = omnistack_testkit::TestRedis::start().await;
    let cache = server.redis().cache();
    cache.set("key", &1, MINUTE).await;
    server.command("SCRIPT FLUSH").unwrap();
    assert_eq!(cache.get::<i32>("key").await, Some(1));
}

#[test]
fn what_is_no_redis_is_refused() {
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap()).clock();
    for url in ["", "localhost", "http://localhost:6379", "redis-cluster://localhost:6379"] {
        assert!(Redis::new(url, "test", MINUTE, clock.clone()).is_err(), "{url}");
    }
}

#[tokio::test]
async fn every_app_has_a_cache_that_follows_its_clock() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app).await;
    let cache: Cache = app.app().context().get().unwrap();
    cache.set("key", &1, MINUTE).await;
    assert_eq!(cache.get::<i32>("key").await, Some(1));
    app.clock().advance(MINUTE);
    assert_eq!(cache.get::<i32>("key").await, None);
}

#[tokio::test]
async fn with_a_redis_replicas_share_their_cache() {
    let server = omnistack_testkit::TestRedis::start().await;
    let [one, other] = [0, 1].map(|_| {
        let url = server.url();
        TestApp::start(TestDatabase::sqlite(), move |app| app.set("REDIS_URL", url))
    });
    let (one, other) = (one.await, other.await);
    let cache: Cache = one.app().context().get().unwrap();
    cache.set("key", &1, MINUTE).await;
    let cache: Cache = other.app().context().get().unwrap();
    assert_eq!(cache.get::<i32>("key").await, Some(1));
    assert_eq!(server.command("EXISTS omnistack:v:key").unwrap(), ":1");
}
