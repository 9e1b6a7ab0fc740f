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
    realtime::{RealtimeChannel, RealtimePublisher},
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
    async fn start(replicas: usize, recovery_limit: &str) -> Self {
        let redis = TestRedis::start().await;
        let url = redis.url();
        let settings = [
            ("REDIS_URL", url.as_str()),
            ("REDIS_PREFIX", "test"),
            // On a busy machine, a message that may have been published is not published again.
            ("REDIS_COMMAND_TIMEOUT", "30s"),
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
    let mut cluster = Cluster::start(replicas, recovery_limit).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_of_the_messages_that_were_lost_with_redis() {
    const BEFORE: u64 = 100;
    const LOST: u64 = 100;
    let mut cluster = Cluster::start(2, "300").await;
    let mut followers = cluster.follow(2, BEFORE + LOST + 1).await;
    let publisher = cluster.publisher();
    let channels = [cluster.channel(0), cluster.channel(1)];
    let publish = async |number: u64| {
        for channel in &channels {
            // While Redis is away, a message that may have been published is an error.
            _ = publisher.publish(channel.clone(), &json!({ "number": number })).await;
        }
    };
    for number in 1..=BEFORE {
        publish(number).await;
    }
    cluster.redis.kill();
    for number in BEFORE + 1..=BEFORE + LOST {
        publish(number).await;
    }
    cluster.redis.restart().await;
    let told = async {
        let mut number = BEFORE + LOST;
        while !followers.is_empty() {
            number += 1;
            publish(number).await;
            // Nothing signals that the replicas have noticed.
            if let Ok(Some(report)) = timeout(Duration::from_millis(50), followers.join_next()).await {
                let (_, report) = report.unwrap();
                assert!(report.losses > 0, "{report:?}");
            }
        }
    };
    timeout(CLUSTER_TIMEOUT, told).await.unwrap();
}
