//! Deadlines, limits and the shutdown.

use omnistack_core::ShutdownToken;

use super::*;
use crate::hub::ConnectionFilter;

#[tokio::test]
async fn clients_are_pinged_and_must_respond() {
    let test = TestHub::start(&[("REALTIME_PING", "20s"), ("REALTIME_PONG_TIMEOUT", "5s")]);
    let mut client = test.connect("alice").await;
    for _ in 0..100 {
        test.advance(1).await;
        for line in client.rest() {
            assert_eq!(line, json!({}));
            assert_eq!(client.session.handle("{}").await, Ok(()));
        }
    }
    assert_eq!(client.closed(), None);
    test.advance(26).await;
    assert_eq!(client.closed(), Some(CloseCode::NoPong));
}

#[tokio::test]
async fn clients_must_sign_in_and_stay_signed_in() {
    let test = TestHub::start(&[]);
    let mut silent = test.open();
    test.advance(4).await;
    assert_eq!(silent.closed(), None);
    test.advance(2).await;
    assert_eq!(silent.closed(), Some(CloseCode::Stale));

    // A token that expires a minute after the start.
    let token = "e30.eyJleHAiOjE4OTM0NTYwNjB9.c2ln";
    test.users.set(token, Ok(member(ALICE, "rooms:*")));
    let connect = async || {
        let mut client = test.open();
        let reply = client.command("connect", json!({ "token": token })).await;
        (client, reply)
    };
    let (mut renewed, reply) = connect().await;
    assert_eq!((&reply["connect"]["expires"], &reply["connect"]["ttl"]), (&json!(true), &json!(54)));
    let (mut forgotten, _) = connect().await;
    let pong = async |client: &mut TestClient| {
        if client.rest().contains(&json!({})) {
            client.session.handle("{}").await.unwrap();
        }
    };
    for second in 0..78 {
        test.advance(1).await;
        pong(&mut renewed).await;
        pong(&mut forgotten).await;
        if second == 60 {
            let reply = renewed.command("refresh", json!({ "token": "alice" })).await;
            assert_eq!(reply["refresh"]["client"], renewed.session.client());
            assert_eq!(forgotten.closed(), None);
        }
    }
    test.advance(2).await;
    assert_eq!((renewed.closed(), forgotten.closed()), (None, Some(CloseCode::Expired)));

    let reply = renewed.command("refresh", json!({ "token": "bob" })).await;
    assert_eq!((reply, renewed.closed()), (Value::Null, Some(CloseCode::InvalidToken)));
}

#[tokio::test]
async fn connections_and_channels_are_limited() {
    let settings = [
        ("REALTIME_MAX_CONNECTIONS_PER_USER", "2"),
        ("REALTIME_MAX_CONNECTIONS_PER_TENANT", "3"),
        ("REALTIME_MAX_CONNECTIONS_PER_ADDRESS", "4"),
        ("REALTIME_MAX_CHANNELS", "2"),
    ];
    let test = TestHub::start(&settings);
    let mut first = test.connect("alice").await;
    let second = test.connect("alice").await;
    let mut third = test.open();
    third.command("connect", json!({ "token": "alice" })).await;
    assert_eq!(third.closed(), Some(CloseCode::ConnectionLimit));
    drop(third);
    let other = test.connect("bob").await;
    let mut fourth = test.open();
    assert_eq!(test.try_open(Transport::Sse, &[]).err(), Some(CloseCode::ConnectionLimit));
    fourth.command("connect", json!({ "token": "bob" })).await;
    assert_eq!(fourth.closed(), Some(CloseCode::ConnectionLimit));
    drop((second, other, fourth));
    let stats = test.hub.stats();
    assert_eq!((stats.connections, stats.users, stats.tenants), (1, 1, 1));
    test.connect("bob").await;

    first.subscribe("room:1").await;
    first.subscribe("room:2").await;
    let reply = first.command("subscribe", json!({ "channel": "room:3" })).await;
    assert_eq!(reply["error"]["code"], 106);
}

#[tokio::test]
async fn commands_are_limited() {
    let test = TestHub::start(&[("REALTIME_MESSAGE_RATE", "2/second burst 3")]);
    let mut client = test.connect("alice").await;
    let mut codes = Vec::new();
    while client.closed().is_none() {
        let reply = client.command("presence_stats", json!({ "channel": "room:1" })).await;
        codes.push(reply["error"]["code"].as_u64());
    }
    let refused = Some(111);
    assert_eq!(codes, [None, None, None, refused, refused, refused, None]);
    assert_eq!(client.closed(), Some(CloseCode::TooManyRequests));
}

#[tokio::test]
async fn operators_see_and_close_connections() {
    let test = TestHub::start(&[]);
    let (mut alice, mut bob) = (test.connect("alice").await, test.connect("bob").await);
    alice.subscribe("room:1").await;
    let filter = ConnectionFilter { user: Some(ALICE.parse().unwrap()), ..ConnectionFilter::default() };
    let found = test.hub.connections(&filter, 10);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].client.clone(), found[0].channels.clone()),
        (alice.session.client(), vec!["room:1".to_owned()])
    );
    assert_eq!(test.hub.connections(&ConnectionFilter::default(), 1).len(), 1);
    test.hub.disconnect(&filter, CloseCode::ForceNoReconnect).await.unwrap();
    test.hub.disconnect(&ConnectionFilter::default(), CloseCode::ForceNoReconnect).await.unwrap();
    settle().await;
    assert_eq!((alice.closed(), bob.closed()), (Some(CloseCode::ForceNoReconnect), None));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_closes_connections_in_slices() {
    let test = TestHub::start(&[("REALTIME_DRAIN", "2s")]);
    let mut clients: Vec<_> = std::iter::repeat_with(|| test.open()).take(100).collect();
    let shutdown = ShutdownToken::new();
    let (hub, token) = (test.hub.clone(), shutdown.clone());
    let drain = tokio::spawn(async move { hub.drain(token).await });
    settle().await;
    assert!(clients.iter_mut().all(|client| client.closed().is_none()));
    shutdown.cancel();
    settle().await;
    let closed = clients.iter_mut().filter_map(TestClient::closed).count();
    assert_eq!(closed, 5);
    assert_eq!(test.try_open(Transport::WebSocket, &[]).err(), Some(CloseCode::Shutdown));
    drain.await.unwrap();
    assert!(clients.iter_mut().all(|client| client.closed() == Some(CloseCode::Shutdown)));
}

#[tokio::test(start_paused = true)]
async fn messages_until_the_end_of_a_shutdown_are_usage() {
    let test = TestHub::start(&[("REALTIME_DRAIN", "0s")]);
    let mut client = test.connect("alice").await;
    client.subscribe("plain:1").await;
    for number in 0..3 {
        test.publish("plain:1", json!(number)).await;
    }
    let shutdown = ShutdownToken::new();
    shutdown.cancel();
    test.hub.drain(shutdown).await;
    assert_eq!(client.closed(), Some(CloseCode::Shutdown));
    drop(client);
    assert_eq!(*lock(&test.used.0), [Decimal::from(3)]);
}

#[tokio::test]
async fn sign_ins_at_the_same_time_are_limited() {
    let test = TestHub::start(&[("REALTIME_MAX_SIGN_INS", "1")]);
    test.users.set("slow", Ok(member(ALICE, "rooms:*")));
    let mut slow = test.open();
    let connecting = tokio::spawn(async move {
        slow.command("connect", json!({ "token": "slow" })).await;
        slow
    });
    settle().await;
    let mut other = test.open();
    let reply = other.command("connect", json!({ "token": "bob" })).await;
    assert_eq!((&reply["error"]["code"], &reply["error"]["temporary"]), (&json!(111), &json!(true)));
    assert_eq!(other.closed(), Some(CloseCode::TooManyRequests));
    test.users.1.notify_one();
    assert_eq!(connecting.await.unwrap().closed(), None);
    test.connect("bob").await;

    // A client that goes away while it signs in makes room.
    let mut gone = test.open();
    let connecting = tokio::spawn(async move { gone.command("connect", json!({ "token": "slow" })).await });
    settle().await;
    connecting.abort();
    assert!(connecting.await.is_err());
    test.connect("bob").await;
}

#[tokio::test]
async fn a_slow_sign_in_does_not_send_clients_away() {
    for (seconds, code) in [(20, None), (40, Some(CloseCode::Server))] {
        let test = TestHub::start(&[]);
        test.users.set("slow", Ok(member(ALICE, "rooms:*")));
        let mut client = test.open();
        let connecting = tokio::spawn(async move {
            client.command("connect", json!({ "token": "slow" })).await;
            client
        });
        settle().await;
        test.advance(seconds).await;
        test.users.1.notify_one();
        let mut client = connecting.await.unwrap();
        assert_eq!(client.closed(), code, "{seconds}");
    }
}
