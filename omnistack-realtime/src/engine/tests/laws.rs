//! The laws of engines.

use std::time::Duration;

use futures_util::future::join_all;

use super::{EVENT_TIMEOUT, MINUTE, Seen, Subject, channel, entry, member, message, unkept};
use crate::{
    channel::ChannelOptions,
    engine::{ControlMessage, HistoryFilter, NewPublication, PresenceEntry},
    protocol::{ClientInfo, StreamPosition},
};

/// Checks all laws, each on an engine of its own.
pub(super) async fn conforms(start: impl Fn() -> Subject) {
    messages_are_numbered_and_delivered(start()).await;
    concurrent_messages_are_delivered_in_the_order_of_their_numbers(start()).await;
    histories_are_read_in_parts(start()).await;
    a_history_has_a_position_before_its_first_message(start()).await;
    a_latest_value_is_the_only_one(start()).await;
    without_a_history_messages_have_no_number(start()).await;
    of_messages_with_one_key_one_is_delivered(start()).await;
    an_expired_history_keeps_its_position(start()).await;
    subscriptions_can_be_repeated(start()).await;
    presence_is_told_by_user(start()).await;
    presence_that_is_not_told_is_counted(start()).await;
    clients_that_are_not_refreshed_are_gone(start()).await;
    a_client_that_was_lost_is_there_again_after_a_refresh(start()).await;
    a_user_with_another_client_neither_goes_nor_comes(start()).await;
    many_clients_are_refreshed(start()).await;
    many_clients_go_at_once(start()).await;
    requests_reach_this_replica(start()).await;
}

async fn messages_are_numbered_and_delivered(mut subject: Subject) {
    let (room, options) = (channel("room:1"), ChannelOptions::default());
    subject.engine.subscribe(&room).await.unwrap();
    let sender = ClientInfo { user: "u1".to_owned(), client: "c1".to_owned() };
    let with_sender = NewPublication { info: Some(sender.clone()), ..message("one") };
    let first = subject.engine.publish(&room, with_sender, &options).await.unwrap();
    let second = subject.publish(&room, "two", &options).await;
    assert_eq!((first.offset, second.offset), (1, 2));
    assert!(!first.epoch.is_empty());
    assert_eq!(first.epoch, second.epoch);
    for (offset, text) in [(1, "\"one\""), (2, "\"two\"")] {
        let expected = Seen::Message("room:1".to_owned(), first.epoch.clone(), offset, text.to_owned());
        assert_eq!(subject.next().await, expected);
    }
    let page = subject.engine.history(&room, HistoryFilter::default(), &options).await.unwrap();
    assert_eq!(page.position, second);
    let [one, two] = &page.publications[..] else { panic!("two messages") };
    assert_eq!((one.data.get(), one.time, &one.info), ("\"one\"", 1_893_456_000_000, &Some(sender)));
    assert_eq!((two.offset, &two.info), (2, &None));
    let other = subject.publish(&channel("room:2"), "three", &options).await;
    assert_eq!(other.offset, 1, "channels are numbered apart");
}

async fn concurrent_messages_are_delivered_in_the_order_of_their_numbers(mut subject: Subject) {
    let room = channel("room");
    subject.engine.subscribe(&room).await.unwrap();
    let publishers = (0..20).map(|_| {
        let (engine, room) = (subject.engine.clone(), room.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                engine.publish(&room, message("hello"), &ChannelOptions::default()).await.unwrap();
            }
        })
    });
    for ended in join_all(publishers).await {
        ended.unwrap();
    }
    for expected in 1..=200 {
        let Seen::Message(_, _, offset, _) = subject.next().await else { panic!("only messages") };
        assert_eq!(offset, expected);
    }
}

async fn histories_are_read_in_parts(subject: Subject) {
    let room = channel("room");
    let options = ChannelOptions { history_size: 4, ..ChannelOptions::default() };
    for text in ["1", "2", "3", "4", "5"] {
        subject.publish(&room, text, &options).await;
    }
    let table: [(Option<usize>, Option<u64>, bool, &[u64]); 12] = [
        (None, None, false, &[2, 3, 4, 5]),
        (Some(0), None, false, &[]),
        (Some(2), None, false, &[2, 3]),
        (Some(9), None, false, &[2, 3, 4, 5]),
        (None, Some(3), false, &[4, 5]),
        (Some(1), Some(3), false, &[4]),
        (None, Some(5), false, &[]),
        (None, Some(99), false, &[]),
        (None, None, true, &[5, 4, 3, 2]),
        (Some(2), None, true, &[5, 4]),
        (None, Some(4), true, &[3, 2]),
        (None, Some(0), true, &[]),
    ];
    for (limit, since, reverse, expected) in table {
        let filter = HistoryFilter { limit, since, reverse };
        assert_eq!(subject.offsets(&room, filter.clone(), &options).await, expected, "{filter:?}");
        let page = subject.engine.history(&room, filter, &options).await.unwrap();
        assert_eq!(page.position.offset, 5);
    }
}

async fn a_history_has_a_position_before_its_first_message(subject: Subject) {
    let room = channel("room");
    let empty = subject.position(&room).await;
    assert_eq!(empty.offset, 0);
    assert!(!empty.epoch.is_empty());
    assert_eq!(subject.position(&room).await, empty);
    let first = subject.publish(&room, "hello", &ChannelOptions::default()).await;
    assert_eq!(first, StreamPosition { offset: 1, ..empty });
    assert_eq!(subject.position(&room).await, first);
}

async fn a_latest_value_is_the_only_one(subject: Subject) {
    let (job, options) = (channel("job:1"), ChannelOptions { latest_value: true, ..ChannelOptions::default() });
    for text in ["10 %", "20 %", "30 %"] {
        subject.publish(&job, text, &options).await;
    }
    assert_eq!(subject.offsets(&job, HistoryFilter::default(), &options).await, [3]);
}

async fn without_a_history_messages_have_no_number(mut subject: Subject) {
    let room = channel("room");
    subject.engine.subscribe(&room).await.unwrap();
    assert_eq!(subject.publish(&room, "hello", &unkept()).await, StreamPosition::default());
    assert_eq!(subject.next().await, Seen::Message("room".into(), String::new(), 0, "\"hello\"".into()));
    let page = subject.engine.history(&room, HistoryFilter::default(), &unkept()).await.unwrap();
    assert_eq!((page.publications.len(), page.position), (0, StreamPosition::default()));
}

async fn of_messages_with_one_key_one_is_delivered(mut subject: Subject) {
    for options in [ChannelOptions::default(), unkept()] {
        let [room, other] = ["one", "other"].map(|name| channel(&format!("{name}:{}", options.history_size)));
        subject.engine.subscribe(&room).await.unwrap();
        let with_key = || NewPublication { key: Some("key: 1".to_owned()), ..message("hello") };
        let first = subject.engine.publish(&room, with_key(), &options).await.unwrap();
        assert!(matches!(subject.next().await, Seen::Message(..)));
        let again = subject.engine.publish(&room, with_key(), &options).await.unwrap();
        assert_eq!(again, first);
        subject.assert_silent(&room).await;
        subject.engine.publish(&other, with_key(), &options).await.unwrap();
        let kept = subject.offsets(&other, HistoryFilter::default(), &options).await;
        assert_eq!(kept.len(), usize::from(options.history_size > 0), "a key belongs to its channel");
    }
}

async fn an_expired_history_keeps_its_position(subject: Subject) {
    let room = channel("room");
    let options = ChannelOptions { history_ttl: Duration::from_millis(30), ..ChannelOptions::default() };
    let first = subject.publish(&room, "hello", &options).await;
    // In Redis real time has to pass.
    let expired = async {
        loop {
            subject.clock.advance(options.history_ttl);
            if subject.offsets(&room, HistoryFilter::default(), &options).await.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, expired).await.expect("the history expires");
    assert_eq!(subject.position(&room).await, first);
    let second = subject.publish(&room, "hello", &options).await;
    assert_eq!(second, StreamPosition { offset: 2, ..first });
}

async fn subscriptions_can_be_repeated(mut subject: Subject) {
    let room = channel("room");
    for _ in 0..20 {
        subject.engine.subscribe(&room).await.unwrap();
        let sent = subject.publish(&room, "hello", &ChannelOptions::default()).await;
        subject.until(|seen| matches!(seen, Seen::Message(_, _, offset, _) if *offset == sent.offset)).await;
        subject.engine.unsubscribe(&room).await;
    }
}

async fn presence_is_told_by_user(mut subject: Subject) {
    let room = channel("room");
    subject.engine.subscribe(&room).await.unwrap();
    let [phone, laptop, other] =
        [("c1", "user 1"), ("c2", "user 1"), ("c3", "user 2")].map(|(client, user)| entry(&room, client, user));
    subject.join(&phone).await;
    assert_eq!(subject.next().await, member(&room, "user 1", true));
    subject.join(&laptop).await;
    subject.join(&laptop).await;
    subject.join(&other).await;
    assert_eq!(subject.next().await, member(&room, "user 2", true), "the second client of a user is not told");
    assert_eq!(subject.counts(&room).await, (3, 2));
    assert_eq!(subject.clients(&room, 10).await, ["c1", "c2", "c3"]);
    assert_eq!(subject.clients(&room, 2).await.len(), 2);
    assert_eq!(subject.clients(&room, 0).await.len(), 0);
    assert!(subject.engine.presence(&room, 10).await.unwrap().contains(&laptop.info));
    subject.engine.leave(&phone, true).await.unwrap();
    subject.engine.leave(&other, true).await.unwrap();
    assert_eq!(subject.next().await, member(&room, "user 2", false), "user 1 is still there");
    subject.engine.leave(&laptop, true).await.unwrap();
    assert_eq!(subject.next().await, member(&room, "user 1", false));
    subject.engine.leave(&laptop, true).await.unwrap();
    subject.assert_silent(&room).await;
    assert_eq!(subject.counts(&room).await, (0, 0));
    assert_eq!(subject.counts(&channel("never used")).await, (0, 0));
}

async fn presence_that_is_not_told_is_counted(mut subject: Subject) {
    let room = channel("room");
    subject.engine.subscribe(&room).await.unwrap();
    let [one, other] = [("c1", "u1"), ("c2", "u2")].map(|(client, user)| entry(&room, client, user));
    for entry in [&one, &other] {
        subject.engine.join(entry, MINUTE, false).await.unwrap();
    }
    assert_eq!(subject.counts(&room).await, (2, 2));
    subject.engine.leave(&one, false).await.unwrap();
    subject.clock.advance(MINUTE);
    assert_eq!(subject.counts(&room).await, (0, 0));
    subject.assert_silent(&room).await;
}

async fn clients_that_are_not_refreshed_are_gone(mut subject: Subject) {
    let room = channel("room");
    subject.engine.subscribe(&room).await.unwrap();
    let [alive, lost] = [("c1", "u1"), ("c2", "u2")].map(|(client, user)| entry(&room, client, user));
    for entry in [&alive, &lost] {
        subject.join(entry).await;
        subject.next().await;
    }
    subject.clock.advance(MINUTE * 2 / 3);
    subject.engine.refresh(std::slice::from_ref(&alive), MINUTE).await.unwrap();
    assert_eq!(subject.counts(&room).await, (2, 2));
    subject.clock.advance(MINUTE * 2 / 3);
    assert_eq!(subject.clients(&room, 10).await, ["c1"]);
    assert_eq!(subject.next().await, member(&room, "u2", false));
    assert_eq!(subject.counts(&room).await, (1, 1));
    subject.engine.refresh(std::slice::from_ref(&alive), MINUTE).await.unwrap();
    subject.assert_silent(&room).await;
}

async fn a_client_that_was_lost_is_there_again_after_a_refresh(mut subject: Subject) {
    let room = channel("room");
    subject.engine.subscribe(&room).await.unwrap();
    let late = entry(&room, "c1", "u1");
    subject.join(&late).await;
    subject.clock.advance(MINUTE);
    assert_eq!(subject.counts(&room).await, (0, 0));
    subject.engine.refresh(&[late], MINUTE).await.unwrap();
    assert_eq!(subject.counts(&room).await, (1, 1));
    for is_join in [true, false, true] {
        assert_eq!(subject.next().await, member(&room, "u1", is_join));
    }
    subject.assert_silent(&room).await;
}

async fn a_user_with_another_client_neither_goes_nor_comes(mut subject: Subject) {
    let room = channel("room");
    subject.engine.subscribe(&room).await.unwrap();
    subject.join(&entry(&room, "c1", "u1")).await;
    assert_eq!(subject.next().await, member(&room, "u1", true));
    subject.clock.advance(MINUTE);
    subject.join(&entry(&room, "c2", "u1")).await;
    assert_eq!(subject.clients(&room, 10).await, ["c2"]);
    assert_eq!(subject.counts(&room).await, (1, 1));
    subject.assert_silent(&room).await;
}

async fn many_clients_are_refreshed(subject: Subject) {
    let rooms = ["room:1", "room:2", "room:3"].map(channel);
    let entries: Vec<PresenceEntry> = (0..600_usize)
        .map(|client| entry(&rooms[client % 3], &format!("c{client}"), &format!("u{}", client % 100)))
        .collect();
    subject.engine.refresh(&[], MINUTE).await.unwrap();
    for _ in 0..3 {
        subject.engine.refresh(&entries, MINUTE).await.unwrap();
        subject.clock.advance(MINUTE * 2 / 3);
        for room in &rooms {
            assert_eq!(subject.counts(room).await, (200, 100));
        }
    }
}

async fn many_clients_go_at_once(subject: Subject) {
    let room = channel("room");
    let lost: Vec<_> = (0..5_000).map(|client| entry(&room, &format!("c{client}"), &format!("u{client}"))).collect();
    subject.engine.refresh(&lost, MINUTE).await.unwrap();
    assert_eq!(subject.counts(&room).await, (5_000, 5_000));
    subject.clock.advance(MINUTE);
    assert_eq!(subject.clients(&room, 10).await.len(), 0);
    assert_eq!(subject.counts(&room).await.0, 0);
    subject.engine.refresh(&[entry(&room, "alive", "u1")], MINUTE).await.unwrap();
    assert_eq!(subject.clients(&room, 10).await, ["alive"]);
    assert_eq!(subject.counts(&room).await, (1, 1));
}

async fn requests_reach_this_replica(mut subject: Subject) {
    let requests = [
        ControlMessage::Disconnect { user: Some("u1".into()), tenant: None, client: None, code: 3503 },
        ControlMessage::Commands {
            node: "n1".into(),
            session: "s1".into(),
            caller: "u1".into(),
            data: "{\"id\":1}\n{\"id\":2}".into(),
        },
    ];
    for request in requests {
        // Nothing signals that the engine has begun to receive requests.
        let received = async {
            loop {
                subject.engine.control(&request).await.unwrap();
                let seen = tokio::time::timeout(Duration::from_millis(50), subject.seen.recv()).await;
                if seen == Ok(Some(Seen::Control(request.clone()))) {
                    return;
                }
            }
        };
        tokio::time::timeout(EVENT_TIMEOUT, received).await.expect("the request arrives");
    }
    let (node, session, caller, data) = ("n2".into(), "s1".into(), "u1".into(), "{}".into());
    let unknown = ControlMessage::Commands { node, session, caller, data };
    assert!(!subject.engine.control(&unknown).await.unwrap(), "there is no such replica");
}
