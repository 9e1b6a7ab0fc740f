//! Tests of the codes of errors and closed connections, with frames that no stock client sends.

#![cfg(test)]

use std::time::Duration;

use futures_util::SinkExt as _;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, RealtimeApp, SOCKET};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_are_refused_have_the_codes_of_the_protocol() {
    let test = RealtimeApp::start(|app| app.set("REALTIME_MAX_CHANNELS", "2")).await;
    let (user, _) = test.callers.user();
    let token = test.callers.token_of(&user.with_permissions("rooms:read".parse().unwrap()));
    test.serve(async |address| {
        let mut client = Client::connect(address, &token).await;
        client.subscribe("room:1").await;
        for (command, expected) in [
            (json!({ "connect": { "token": token } }), 107),
            (json!({ "subscribe": { "channel": "room:1" } }), 105),
            (json!({ "subscribe": { "channel": "secret:1" } }), 103),
            (json!({ "subscribe": { "channel": "unknown" } }), 102),
            (json!({ "subscribe": { "channel": "" } }), 102),
            (json!({ "subscribe": { "channel": "x".repeat(300) } }), 102),
            (json!({ "publish": { "channel": "run:1", "data": 1 } }), 103),
            (json!({ "history": { "channel": "stream:1" } }), 108),
            (json!({ "presence": { "channel": "run:1" } }), 108),
            (json!({ "unheard": {} }), 104),
            (json!({ "rpc": { "method": "unheard" } }), 104),
            (json!({ "sub_refresh": { "channel": "room:1", "token": "any" } }), 107),
            (json!({ "publish": { "channel": "room:1" } }), 107),
            (
                json!({ "history": { "channel": "room:1", "limit": 1, "since": { "offset": 1, "epoch": "other" } } }),
                112,
            ),
        ] {
            let reply = client.call(command.clone()).await;
            assert_eq!(reply["error"]["code"], expected, "{command}: {reply}");
        }
        client.subscribe("room:2").await;
        let reply = client.call(json!({ "subscribe": { "channel": "room:3" } })).await;
        assert_eq!(reply["error"]["code"], 106, "{reply}");
        // The command `send` has no id and no reply.
        client.send(json!({ "send": { "data": 1 } }).to_string()).await;
        assert!(client.call(json!({ "history": { "channel": "room:1" } })).await["history"].is_object());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_the_protocol_is_closed() {
    let test = RealtimeApp::start(|app| app).await;
    let (_, token) = test.callers.user();
    test.serve(async |address| {
        let connect = json!({ "id": 1, "connect": { "token": token } });
        for frame in [
            json!({ "id": 1, "subscribe": { "channel": "room:1" } }).to_string(),
            json!({ "connect": { "token": token } }).to_string(),
            "{}".to_owned(),
            "no json".to_owned(),
            "[]".to_owned(),
            "1".to_owned(),
            format!("{connect}\nno json"),
            format!("{connect}\n{{}}"),
            format!("{connect}\n{}", json!({ "subscribe": { "channel": "room:1" } })),
            format!("{connect}\n{}", json!({ "id": 2, "publish": {}, "subscribe": { "channel": "room:1" } })),
            format!("{connect}\n{}", json!({ "id": 4_294_967_296_u64, "subscribe": { "channel": "room:1" } })),
        ] {
            let mut client = Client::open(address, SOCKET, &[]).await.unwrap();
            client.send(frame.as_str()).await;
            assert_eq!(client.closed().await, 3501, "{frame}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_that_fails_is_told_and_ends_the_connection() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, _) = test.callers.user();
    let clock = test.app.clock();
    let expired = test.callers.token_until(&user, clock.clock().now() + Duration::from_secs(1));
    clock.advance(Duration::from_secs(2));
    test.serve(async |address| {
        let mut client = Client::open(address, SOCKET, &[]).await.unwrap();
        // What follows a connect command that has failed is dropped.
        client
            .send(format!(
                "{}\n{}",
                json!({ "id": 1, "connect": { "token": expired } }),
                json!({ "id": 2, "subscribe": { "channel": "room:1" } })
            ))
            .await;
        let reply = client.line().await;
        assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(1), &json!(109)), "{reply}");
        client.closed().await;

        let mut client = Client::open(address, SOCKET, &[]).await.unwrap();
        client.send(json!({ "id": 1, "connect": { "token": "wrong" } }).to_string()).await;
        assert_eq!(client.closed().await, 3500);

        let mut idle = Client::open(address, SOCKET, &[]).await.unwrap();
        idle.is_read().await;
        clock.advance(Duration::from_secs(6));
        assert_eq!(idle.closed().await, 3502);

        let protobuf = [("sec-websocket-protocol", "centrifuge-protobuf")];
        assert_eq!(Client::open(address, SOCKET, &protobuf).await.unwrap_err(), StatusCode::BAD_REQUEST);
        let json = [("sec-websocket-protocol", "centrifuge-json")];
        Client::open(address, SOCKET, &json).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_a_limited_number_of_connections() {
    let test = RealtimeApp::start(|app| app.set("REALTIME_MAX_CONNECTIONS_PER_USER", "2")).await;
    let (_, token) = test.callers.user();
    test.serve(async |address| {
        let _first = Client::connect(address, &token).await;
        let _second = Client::connect(address, &token).await;
        let mut third = Client::open(address, SOCKET, &[]).await.unwrap();
        third.send(json!({ "id": 1, "connect": { "token": token } }).to_string()).await;
        assert_eq!(third.closed().await, 3504);
    })
    .await;
}

/// A masked frame of a client, with the mask 0.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut frame = vec![first];
    match u8::try_from(length) {
        Ok(length) if length < 126 => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 0x7e);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_no_websocket_frames_close_with_the_codes_of_the_rfc() {
    let test = RealtimeApp::start(|app| app.set("REALTIME_MAX_MESSAGE", "1KiB")).await;
    let (_, token) = test.callers.user();
    test.serve(async |address| {
        let big = vec![b' '; 1025];
        let half = vec![b' '; 600];
        for (bytes, expected) in [
            (frame(0x81, &big), 1009),
            ([frame(0x01, &half), frame(0x80, &half)].concat(), 1009),
            (frame(0x81, b"\xff\xfe"), 1007),
            (frame(0xc1, b"{}"), 1002),
            (frame(0x83, b"{}"), 1002),
            (frame(0x80, b"{}"), 1002),
            (frame(0x09, b""), 1002),
            (frame(0x89, &[0; 126]), 1002),
            (vec![0x81, 0x02, b'{', b'}'], 1002),
            (frame(0x82, b"{}"), 3501),
        ] {
            let mut client = Client::connect(address, &token).await;
            client.socket.get_mut().write_all(&bytes).await.unwrap();
            assert_eq!(client.closed().await, expected, "{:x?}", &bytes[..bytes.len().min(12)]);
        }
        // Fragments with a ping in between are one message.
        let command = json!({ "id": 9, "history": { "channel": "room:1" } }).to_string();
        let (first, rest) = command.split_at(7);
        let mut client = Client::connect(address, &token).await;
        let bytes = [frame(0x01, first.as_bytes()), frame(0x89, b"ping"), frame(0x80, rest.as_bytes())].concat();
        client.socket.get_mut().write_all(&bytes).await.unwrap();
        let reply = loop {
            match client.raw().await {
                Message::Pong(payload) => assert_eq!(&payload[..], b"ping"),
                Message::Text(text) => break serde_json::from_str::<Value>(&text).unwrap(),
                other => panic!("{other:?}"),
            }
        };
        assert!(reply["history"].is_object(), "{reply}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_or_hangs_up_ends_its_session() {
    let test = RealtimeApp::start(|app| app).await;
    let (alice, alices) = test.callers.user();
    let (_, bobs) = test.callers.user_of(alice.tenant.unwrap());
    test.serve(async |address| {
        let mut watcher = Client::connect(address, &alices).await;
        watcher.subscribe("room:1").await;
        let mut closes = Client::connect(address, &bobs).await;
        closes.subscribe("room:1").await;
        closes.socket.send(Message::Close(None)).await.unwrap();
        wait_until_alone(&mut watcher).await;
        let mut hangs_up = Client::connect(address, &bobs).await;
        hangs_up.subscribe("room:1").await;
        // Half-closed: the client could still read.
        hangs_up.socket.get_mut().shutdown().await.unwrap();
        wait_until_alone(&mut watcher).await;
    })
    .await;
}

/// Waits until the last of the other users has left the room.
async fn wait_until_alone(watcher: &mut Client) {
    while watcher.push().await["leave"].is_null() {}
    let stats = watcher.call(json!({ "presence_stats": { "channel": "room:1" } })).await;
    assert_eq!(stats["presence_stats"]["num_clients"], 1, "{stats}");
}
