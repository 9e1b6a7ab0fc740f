//! Tests that concurrent calls compute a missing value once.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use omnistack_core::{cache::Cache, http};
use omnistack_testkit::{TestCache, TestRedis, on_each_cache};
use tokio::{sync::Notify, time::timeout};

use super::MINUTE;

/// A computation that ends when the test releases it.
#[derive(Clone, Default)]
struct Work {
    started: Arc<AtomicUsize>,
    begun: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Work {
    async fn run(self) -> Result<usize, Infallible> {
        let turn = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        self.begun.notify_one();
        self.go_on.notified().await;
        Ok(turn)
    }

    fn ask(&self, cache: &Cache) -> tokio::task::JoinHandle<usize> {
        let (work, cache) = (self.clone(), cache.clone());
        tokio::spawn(async move { cache.get_or_insert_with("key", MINUTE, || work.run()).tags(["tag"]).await.unwrap() })
    }

    fn times(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), what).await.expect("soon")
}

on_each_cache! {
    async fn many_callers_in_two_replicas_compute_once(test: TestCache) {
        let (cache, replica, work) = (test.cache(), test.replica(), Work::default());
        let asking: Vec<_> = (0..20).map(|turn| work.ask(if turn % 2 == 0 { cache } else { &replica })).collect();
        soon(work.begun.notified()).await;
        work.go_on.notify_one();
        for answer in soon(join_all(asking)).await {
            assert_eq!(answer.unwrap(), 1);
        }
        assert_eq!(work.times(), 1);
        assert_eq!(soon(work.ask(&replica)).await.unwrap(), 1, "it is stored");
        assert!(cache.ttl("key").await.is_some());
    }

    async fn a_failure_reaches_everybody_and_is_not_stored(test: TestCache) {
        let (cache, times, go_on) = (test.cache(), AtomicUsize::new(0), Notify::new());
        let ask = || cache.get_or_insert_with("key", MINUTE, async || {
            times.fetch_add(1, Ordering::SeqCst);
            go_on.notified().await;
            Err::<u32, _>(http::Error::conflict("NOT_NOW", "not now"))
        }).into_future();
        assert_eq!(cache.get::<u32>("other").await, None, "connected");
        let mut asking = join_all((0..5).map(|_| ask()));
        // All five calls are running before the computation fails. On Redis their reads return before this one's.
        assert!(futures_util::poll!(&mut asking).is_pending());
        assert_eq!(cache.get::<u32>("other").await, None);
        assert!(futures_util::poll!(&mut asking).is_pending());
        go_on.notify_one();
        for answer in soon(asking).await {
            assert_eq!(http::Error::from(answer.unwrap_err()).code(), "NOT_NOW");
        }
        assert_eq!(times.load(Ordering::SeqCst), 1);
        go_on.notify_one();
        assert!(soon(ask()).await.is_err());
        assert_eq!(times.load(Ordering::SeqCst), 2, "tried again");
        let value = cache.get_or_insert_with("key", MINUTE, async || Ok::<_, Infallible>(3)).await.unwrap();
        assert_eq!(value, 3);
    }

    async fn when_who_computes_is_dropped_another_goes_on(test: TestCache) {
        let (cache, work) = (test.cache(), Work::default());
        let first = work.ask(cache);
        soon(work.begun.notified()).await;
        let others = [work.ask(cache), work.ask(&test.replica())];
        first.abort();
        soon(work.begun.notified()).await;
        work.go_on.notify_one();
        for other in soon(join_all(others)).await {
            assert_eq!(other.unwrap(), 2);
        }
        assert_eq!(work.times(), 2);
    }

    async fn what_became_stale_meanwhile_is_not_stored(test: TestCache) {
        let (cache, replica) = (test.cache(), test.replica());
        for how in ["tag", "delete", "set"] {
            let work = Work::default();
            let asking = work.ask(cache);
            soon(work.begun.notified()).await;
            match how {
                "tag" => replica.invalidate_tag("tag").await,
                "delete" => _ = replica.delete("key").await,
                _ => replica.set("key", &99, MINUTE).await,
            }
            work.go_on.notify_one();
            assert_eq!(soon(asking).await.unwrap(), 1, "{how}: who asked before gets it");
            let stored = cache.get::<usize>("key").await;
            assert_eq!(stored, (how == "set").then_some(99), "{how}");
            cache.delete("key").await;
        }
    }

    async fn one_key_asked_for_as_two_types(test: TestCache) {
        let cache = test.cache();
        let number = cache.get_or_insert_with("key", MINUTE, async || Ok::<_, Infallible>(1_u32));
        assert_eq!(number.await.unwrap(), 1);
        let text = cache.get_or_insert_with("key", MINUTE, async || Ok::<_, Infallible>("one".to_owned()));
        assert_eq!(soon(text.into_future()).await.unwrap(), "one");
        assert_eq!(cache.get::<String>("key").await.as_deref(), Some("one"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_holds_others_up_for_its_lease_only() {
    let server = TestRedis::start().await;
    let cache = server.redis().cache();
    // The lease of a replica that was killed during its computation.
    server.command("SET test:f:key 0123456789abcdef0123456789abcdef PX 300").unwrap();
    let value = cache.get_or_insert_with("key", MINUTE, async || Ok::<_, Infallible>(7));
    assert_eq!(soon(value.into_future()).await.unwrap(), 7);
    assert_eq!(cache.get::<i32>("key").await, Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_computes_for_longer_than_the_lease_keeps_it() {
    let server = TestRedis::start().await;
    let (cache, replica) = (server.redis().cache(), server.redis().cache());
    let (work, lease) = (Work::default(), Duration::from_millis(90));
    let mut monitor = server.monitor().await;
    let ask = |cache: &Cache| {
        let (work, cache) = (work.clone(), cache.clone());
        tokio::spawn(async move { cache.get_or_insert_with("key", MINUTE, || work.run()).lease(lease).await.unwrap() })
    };
    let asking = [ask(&cache), ask(&replica)];
    soon(work.begun.notified()).await;
    // The lease is renewed after each third of its duration.
    for _ in 0..4 {
        monitor.wait_for(|command| command.contains("PEXPIRE") && command.contains("test:f:key")).await;
    }
    work.go_on.notify_one();
    for asked in soon(join_all(asking)).await {
        assert_eq!(asked.unwrap(), 1);
    }
    assert_eq!(work.times(), 1);
}
