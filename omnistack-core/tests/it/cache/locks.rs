//! Tests of locks.

use std::time::Duration;

use omnistack_testkit::{TestCache, TestRedis, on_each_cache};
use tokio::time::timeout;

use super::MINUTE;

on_each_cache! {
    async fn a_lock_is_held_by_one(test: TestCache) {
        let caches = [test.cache().clone(), test.replica()];
        let taking: Vec<_> = (0..20)
            .map(|turn| {
                let cache = caches[turn % 2].clone();
                tokio::spawn(async move { cache.lock("report", MINUTE).await.unwrap() })
            })
            .collect();
        let mut taken = Vec::new();
        for taking in taking {
            taken.extend(taking.await.unwrap());
        }
        assert_eq!(taken.len(), 1);
        let other = caches[0].lock("another", MINUTE).await.unwrap().expect("of another name");
        let first = taken.pop().unwrap();
        assert!(other.fencing_token() > first.fencing_token(), "tokens grow over all locks");
        assert!(first.extend(2 * MINUTE).await.unwrap());
        assert!(first.release().await.unwrap());
        let second = caches[1].lock("report", MINUTE).await.unwrap().expect("it is free");
        assert!(second.fencing_token() > other.fencing_token());
    }

    async fn a_lock_ends_with_its_time_and_is_not_its_former_owners(test: TestCache) {
        let (cache, replica) = (test.cache(), test.replica());
        let late = cache.lock("report", Duration::from_millis(20)).await.unwrap().unwrap();
        test.advance(Duration::from_millis(20)).await;
        let next = replica.lock("report", MINUTE).await.unwrap().expect("its time is over");
        assert!(next.fencing_token() > late.fencing_token());
        assert!(!late.extend(MINUTE).await.unwrap());
        assert!(!late.release().await.unwrap());
        assert!(cache.lock("report", MINUTE).await.unwrap().is_none(), "it is still the next one's");
        assert!(next.release().await.unwrap());
    }

    async fn a_lock_that_is_dropped_is_released(test: TestCache) {
        let lock = test.cache().lock("report", MINUTE).await.unwrap().unwrap();
        drop(lock);
        let free = async { while test.replica().lock("report", MINUTE).await.unwrap().is_none() {} };
        timeout(Duration::from_secs(10), free).await.expect("released in the background");
    }

    async fn locks_and_values_have_names_of_their_own(test: TestCache) {
        let cache = test.cache();
        let lock = cache.lock("name", MINUTE).await.unwrap().unwrap();
        cache.set("name", &1, MINUTE).await;
        assert!(cache.delete("name").await);
        assert!(cache.lock("name", MINUTE).await.unwrap().is_none());
        assert!(lock.release().await.unwrap());
    }
}

#[tokio::test]
async fn tokens_grow_when_redis_comes_back_empty() {
    let server = TestRedis::start().await;
    let cache = server.redis().cache();
    let before = cache.lock("report", MINUTE).await.unwrap().unwrap().fencing_token();
    server.command("FLUSHALL").unwrap();
    assert!(cache.lock("report", MINUTE).await.unwrap().unwrap().fencing_token() > before);
}
