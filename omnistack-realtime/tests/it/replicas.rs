//! Tests of several replicas that share a Redis, of which one is killed, or whose Redis is lost.

#![cfg(test)]

pub(crate) mod balancer;
mod follower;
pub(crate) mod process;

use std::time::Duration;

use omnistack_core::{
    clock::Clock,
    id::Id,
    identity::TenantId,
    realtime::{RealtimeChannel, RealtimeMessage, RealtimePublisher},
};
use omnistack_realtime::Realtime;
use omnistack_testkit::{TestApp, TestDatabase, TestRedis};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use self::{
    follower::{Follower, FollowerReport},
    process::{Replica, TokenCallers, channels, token},
};

/// Channels in which numbered messages are published.
const CHANNELS: usize = 10;
/// Messages in a channel, which are 100,000 in all of them.
const CHANNEL_MESSAGES: u64 = 10_000;
/// Published messages after which a replica is killed.
const MESSAGES_BEFORE_DEATH: u64 = 40_000;
/// Longest time until all clients have all messages.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(200);

/// Replicas that share a Redis, and an app that publishes.
struct Cluster {
    redis: TestRedis,
    replicas: Vec<Replica>,
    /// It has no clients, like a worker.
    worker: TestApp,
    tenant: TenantId,
}

impl Cluster {
    async fn start(replicas: usize, recovery_limit: &str, command_timeout: &str) -> Self {
        let redis = TestRedis::start().await;
        let url = redis.url();
        let settings = [
            ("REDIS_URL", url.as_str()),
            ("REDIS_PREFIX", "test"),
            ("REDIS_COMMAND_TIMEOUT", command_timeout),
            ("REALTIME_RECOVERY_LIMIT", recovery_limit),
            ("REALTIME_POSITION_CHECK", "2s"),
        ];
        let mut running = Vec::new();
        for _ in 0..replicas {
            running.push(Replica::start(&settings).await);
        }
        let worker = TestApp::start_with_auth(TestDatabase::sqlite(), |app| {
            let app = app.clock(Clock::system()).with(TokenCallers::default());
            let app = app.with(Realtime::from_env().channels(channels()));
            settings.iter().fold(app, |app, (name, value)| app.set(*name, *value))
        })
        .await;
        Self { redis, replicas: running, worker, tenant: Id::from_uuid(Uuid::new_v4()) }
    }

    /// Starts a client of each replica for each channel, and waits until they are subscribed.
    async fn follow(&self, channels: usize, until: u64) -> JoinSet<(usize, FollowerReport)> {
        let (subscribed, mut subscriptions) = mpsc::unbounded_channel();
        let mut followers = JoinSet::new();
        for channel in 0..channels {
            for replica in 0..self.replicas.len() {
                let mut addresses: Vec<_> = self.replicas.iter().map(|replica| replica.address).collect();
                addresses.rotate_left(replica);
                let follower = Follower {
                    token: token(self.tenant, Id::from_uuid(Uuid::new_v4()), "all", None),
                    channel: format!("run:{channel}"),
                    addresses,
                    until,
                    subscribed: subscribed.clone(),
                };
                followers.spawn(async move { (replica, follower.follow().await) });
            }
        }
        for _ in 0..followers.len() {
            timeout(CLUSTER_TIMEOUT, subscriptions.recv()).await.unwrap().unwrap();
        }
        followers
    }

    fn publisher(&self) -> RealtimePublisher {
        self.worker.app().context().get().unwrap()
    }

    fn channel(&self, number: usize) -> RealtimeChannel {
        RealtimeChannel::of_tenant(self.tenant, format!("run:{number}")).unwrap()
    }
}

/// Kills the first of the replicas while messages are published, and checks what its clients and the others get.
async fn assert_survives_a_death(replicas: usize, recovery_limit: &str) {
    // Longer than a busy machine takes: a message that may have been published is not published again.
    let mut cluster = Cluster::start(replicas, recovery_limit, "30s").await;
    let followers = cluster.follow(CHANNELS, CHANNEL_MESSAGES).await;
    let (count, mut counted) = watch::channel(0_u64);
    let mut publishing = JoinSet::new();
    for number in 0..CHANNELS {
        let (publisher, channel, count) = (cluster.publisher(), cluster.channel(number), count.clone());
        publishing.spawn(async move {
            for number in 1..=CHANNEL_MESSAGES {
                publisher.publish(channel.clone(), &json!({ "number": number })).await.unwrap();
                count.send_modify(|count| *count += 1);
            }
        });
    }
    timeout(CLUSTER_TIMEOUT, counted.wait_for(|count| *count >= MESSAGES_BEFORE_DEATH)).await.unwrap().unwrap();
    cluster.replicas[0].kill().await;
    timeout(CLUSTER_TIMEOUT, publishing.join_all()).await.unwrap();
    let reports = timeout(CLUSTER_TIMEOUT, followers.join_all()).await.unwrap();
    assert_eq!(reports.len(), CHANNELS * replicas);
    for (replica, report) in &reports {
        let is_resumed = *replica == 0;
        assert!(!is_resumed || report.subscriptions >= 2, "{report:?}");
        let is_complete = report.received == CHANNEL_MESSAGES;
        assert!(is_complete || report.losses > 0, "{report:?}");
    }
    let recoveries: u32 = reports.iter().map(|(_, report)| report.recoveries).sum();
    assert!(recoveries > 0, "{reports:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_one_is_killed_and_no_message_is_lost_silently() {
    assert_survives_a_death(2, "300").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_replicas_one_is_killed_and_no_message_is_lost_silently() {
    assert_survives_a_death(3, "10000").await;
}

/// A failure of Redis.
#[derive(Clone, Copy, Debug)]
enum RedisFailure {
    /// It is killed, and starts again without data.
    Killed,
    /// It accepts connections and does not reply for a while.
    Frozen,
    /// An operator deletes its data while it runs.
    Flushed,
    /// It fails over to a replica that lacks the last messages.
    FailedOver,
}

/// Lets Redis fail while messages are published. A client has all messages in the end, or was told that it missed some;
/// the follower checks that none is missed silently.
async fn assert_told_after(failure: RedisFailure) {
    const COPIED: u64 = 60;
    const BEFORE: u64 = 100;
    const DURING: u64 = 100;
    let mut cluster = Cluster::start(2, "300", "500ms").await;
    let replica_of_redis = TestRedis::start().await;
    if matches!(failure, RedisFailure::FailedOver) {
        // The first replica of a server begins another epoch.
        replica_of_redis.copy_from(&cluster.redis).await;
    }
    let mut followers = cluster.follow(2, BEFORE + DURING + 1).await;
    let publisher = cluster.publisher();
    let channels = [cluster.channel(0), cluster.channel(1)];
    // Returns whether all were published. A message that may have been published is an error.
    let publish = async |number: u64| {
        let mut is_published = true;
        for channel in &channels {
            let message = RealtimeMessage::new(channel.clone(), &json!({ "number": number })).unwrap();
            is_published &= publisher.send(message.with_key(format!("{number}"))).await.is_ok();
        }
        is_published
    };
    for number in 1..=BEFORE {
        assert!(publish(number).await);
        if number == COPIED && matches!(failure, RedisFailure::FailedOver) {
            replica_of_redis.copy_from(&cluster.redis).await;
        }
    }
    match failure {
        RedisFailure::Killed => cluster.redis.kill(),
        RedisFailure::Frozen => cluster.redis.freeze(),
        RedisFailure::Flushed => assert_eq!(cluster.redis.command("FLUSHALL").unwrap(), "+OK"),
        RedisFailure::FailedOver => cluster.redis.copy_from(&replica_of_redis).await,
    }
    for number in BEFORE + 1..=BEFORE + DURING {
        while !publish(number).await && matches!(failure, RedisFailure::Frozen) {
            cluster.redis.unfreeze();
        }
    }
    match failure {
        RedisFailure::Killed => cluster.redis.restart().await,
        RedisFailure::Frozen => cluster.redis.unfreeze(),
        RedisFailure::Flushed | RedisFailure::FailedOver => {}
    }
    let told = async {
        let mut number = BEFORE + DURING;
        while !followers.is_empty() {
            number += 1;
            _ = publish(number).await;
            // Nothing signals that the replicas have noticed.
            if let Ok(Some(report)) = timeout(Duration::from_millis(50), followers.join_next()).await {
                let (_, report) = report.unwrap();
                // What a frozen Redis keeps can be recovered.
                let may_be_complete = matches!(failure, RedisFailure::Frozen);
                assert!(report.losses > 0 || may_be_complete, "{failure:?}: {report:?}");
            }
        }
    };
    timeout(CLUSTER_TIMEOUT, told).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_of_the_messages_that_were_lost_with_redis() {
    for failure in [RedisFailure::Killed, RedisFailure::Frozen, RedisFailure::Flushed, RedisFailure::FailedOver] {
        assert_told_after(failure).await;
    }
}
