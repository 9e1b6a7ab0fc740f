//! Messages, histories and recovery.

use super::{
    fake_engine::{FAKE_CHANNEL, FakeEngine},
    *,
};
use crate::hub::{ConnectionFilter, HubStats};

#[tokio::test]
async fn messages_come_in_order_with_their_offsets() {
    let test = TestHub::start(&[]);
    let (mut alice, mut bob) = (test.connect("alice").await, test.connect("bob").await);
    alice.subscribe("room:1").await;
    bob.subscribe("room:1").await;
    bob.subscribe("room:2").await;
    for number in 1..=5 {
        test.publish("room:1", json!(number)).await;
    }
    for client in [&mut alice, &mut bob] {
        let pushes: Vec<_> = client.rest().into_iter().filter(|line| line["push"]["pub"].is_object()).collect();
        assert!(pushes.iter().all(|push| push["push"]["channel"] == "room:1"));
        let offsets: Vec<_> = pushes.iter().filter_map(|push| push["push"]["pub"]["offset"].as_u64()).collect();
        assert_eq!(offsets, [1, 2, 3, 4, 5]);
    }
    alice.command("unsubscribe", json!({ "channel": "room:1" })).await;
    test.publish("room:1", json!(6)).await;
    assert_eq!((alice.messages(), bob.messages()), (vec![], vec![json!(6)]));
    assert_eq!(test.hub.stats().subscriptions, 2);
    drop((alice, bob));
    test.advance(10).await;
    assert_eq!(test.hub.stats(), HubStats::default());
}

#[tokio::test]
async fn a_recovery_is_whole_or_says_that_it_is_not() {
    let test = TestHub::start(&[("REALTIME_RECOVERY_LIMIT", "300")]);
    let mut client = test.connect("alice").await;
    let start = client.subscribe("room:1").await;
    assert_eq!((&start["recoverable"], &start["positioned"]), (&json!(true), &json!(true)));
    let epoch = start["epoch"].clone();
    for number in 1..=301 {
        test.publish("room:1", json!(number)).await;
    }
    let other = json!("other");
    for (epoch, offset, recovered, count) in [
        (&epoch, 301, true, 0),
        (&epoch, 298, true, 3),
        (&epoch, 1, true, 300),
        (&epoch, 0, false, 0),
        (&epoch, 302, false, 0),
        (&other, 301, false, 0),
    ] {
        let mut client = test.connect("alice").await;
        let result = client.recover("room:1", epoch, offset).await;
        let publications = result["publications"].as_array().cloned().unwrap_or_default();
        assert_eq!(result["was_recovering"], true);
        assert_eq!(result["recovered"].as_bool().unwrap_or_default(), recovered, "{epoch} {offset}");
        assert_eq!(publications.len(), count, "{epoch} {offset}");
        assert_eq!(result["offset"], 301);
        let expected = (offset + 1..).take(count);
        assert!(publications.iter().map(|publication| publication["offset"].as_u64().unwrap()).eq(expected));
    }
    let mut client = test.connect("alice").await;
    let parameters = json!({ "channel": "room:1", "recover": true, "epoch": "other", "offset": 1, "flag": 2 });
    assert_eq!(client.command("subscribe", parameters).await["error"]["code"], 112);
    client.subscribe("room:1").await;
}

#[tokio::test]
async fn a_recovery_larger_than_the_queue_is_not_begun() {
    let test = TestHub::start(&[("REALTIME_QUEUE", "64KiB")]);
    let mut client = test.connect("alice").await;
    let start = client.subscribe("room:1").await;
    for _ in 0..5 {
        test.publish("room:1", json!("x".repeat(10_000))).await;
        client.read();
    }
    let mut client = test.connect("alice").await;
    let result = client.recover("room:1", &start["epoch"], 0).await;
    assert_eq!((&result["recovered"], &result["publications"]), (&Value::Null, &Value::Null));
    let history = client.command("history", json!({ "channel": "room:1", "limit": -1 })).await;
    assert_eq!(history["history"]["publications"].as_array().unwrap().len(), 3);
    assert_eq!(client.closed(), None);
}

#[tokio::test]
async fn recoveries_in_one_frame_wait_until_the_client_has_read_the_former_ones() {
    let test = TestHub::start(&[("REALTIME_QUEUE", "64KiB")]);
    let mut client = test.connect("alice").await;
    let mut commands = vec![json!({ "id": 1, "connect": { "token": "alice" } }).to_string()];
    for room in 1..=8 {
        let name = format!("room:{room}");
        let epoch = client.subscribe(&name).await["epoch"].clone();
        test.publish(&name, json!("x".repeat(20_000))).await;
        client.read();
        let subscribe = json!({ "channel": name, "recover": true, "epoch": epoch, "offset": 0 });
        commands.push(json!({ "id": room + 1, "subscribe": subscribe }).to_string());
    }
    let mut client = test.open();
    let frame = commands.join("\n");
    let mut frames = Vec::new();
    {
        let TestClient { session, reader, .. } = &mut client;
        let handling = session.handle(&frame);
        tokio::pin!(handling);
        loop {
            tokio::select! {
                handled = &mut handling => {
                    assert_eq!(handled, Ok(()));
                    break;
                }
                item = reader.next() => {
                    let OutboundItem::Frames(read) = item else { panic!("the connection is closed") };
                    frames.extend(read);
                }
            }
        }
    }
    let mut lines: Vec<Value> = frames.iter().map(|frame| serde_json::from_slice(frame).unwrap()).collect();
    lines.extend(client.rest());
    let recovered = lines.iter().filter(|line| line["subscribe"]["recovered"] == true).count();
    assert_eq!((recovered, client.closed()), (8, None));
}

#[tokio::test]
async fn histories_are_read_in_pages() {
    let test = TestHub::start(&[]);
    let mut client = test.connect("alice").await;
    for number in 1..=9 {
        test.publish("room:1", json!(number)).await;
    }
    let history = client.command("history", json!({ "channel": "room:1" })).await["history"].clone();
    assert_eq!((&history["offset"], &history["publications"]), (&json!(9), &json!([])));
    let epoch = &history["epoch"];
    for (parameters, expected) in [
        (json!({ "limit": -1 }), vec![1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (json!({ "limit": 2 }), vec![1, 2]),
        (json!({ "limit": 2, "reverse": true }), vec![9, 8]),
        (json!({ "limit": 2, "since": { "offset": 4, "epoch": epoch } }), vec![5, 6]),
        (json!({ "limit": 2, "since": { "offset": 4, "epoch": epoch }, "reverse": true }), vec![3, 2]),
        (json!({ "limit": -1, "since": { "offset": 9, "epoch": epoch } }), vec![]),
    ] {
        let mut request = parameters.clone();
        request["channel"] = json!("room:1");
        let history = client.command("history", request).await["history"].clone();
        let offsets: Vec<_> =
            history["publications"].as_array().unwrap().iter().map(|one| one["offset"].as_u64().unwrap()).collect();
        assert_eq!(offsets, expected, "{parameters}");
    }
    let other = json!({ "channel": "room:1", "limit": 1, "since": { "offset": 4, "epoch": "other" } });
    assert_eq!(client.command("history", other).await["error"]["code"], 112);
}

#[tokio::test]
async fn clients_of_latest_value_channels_get_the_newest_message() {
    let test = TestHub::start(&[]);
    let mut client = test.connect("alice").await;
    client.subscribe("progress:1").await;
    client.subscribe("room:1").await;
    client.rest();
    for number in 1..=100 {
        test.publish("progress:1", json!(number)).await;
    }
    test.publish("room:1", json!("other")).await;
    assert_eq!(client.messages(), [json!(100), json!("other")]);
    test.publish("progress:1", json!(101)).await;
    assert_eq!(client.messages(), [json!(101)]);

    let mut client = test.connect("alice").await;
    let result = client.subscribe("progress:1").await;
    assert_eq!(result["publications"][0]["data"], 101);
    let mut client = test.connect("alice").await;
    let result = client.recover("progress:1", &result["epoch"], 40).await;
    assert_eq!((&result["recovered"], &result["publications"][0]["data"]), (&json!(true), &json!(101)));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_holds_up_no_other() {
    let test = TestHub::start(&[("REALTIME_QUEUE", "64KiB")]);
    let (mut slow, mut quick) = (test.connect("alice").await, test.connect("bob").await);
    slow.subscribe("room:1").await;
    quick.subscribe("room:1").await;
    slow.rest();
    quick.rest();
    let text = "x".repeat(1000);
    for number in 0..1000 {
        test.publish("room:1", json!([number, text])).await;
        assert_eq!(quick.messages().len(), 1);
    }
    let queued = test.hub.connections(&ConnectionFilter::default(), 10).iter().map(|found| found.queued_bytes).max();
    assert!(queued.is_some_and(|bytes| bytes <= 64 * 1024), "{queued:?}");
    // What waited is gone: the client recovers it.
    assert_eq!((slow.rest(), slow.closed()), (vec![], Some(CloseCode::Slow)));
    assert_eq!(slow.session.handle(r#"{"id":9,"presence":{"channel":"room:1"}}"#).await, Err(CloseCode::Slow));
}

#[tokio::test]
async fn frames_that_are_being_sent_count_as_waiting() {
    let test = TestHub::start(&[("REALTIME_QUEUE", "64KiB")]);
    let mut client = test.connect("alice").await;
    client.subscribe("plain:1").await;
    test.publish("plain:1", json!("x".repeat(40_000))).await;
    let OutboundItem::Frames(_) = client.reader.next().await else { panic!("a message waits") };
    test.publish("plain:1", json!("x".repeat(40_000))).await;
    assert_eq!(client.closed(), Some(CloseCode::Slow));
}

#[tokio::test]
async fn lost_messages_end_the_subscription() {
    for lose in ["then another", "and no other", "with the whole history"] {
        let clock = start_of_2030();
        let engine = FakeEngine::start();
        let test = TestHub::with_engine(
            engine.clone(),
            &clock,
            &[("REALTIME_POSITION_CHECK", "10s"), ("REALTIME_PING", "5m")],
        );
        let mut client = test.connect("alice").await;
        let start = client.subscribe(FAKE_CHANNEL).await;
        test.publish(FAKE_CHANNEL, json!(1)).await;
        engine.deliver();
        assert_eq!(client.messages(), [json!(1)]);

        test.publish(FAKE_CHANNEL, json!(2)).await;
        engine.lose();
        match lose {
            "then another" => {
                test.publish(FAKE_CHANNEL, json!(3)).await;
                engine.deliver();
            }
            "and no other" => test.advance(15).await,
            _ => {
                engine.flush();
                test.advance(15).await;
            }
        }
        let push = client.next();
        assert_eq!(push["push"]["unsubscribe"]["code"], 2500, "{lose}: {push}");
        assert_eq!(client.next(), Value::Null);
        let result = client.recover(FAKE_CHANNEL, &start["epoch"], 1).await;
        assert_eq!(result["recovered"].as_bool().unwrap_or_default(), lose != "with the whole history");
    }
}

#[tokio::test]
async fn messages_of_a_lost_epoch_do_not_continue_a_newer_history() {
    let clock = start_of_2030();
    let engine = FakeEngine::start();
    let test = TestHub::with_engine(engine.clone(), &clock, &[("REALTIME_PING", "5m")]);
    let mut alice = test.connect("alice").await;
    alice.subscribe(FAKE_CHANNEL).await;
    for number in 1..=4 {
        test.publish(FAKE_CHANNEL, json!(number)).await;
        if number == 2 {
            engine.deliver();
        }
    }
    engine.go_back();
    engine.hold();
    let mut bob = test.connect("bob").await;
    let subscribing = tokio::spawn(async move {
        let result = bob.subscribe(FAKE_CHANNEL).await;
        (bob, result)
    });
    settle().await;
    // It has the number that the newer history gives next.
    assert!(engine.deliver_next());
    engine.release();
    let (mut bob, result) = subscribing.await.unwrap();
    assert_eq!((&result["offset"], bob.messages()), (&json!(2), vec![]));
    let lines = alice.rest();
    assert_eq!(lines.last().unwrap()["push"]["unsubscribe"]["code"], 2500, "{lines:?}");
}

#[tokio::test]
async fn a_message_on_its_way_is_not_lost() {
    let clock = start_of_2030();
    let engine = FakeEngine::start();
    let settings = [("REALTIME_POSITION_CHECK", "1h"), ("REALTIME_PING", "5m")];
    let test = TestHub::with_engine(engine.clone(), &clock, &settings);
    let mut client = test.connect("alice").await;
    client.subscribe(FAKE_CHANNEL).await;
    test.publish(FAKE_CHANNEL, json!(1)).await;
    engine.tell_lost();
    test.advance(1).await;
    engine.deliver();
    test.advance(5).await;
    assert_eq!(client.messages(), [json!(1)]);
    // The next one is lost, and the engine suspects it.
    test.publish(FAKE_CHANNEL, json!(2)).await;
    engine.lose();
    engine.tell_lost();
    test.advance(4).await;
    assert_eq!(client.next()["push"]["unsubscribe"]["code"], 2500);
}

#[tokio::test]
async fn messages_without_an_offset_are_delivered_while_the_engine_is_away() {
    let clock = start_of_2030();
    let engine = FakeEngine::start();
    let test = TestHub::with_engine(engine.clone(), &clock, &[]);
    let mut client = test.connect("alice").await;
    client.subscribe(FAKE_CHANNEL).await;
    engine.deliver_unnumbered(json!("local"));
    test.publish(FAKE_CHANNEL, json!(1)).await;
    engine.deliver();
    assert_eq!(client.messages(), [json!("local"), json!(1)]);

    engine.set_down(true);
    let mut late = test.connect("bob").await;
    let reply = late.command("subscribe", json!({ "channel": FAKE_CHANNEL })).await;
    assert_eq!((&reply["error"]["code"], &reply["error"]["temporary"]), (&json!(100), &json!(true)));
    engine.set_down(false);
    late.subscribe(FAKE_CHANNEL).await;
}

#[tokio::test]
async fn a_channel_is_received_once_and_for_a_while_after_its_last_subscriber() {
    let clock = start_of_2030();
    let engine = FakeEngine::start();
    let test = TestHub::with_engine(engine.clone(), &clock, &[("REALTIME_PING", "5m")]);
    let mut first = test.connect("alice").await;
    let mut second = test.connect("bob").await;
    first.subscribe(FAKE_CHANNEL).await;
    second.subscribe(FAKE_CHANNEL).await;
    assert_eq!(engine.calls(), ["subscribe"]);
    drop(first);
    second.command("unsubscribe", json!({ "channel": FAKE_CHANNEL })).await;
    test.advance(3).await;
    second.subscribe(FAKE_CHANNEL).await;
    test.advance(10).await;
    assert_eq!(engine.calls(), ["subscribe"]);
    drop(second);
    test.advance(10).await;
    assert_eq!(engine.calls(), ["subscribe", "unsubscribe"]);
    let mut third = test.connect("alice").await;
    third.subscribe(FAKE_CHANNEL).await;
    assert_eq!(engine.calls(), ["subscribe", "unsubscribe", "subscribe"]);
}
