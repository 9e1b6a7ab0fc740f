//! Tests of pub/sub, in the process and through Redis.

#![cfg(test)]

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use omnistack_core::pubsub::PubSub;
use omnistack_testkit::{TestApp, TestDatabase, TestRedis};
use tokio::{
    sync::broadcast::{Receiver, error::TryRecvError},
    time::timeout,
};

async fn next(receiver: &mut Receiver<Bytes>) -> Bytes {
    timeout(Duration::from_secs(10), receiver.recv()).await.expect("soon").unwrap()
}

/// Waits until Redis has this many subscribers of a topic.
async fn wait_for_subscribers(server: &TestRedis, topic: &str, count: usize) {
    let mut monitor = server.monitor().await;
    loop {
        let answer = server.command(&format!("PUBSUB NUMSUB test:c:{topic}")).unwrap();
        if answer.ends_with(&format!(":{count}")) {
            return;
        }
        let channel = format!("\"test:c:{topic}\"");
        monitor.wait_for(|command| command.contains("SUBSCRIBE") && command.contains(&channel)).await;
    }
}

/// Publishes until the message arrives, since nothing signals that Redis is subscribed to again.
async fn publish_until_received(publisher: &PubSub, receiver: &mut Receiver<Bytes>) {
    let arrives = async {
        loop {
            publisher.publish("news", "ping").await;
            if let Ok(Ok(_)) = timeout(Duration::from_millis(20), receiver.recv()).await {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), arrives).await.expect("heard again");
    // Drop messages that arrived late or more than once.
    while receiver.try_recv().is_ok() {}
}

#[tokio::test]
async fn in_the_process_topics_are_apart_and_forgotten() {
    let publisher = PubSub::default();
    publisher.publish("news", "to nobody").await;
    let (mut news, mut more) = (publisher.subscribe("news").await, publisher.subscribe("news").await);
    let mut other = publisher.subscribe("other").await;
    for _ in 0..1000 {
        drop(publisher.subscribe(&format!("passing {}", rand::random::<u64>())).await);
    }
    publisher.publish("news", "one").await;
    assert_eq!((next(&mut news).await, next(&mut more).await), ("one".into(), "one".into()));
    assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_hears_a_message_once() {
    let server = TestRedis::start().await;
    let replicas: Vec<_> = (0..3).map(|_| server.redis().publisher().unwrap()).collect();
    // Two subscribers in each process. A replica without a subscriber may publish.
    let mut listeners = join_all(replicas.iter().chain(&replicas).map(|replica| replica.subscribe("news"))).await;
    let mut other = replicas[0].subscribe("other").await;
    for (turn, replica) in replicas.iter().enumerate() {
        replica.publish("news", format!("message {turn}")).await;
    }
    replicas[1].publish("other", "the end").await;
    for listener in &mut listeners {
        let mut heard = Vec::new();
        for _ in 0..3 {
            heard.push(next(listener).await);
        }
        heard.sort();
        assert_eq!(heard, ["message 0", "message 1", "message 2"]);
    }
    assert_eq!(next(&mut other).await, "the end");
    for listener in &mut listeners {
        assert_eq!(listener.try_recv(), Err(TryRecvError::Empty), "nothing comes twice");
    }
    replicas[0].publish("news", Bytes::new()).await;
    assert_eq!(next(&mut listeners[1]).await, "", "an empty one too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_subscribes_once_and_until_nobody_listens() {
    let server = TestRedis::start().await;
    let (publisher, replica) = (server.redis().publisher().unwrap(), server.redis().publisher().unwrap());
    let first = publisher.subscribe("news").await;
    let second = publisher.subscribe("news").await;
    let mut third = replica.subscribe("news").await;
    wait_for_subscribers(&server, "news", 2).await;
    drop(first);
    drop(second);
    wait_for_subscribers(&server, "news", 1).await;
    publisher.publish("news", "still sent").await;
    assert_eq!(next(&mut third).await, "still sent");
    // Subscribing again after the last subscriber was dropped works every time.
    for turn in 0..50 {
        let mut again = publisher.subscribe("news").await;
        replica.publish("news", format!("{turn}")).await;
        assert_eq!(next(&mut again).await, format!("{turn}"));
    }
    wait_for_subscribers(&server, "news", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_topics() {
    let server = TestRedis::start().await;
    let (publisher, replica) = (server.redis().publisher().unwrap(), server.redis().publisher().unwrap());
    let topics: Vec<_> = (0..1200).map(|topic| format!("topic:{topic}")).collect();
    let mut listening = join_all(topics.iter().map(|topic| publisher.subscribe(topic))).await;
    for (topic, listener) in topics.iter().zip(&mut listening) {
        replica.publish(topic, topic.clone()).await;
        assert_eq!(next(listener).await, *topic);
    }
    drop(listening);
    for topic in [&topics[0], &topics[600], &topics[1199]] {
        wait_for_subscribers(&server, topic, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_redis_away_this_process_hears_itself_and_others_again_after() {
    let mut server = TestRedis::start().await;
    let (publisher, replica) = (server.redis().publisher().unwrap(), server.redis().publisher().unwrap());
    let mut before = publisher.subscribe("news").await;
    publish_until_received(&replica, &mut before).await;
    for outage in ["killed", "frozen"] {
        if outage == "killed" {
            server.kill();
        } else {
            server.freeze();
        }
        // The wait is limited, and calls after the first return at once.
        let meanwhile = timeout(Duration::from_secs(2), publisher.subscribe("more")).await.expect(outage);
        let mut meanwhile = meanwhile;
        timeout(Duration::from_secs(2), publisher.publish("news", "here")).await.expect(outage);
        assert_eq!(next(&mut before).await, "here", "{outage}");
        let (many, quick) = (publisher.clone(), Duration::from_millis(500));
        timeout(quick, async move {
            for _ in 0..100 {
                many.publish("nobody", "here").await;
            }
        })
        .await
        .expect(outage);
        if outage == "killed" {
            server.restart().await;
        } else {
            server.unfreeze();
        }
        publish_until_received(&replica, &mut before).await;
        wait_for_subscribers(&server, "more", 1).await;
        replica.publish("more", "also what was asked for meanwhile").await;
        next(&mut meanwhile).await;
        drop(meanwhile);
        wait_for_subscribers(&server, "more", 0).await;
        // Redis's replies come in order, so once this message arrives, the client has processed the earlier ones.
        publish_until_received(&replica, &mut before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_redis_replicas_hear_each_other() {
    let server = TestRedis::start().await;
    let [one, other] = [0, 1].map(|_| {
        let url = server.url();
        TestApp::start(TestDatabase::sqlite(), move |app| app.set("REDIS_URL", url).set("REDIS_PREFIX", "shop"))
    });
    let (one, other) = (one.await, other.await);
    let mut listening = one.app().context().get::<PubSub>().unwrap().subscribe("news").await;
    other.app().context().get::<PubSub>().unwrap().publish("news", "hello").await;
    assert_eq!(next(&mut listening).await, "hello");
}
