//! The codes of errors and of closed connections.

use super::*;

#[tokio::test]
async fn commands_before_the_sign_in_close_the_connection() {
    let test = TestHub::start(&[]);
    test.users.set("down", Err(StatusCode::SERVICE_UNAVAILABLE));
    test.users.set("outsider", Err(StatusCode::FORBIDDEN));
    let expired = "e30.eyJleHAiOjE4OTM0NTU5MDB9.c2ln";
    let expired = json!({ "id": 1, "connect": { "token": expired } }).to_string();
    for (frame, code, error) in [
        (r#"{"id":1,"subscribe":{"channel":"room:1"}}"#, CloseCode::BadRequest, None),
        ("{}", CloseCode::BadRequest, None),
        ("not json", CloseCode::BadRequest, None),
        (r#"{"connect":{"token":"alice"}}"#, CloseCode::BadRequest, None),
        (r#"{"id":1,"connect":{},"publish":{}}"#, CloseCode::BadRequest, None),
        (r#"{"id":1,"connect":{"token":"wrong"}}"#, CloseCode::InvalidToken, None),
        (r#"{"id":1,"connect":{}}"#, CloseCode::InvalidToken, Some(101)),
        (r#"{"id":1,"connect":{"token":"down"}}"#, CloseCode::Server, Some(100)),
        (r#"{"id":1,"connect":{"token":"outsider"}}"#, CloseCode::PermissionDenied, Some(103)),
        (expired.as_str(), CloseCode::Expired, Some(109)),
    ] {
        let mut client = test.open();
        // The rest of the frame is dropped.
        let frame = format!("{frame}\n{}", json!({ "id": 2, "subscribe": { "channel": "room:1" } }));
        assert_eq!(client.session.handle(&frame).await, Err(code), "{frame}");
        let lines = client.rest();
        assert_eq!(lines.first().and_then(|line| line["error"]["code"].as_u64()), error, "{frame}");
        assert_eq!(lines.len(), usize::from(error.is_some()), "{frame}");
        assert_eq!(client.closed(), Some(code), "{frame}");
    }
}

#[tokio::test]
async fn commands_have_their_error_codes() {
    let test = TestHub::start(&[]);
    let mut client = test.connect("carol").await;
    client.subscribe("plain:1").await;
    for (method, parameters, code) in [
        ("connect", json!({ "token": "carol" }), 107),
        ("unknown", json!({}), 104),
        ("rpc", json!({ "method": "x" }), 104),
        ("sub_refresh", json!({ "channel": "plain:1" }), 107),
        ("subscribe", json!({ "channel": "plain:1" }), 105),
        ("subscribe", json!({ "channel": "nothing:1" }), 102),
        ("subscribe", json!({ "channel": "no spaces" }), 102),
        ("subscribe", json!({ "channel": "room:1" }), 103),
        ("subscribe", json!({ "channel": "secret:1" }), 103),
        ("subscribe", json!({ "channel": format!("user:{ALICE}") }), 103),
        ("history", json!({ "channel": "plain:1" }), 108),
        ("history", json!({ "channel": "room:1" }), 103),
        ("presence", json!({ "channel": "plain:1" }), 108),
        ("presence_stats", json!({ "channel": "room:1" }), 103),
        ("publish", json!({ "channel": "room:1", "data": { "text": "a" } }), 103),
        ("publish", json!({ "channel": "plain:1", "data": 1 }), 103),
    ] {
        let reply = client.command(method, parameters.clone()).await;
        assert_eq!(reply["error"]["code"], code, "{method} {parameters}: {reply}");
        assert_eq!(client.closed, None);
    }
    assert_eq!(client.command("unsubscribe", json!({ "channel": "plain:1" })).await["unsubscribe"], json!({}));

    let mut writer = test.connect("alice").await;
    let refused = writer.command("publish", json!({ "channel": "room:1", "data": 1 })).await;
    assert_eq!((&refused["error"]["code"], &refused["error"]["message"]), (&json!(103), &json!("send a text")));
    let empty = writer.command("publish", json!({ "channel": "room:1" })).await;
    assert_eq!(empty["error"]["code"], 107);
}

#[tokio::test]
async fn frames_that_break_the_protocol_close_the_connection() {
    let test = TestHub::start(&[("REALTIME_MAX_MESSAGE", "1KiB")]);
    let large = json!({ "id": 9, "publish": { "data": "x".repeat(1024) } }).to_string();
    for frame in
        ["{}", r#"{"subscribe":{"channel":"room:1"}}"#, r#"{"id":0,"rpc":{}}"#, "[]", r#"{"id":-1}"#, large.as_str()]
    {
        let mut client = test.connect("alice").await;
        assert_eq!(client.session.handle(frame).await, Err(CloseCode::BadRequest), "{frame}");
        assert_eq!(client.closed(), Some(CloseCode::BadRequest));
    }
    let mut client = test.connect("alice").await;
    assert_eq!(client.session.handle(r#"{"send":{"data":1}}"#).await, Ok(()));
    assert_eq!(client.rest(), Vec::<Value>::new());
}

#[tokio::test]
async fn commands_of_a_frame_are_executed_in_order() {
    let test = TestHub::start(&[]);
    let mut client = test.open();
    let frame = r#"{"id":1,"connect":{"token":"alice"}}
        {"id":2,"subscribe":{"channel":"room:1","flag":1}}

        {"id":3,"publish":{"channel":"room:1","data":{"text":"a"}}}
        {"id":4,"unsubscribe":{"channel":"room:1"}}"#;
    client.session.handle(frame).await.unwrap();
    let lines = client.rest();
    let ids: Vec<_> = lines.iter().filter_map(|line| line["id"].as_u64()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    let connect = &lines[0]["connect"];
    assert_eq!((&connect["version"], &connect["ping"], &connect["pong"]), (&json!("1.2.3"), &json!(25), &json!(true)));
    assert!(connect["session"].is_null() && connect["expires"].is_null());
    let message = lines.iter().find(|line| line["push"]["pub"].is_object()).unwrap();
    assert_eq!(message["push"]["pub"]["data"], json!({ "text": "A" }));
    assert_eq!(message["push"]["pub"]["info"]["user"], ALICE);
    assert_eq!(message["push"]["pub"]["info"]["client"], connect["client"]);
}

#[tokio::test]
async fn the_path_of_a_connection_subscribes_it() {
    let test = TestHub::start(&[]);
    test.publish("run:1", json!(1)).await;
    let mut client = test.try_open(Transport::WebSocket, &["run:1"]).unwrap();
    let reply = client.command("connect", json!({ "token": "alice" })).await;
    let run = reply["connect"]["subs"]["run:1"].clone();
    assert_eq!((&run["offset"], &run["recoverable"]), (&json!(1), &json!(true)));
    test.publish("run:1", json!(2)).await;
    assert_eq!(client.messages(), [json!(2)]);

    let subs = json!({ "run:1": { "recover": true, "epoch": run["epoch"], "offset": 1 } });
    let mut client = test.try_open(Transport::WebSocket, &["run:1"]).unwrap();
    let reply = client.command("connect", json!({ "token": "alice", "subs": subs })).await;
    let run = &reply["connect"]["subs"]["run:1"];
    assert_eq!((&run["recovered"], &run["publications"][0]["data"]), (&json!(true), &json!(2)));

    let mut client = test.try_open(Transport::WebSocket, &["run:1"]).unwrap();
    let reply = client.command("connect", json!({ "token": "carol" })).await;
    assert_eq!((&reply["error"]["code"], client.closed()), (&json!(103), Some(CloseCode::PermissionDenied)));
}

#[tokio::test]
async fn commands_of_the_emulation_belong_to_the_session() {
    let test = TestHub::start(&[]);
    let mut client = test.try_open(Transport::Sse, &[]).unwrap();
    let reply = client.command("connect", json!({ "token": "alice" })).await;
    assert_eq!((&reply["connect"]["pong"], &reply["connect"]["node"]), (&json!(false), &json!(test.hub.node())));
    let session = reply["connect"]["session"].as_str().unwrap().to_owned();
    let subscribe = r#"{"id":2,"subscribe":{"channel":"room:1"}}"#.to_owned();
    assert!(!test.hub.commands(&session, BOB, subscribe.clone()));
    assert!(!test.hub.commands("guessed", ALICE, subscribe.clone()));
    assert!(test.hub.commands(&session, ALICE, subscribe));
    for id in 3..20 {
        let publish = json!({ "id": id, "publish": { "channel": "room:1", "data": { "text": id.to_string() } } });
        // A request that is not signed in has the secret.
        let caller = if id % 2 == 0 { ALICE } else { "" };
        assert!(test.hub.commands(&session, caller, publish.to_string()));
    }
    settle().await;
    let ids: Vec<_> = client.rest().iter().filter_map(|line| line["id"].as_u64()).collect();
    assert_eq!(ids, (2..20).collect::<Vec<_>>());
    drop(client);
    assert!(!test.hub.commands(&session, ALICE, "{}".to_owned()));
}

#[tokio::test]
async fn a_rule_that_panics_ends_its_connection() {
    let test = TestHub::start(&[]);
    let mut client = test.try_open(Transport::Sse, &[]).unwrap();
    let reply = client.command("connect", json!({ "token": "alice" })).await;
    let session = reply["connect"]["session"].as_str().unwrap().to_owned();
    let subscribe = r#"{"id":2,"subscribe":{"channel":"broken:1"}}"#.to_owned();
    assert!(test.hub.commands(&session, ALICE, subscribe));
    settle().await;
    assert_eq!(client.closed(), Some(CloseCode::Server));
}
