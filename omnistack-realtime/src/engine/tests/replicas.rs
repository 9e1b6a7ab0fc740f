//! Tests of several replicas that share a Redis, and of its outages.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use omnistack_testkit::TestRedis;
use tokio::time::timeout;

use super::{EVENT_TIMEOUT, MINUTE, Seen, Subject, channel, entry, laws, member, message, unkept};
use crate::{
    channel::{ChannelKey, ChannelOptions},
    engine::{ControlMessage, HistoryFilter, NewPublication, RedisEngine},
};

const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);
/// Enough for a busy machine.
const LONG_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts a replica.
fn replica(server: &TestRedis, prefix: &str, command_timeout: Duration) -> Subject {
    let redis = server.redis_with(prefix, command_timeout);
    Subject::start(move |clock| Arc::new(RedisEngine::new(redis, clock).unwrap()))
}

/// Publishes from a replica until another one receives a numbered message, since nothing signals that the
/// subscriptions are restored.
async fn publish_until_received(publisher: &Subject, receiver: &mut Subject, room: &ChannelKey) {
    let received = async {
        loop {
            _ = publisher.try_publish(room, "ping").await;
            let seen = timeout(Duration::from_millis(50), receiver.seen.recv()).await;
            if matches!(seen, Ok(Some(Seen::Message(name, _, 1.., _))) if name == room.name()) {
                return;
            }
        }
    };
    timeout(EVENT_TIMEOUT, received).await.expect("the message arrives");
}

/// Publishes until a message is delivered in this process only.
async fn publish_until_delivered_here(replica: &mut Subject, room: &ChannelKey) {
    let delivered = async {
        while replica.try_publish(room, "here").await.is_err() {}
        replica.until(|seen| matches!(seen, Seen::Message(_, _, 0, _))).await
    };
    let Seen::Message(_, epoch, _, data) = timeout(EVENT_TIMEOUT, delivered).await.expect("the message is delivered")
    else {
        panic!("a message")
    };
    assert_eq!((&*epoch, &*data), ("", "\"here\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_in_redis_conforms() {
    let server = TestRedis::start().await;
    laws::conforms(|| replica(&server, &format!("{:x}", rand::random::<u64>()), LONG_TIMEOUT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_get_all_messages_in_the_same_order() {
    let server = TestRedis::start().await;
    let [mut one, mut other] = [(); 2].map(|()| replica(&server, "test", LONG_TIMEOUT));
    let stranger = replica(&server, "stranger", LONG_TIMEOUT);
    let room = channel("room");
    for replica in [&one, &other, &stranger] {
        replica.engine.subscribe(&room).await.unwrap();
    }
    let publishing = (0..100).map(|turn| {
        let (publisher, room) = (if turn % 2 == 0 { &one } else { &other }, &room);
        async move { publisher.try_publish(room, &format!("message {turn}")).await.unwrap() }
    });
    join_all(publishing).await;
    for offset in 1..=100 {
        let seen = one.next().await;
        assert!(matches!(&seen, Seen::Message(_, _, number, _) if *number == offset), "{seen:?} at {offset}");
        assert_eq!(other.next().await, seen);
    }
    assert_eq!(one.position(&room).await, other.position(&room).await);
    assert_eq!(stranger.position(&room).await.offset, 0, "another prefix is another app");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_lost_replica_go_within_their_time() {
    let server = TestRedis::start().await;
    let [mut alive, lost] = [(); 2].map(|()| replica(&server, "test", LONG_TIMEOUT));
    let room = channel("room");
    alive.engine.subscribe(&room).await.unwrap();
    let here = entry(&room, "c1", "u1");
    alive.join(&here).await;
    for (client, user) in [("c2", "u1"), ("c3", "u2"), ("c4", "u2")] {
        lost.join(&entry(&room, client, user)).await;
    }
    drop(lost);
    for user in ["u1", "u2"] {
        assert_eq!(alive.next().await, member(&room, user, true));
    }
    assert_eq!(alive.counts(&room).await, (4, 2));
    alive.clock.advance(MINUTE);
    alive.engine.refresh(&[here], MINUTE).await.unwrap();
    assert_eq!(alive.next().await, member(&room, "u2", false), "once, and not for the user who is here too");
    assert_eq!(alive.counts(&room).await, (1, 1));
    alive.assert_silent(&room).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_reach_all_replicas() {
    let server = TestRedis::start().await;
    let mut replicas = [(); 3].map(|()| replica(&server, "test", LONG_TIMEOUT));
    let request = ControlMessage::Disconnect { user: None, tenant: None, client: Some("c1".into()), code: 3011 };
    let subscribed = async {
        while !server.command("PUBSUB NUMSUB test:s:control").unwrap().ends_with(":3") {
            tokio::task::yield_now().await;
        }
    };
    timeout(EVENT_TIMEOUT, subscribed).await.expect("all replicas receive requests");
    replicas[1].engine.control(&request).await.unwrap();
    for replica in &mut replicas {
        assert_eq!(replica.next().await, Seen::Control(request.clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_redis_away_this_replica_delivers_and_checks_positions_after() {
    let mut server = TestRedis::start().await;
    let [mut one, mut other] = [(); 2].map(|()| replica(&server, "test", COMMAND_TIMEOUT));
    let (room, late) = (channel("room"), channel("late"));
    for replica in [&one, &other] {
        replica.engine.subscribe(&room).await.unwrap();
    }
    publish_until_received(&one, &mut other, &room).await;
    for outage in ["killed", "frozen"] {
        let epoch = other.position(&room).await.epoch;
        if outage == "killed" {
            server.kill();
        } else {
            server.freeze();
        }
        publish_until_delivered_here(&mut one, &room).await;
        // Nothing waits for Redis any more.
        let quick = async {
            one.engine.subscribe(&late).await.unwrap();
            for _ in 0..100 {
                assert_eq!(one.try_publish(&room, "here").await.unwrap().offset, 0);
            }
            let failed = [
                one.engine.history(&room, HistoryFilter::default(), &ChannelOptions::default()).await.err(),
                one.engine.presence_stats(&room).await.err(),
                one.engine.join(&entry(&room, "c1", "u1"), MINUTE, true).await.err(),
            ];
            for error in failed {
                assert_eq!(error.expect(outage).code(), "REALTIME_UNAVAILABLE");
            }
        };
        timeout(COMMAND_TIMEOUT, quick).await.expect(outage);
        let request = ControlMessage::Disconnect { user: None, tenant: None, client: Some("c1".into()), code: 3011 };
        assert!(one.engine.control(&request).await.is_err(), "it does not reach all replicas");
        one.until(|seen| *seen == Seen::Control(request.clone())).await;

        if outage == "killed" {
            server.restart().await;
        } else {
            server.unfreeze();
        }
        one.until(|seen| *seen == Seen::Lost).await;
        // The subscribers of the other replica must find out that they have missed messages.
        let told = async {
            // It may not be connected again yet.
            while other.try_position(&room).await.is_none_or(|position| position.epoch == epoch) {
                tokio::task::yield_now().await;
            }
        };
        timeout(EVENT_TIMEOUT, told).await.expect(outage);
        publish_until_received(&other, &mut one, &room).await;
        publish_until_received(&one, &mut other, &room).await;
        // A subscription that was asked for meanwhile is made.
        publish_until_received(&other, &mut one, &late).await;
        one.engine.unsubscribe(&late).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_subscribers_keeps_no_message_for_itself_that_can_be_repeated() {
    let mut server = TestRedis::start().await;
    let [worker, mut front] = [(); 2].map(|()| replica(&server, "test", COMMAND_TIMEOUT));
    let (room, options) = (channel("room"), ChannelOptions::default());
    front.engine.subscribe(&room).await.unwrap();
    publish_until_received(&worker, &mut front, &room).await;
    server.kill();
    publish_until_delivered_here(&mut front, &room).await;
    let with_key = |text: &str| NewPublication { key: Some(text.to_owned()), ..message(text) };
    let here = front.engine.publish(&room, with_key("here"), &options).await.unwrap();
    assert_eq!(here.offset, 0);
    let error = worker.engine.publish(&room, with_key("repeated"), &options).await.unwrap_err();
    assert_eq!(error.code(), "REALTIME_UNAVAILABLE");
    server.restart().await;
    publish_until_received(&worker, &mut front, &room).await;
    worker.engine.publish(&room, with_key("repeated"), &options).await.unwrap();
    front.until(|seen| matches!(seen, Seen::Message(_, _, 1.., text) if text == "\"repeated\"")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_is_away_until_it_stores_again() {
    let server = TestRedis::start().await;
    let mut subject = replica(&server, "test", LONG_TIMEOUT);
    let room = channel("room");
    subject.engine.subscribe(&room).await.unwrap();
    let before = subject.try_publish(&room, "stored").await.unwrap();
    server.command("CONFIG SET maxmemory 1").unwrap();
    publish_until_delivered_here(&mut subject, &room).await;
    // It still passes on what it does not store, and answers.
    subject.publish(&room, "not stored", &unkept()).await;
    let told = timeout(Duration::from_millis(2_500), subject.until(|seen| *seen == Seen::Lost)).await;
    assert!(told.is_err(), "positions are not checked while they can't be stored");
    server.command("CONFIG SET maxmemory 0").unwrap();
    subject.until(|seen| *seen == Seen::Lost).await;
    let forgotten = async {
        while subject.position(&room).await.epoch == before.epoch {
            tokio::task::yield_now().await;
        }
    };
    timeout(EVENT_TIMEOUT, forgotten).await.expect("the history lacks a message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_is_right_again_after_a_part_of_it_was_evicted() {
    let server = TestRedis::start().await;
    let subject = replica(&server, "test", LONG_TIMEOUT);
    let room = channel("room");
    let entries = [("c1", "u1"), ("c2", "u1"), ("c3", "u2")].map(|(client, user)| entry(&room, client, user));
    subject.engine.refresh(&entries, MINUTE).await.unwrap();
    for kind in ["p", "d", "u"] {
        server.command(&format!("DEL test:s:{kind}:-/room")).unwrap();
        subject.engine.refresh(&entries, MINUTE).await.unwrap();
        assert_eq!(subject.counts(&room).await, (3, 2), "{kind}");
        assert_eq!(subject.clients(&room, 10).await, ["c1", "c2", "c3"], "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_history_begins_a_new_epoch() {
    let server = TestRedis::start().await;
    let mut subject = replica(&server, "test", LONG_TIMEOUT);
    let (room, options) = (channel("room"), ChannelOptions::default());
    subject.engine.subscribe(&room).await.unwrap();
    let mut epoch = subject.publish(&room, "hello", &options).await.epoch;
    subject.next().await;
    // All is lost; or the position but not the messages, as when a full Redis evicts it.
    for loss in ["FLUSHALL", "DEL test:s:o:-/room"] {
        server.command(loss).unwrap();
        for offset in [1, 2] {
            let after = subject.publish(&room, "hello", &options).await;
            assert_eq!(after.offset, offset, "{loss}");
            assert_ne!(after.epoch, epoch, "{loss}");
            let Seen::Message(_, told, number, _) = subject.next().await else { panic!("only messages") };
            assert_eq!((told, number), (after.epoch, offset), "{loss}");
        }
        assert_eq!(subject.offsets(&room, HistoryFilter::default(), &options).await, [1, 2], "{loss}");
        epoch = subject.position(&room).await.epoch;
    }
    server.command("DEL test:s:o:-/room").unwrap();
    assert!(subject.offsets(&room, HistoryFilter::default(), &options).await.is_empty());
    let after = subject.position(&room).await;
    assert_eq!(after.offset, 0);
    assert_ne!(after.epoch, epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_went_back_begins_a_new_epoch_and_keeps_its_messages() {
    let (server, copy) = (TestRedis::start().await, TestRedis::start().await);
    // The first replica of a server gives it another id.
    copy.copy_from(&server).await;
    let mut subject = replica(&server, "test", LONG_TIMEOUT);
    let (room, options) = (channel("room"), ChannelOptions::default());
    subject.engine.subscribe(&room).await.unwrap();
    let first = subject.position(&room).await;
    for number in 1..=120 {
        subject.publish(&room, &format!("message {number}"), &options).await;
        subject.next().await;
        if number == 100 {
            copy.copy_from(&server).await;
        }
    }
    let before = subject.position(&room).await;
    assert_eq!((before.offset, &before.epoch), (120, &first.epoch));
    // A replica is promoted that lacks the last messages, and after it another one, before anything is published.
    for _ in 0..2 {
        server.copy_from(&copy).await;
        let after = subject.position(&room).await;
        assert_eq!(after.offset, 100);
        assert_ne!(after.epoch, before.epoch);
    }
    let after = subject.position(&room).await;
    for offset in 101..=125 {
        let published = subject.publish(&room, "other", &options).await;
        assert_eq!((published.offset, &published.epoch), (offset, &after.epoch));
        let Seen::Message(_, epoch, number, _) = subject.next().await else { panic!("only messages") };
        assert_eq!((number, epoch), (offset, published.epoch));
    }
    let offsets = subject.offsets(&room, HistoryFilter::default(), &options).await;
    assert_eq!(offsets, (1..=125).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_subscribers_publishes() {
    let server = TestRedis::start().await;
    let (worker, mut front) = (replica(&server, "test", LONG_TIMEOUT), replica(&server, "test", LONG_TIMEOUT));
    let rooms: Vec<_> = (0..1200).map(|room| channel(&format!("room:{room}"))).collect();
    join_all(rooms.iter().map(|room| front.engine.subscribe(room))).await;
    for room in &rooms {
        worker.engine.publish(room, message("hello"), &ChannelOptions::default()).await.unwrap();
        let Seen::Message(name, ..) = front.next().await else { panic!("only messages") };
        assert_eq!(name, room.name());
    }
}
