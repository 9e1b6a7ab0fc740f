mod asyncapi;

use std::sync::Arc;

use serde_json::{Value, json, value::RawValue};

use super::{command::SendRequest, *};

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

/// Returns the commands of a frame as text, up to the first that is invalid.
fn parsed(frame: &str) -> Vec<String> {
    let commands = parse_frame(frame).map(|command| match command {
        Ok(Command { id, method: None }) => format!("{id} none"),
        Ok(Command { id, method: Some(method) }) => {
            let name = match method {
                Method::Connect(request) => format!("connect {}", request.token),
                Method::Subscribe(request) => format!("subscribe {} {}", request.channel, request.offset),
                Method::Unsubscribe(request) => format!("unsubscribe {}", request.channel),
                Method::Publish(request) => {
                    format!("publish {} {}", request.channel, request.data.as_deref().map_or("-", RawValue::get))
                }
                Method::Presence(request) => format!("presence {}", request.channel),
                Method::PresenceStats(request) => format!("presence_stats {}", request.channel),
                Method::History(request) => format!("history {} {}", request.channel, request.limit),
                Method::Rpc(request) => format!("rpc {}", request.method),
                Method::Refresh(request) => format!("refresh {}", request.token),
                Method::SubRefresh(request) => format!("sub_refresh {}", request.channel),
                Method::Send(request) => format!("send {}", request.data.as_deref().map_or("-", RawValue::get)),
            };
            format!("{id} {name}")
        }
        Err(InvalidFrame::Json(_)) => "json".to_owned(),
        Err(InvalidFrame::NoObject) => "no object".to_owned(),
        Err(InvalidFrame::SeveralMethods) => "several".to_owned(),
        Err(InvalidFrame::NoContent) => "no content".to_owned(),
    });
    commands.collect()
}

#[test]
fn each_method_is_parsed_with_its_parameters() {
    for (line, expected) in [
        (r#"{"id":1,"connect":{"token":"t","name":"js","version":"5","headers":{"a":"b"}}}"#, "1 connect t"),
        (r#"{"connect":{},"id":1}"#, "1 connect "),
        (
            r#"{"id":2,"subscribe":{"channel":"room:1","recover":true,"epoch":"e","offset":7,"flag":1}}"#,
            "2 subscribe room:1 7",
        ),
        (r#"{"id":2,"subscribe":{"channel":"a","delta":"fossil","tf":{"key":"x"}}}"#, "2 subscribe a 0"),
        (r#"{"id":3,"unsubscribe":{"channel":"a"}}"#, "3 unsubscribe a"),
        (r#"{"id":4,"publish":{"channel":"a","data":{"b": [1, 2.50]}}}"#, r#"4 publish a {"b": [1, 2.50]}"#),
        (r#"{"id":4,"publish":{"channel":"a","data":null}}"#, "4 publish a -"),
        (r#"{"id":5,"presence":{"channel":"a"}}"#, "5 presence a"),
        (r#"{"id":6,"presence_stats":{"channel":"a"}}"#, "6 presence_stats a"),
        (
            r#"{"id":7,"history":{"channel":"a","limit":-1,"since":{"offset":1,"epoch":"e"},"reverse":true}}"#,
            "7 history a -1",
        ),
        (r#"{"id":8,"rpc":{"method":"m","data":"x"}}"#, "8 rpc m"),
        (r#"{"id":9,"refresh":{"token":"t"}}"#, "9 refresh t"),
        (r#"{"id":10,"sub_refresh":{"channel":"a","token":"t"}}"#, "10 sub_refresh a"),
        (r#"{"send":{"data":[]}}"#, "0 send []"),
        (r#"{"id":4294967295,"send":{}}"#, "4294967295 send -"),
        // The pong, and methods that are not known.
        ("{}", "0 none"),
        (r#"{"id":0}"#, "0 none"),
        (r#"{"id":1}"#, "1 none"),
        (r#"{"id":1,"survey":{"channel":"a"}}"#, "1 none"),
        (r#"{"id":1,"connect":null}"#, "1 none"),
        (r#"{"id":1,"CONNECT":{}}"#, "1 none"),
        (r#"{"id":1,"connect":{},"trace":{"connect":{}},"subscribe":null}"#, "1 connect "),
    ] {
        assert_eq!(parsed(line), [expected], "{line}");
    }
}

#[test]
fn a_frame_has_a_command_on_each_line() {
    for (frame, expected) in [
        ("", vec![]),
        ("\n \n\t\r\n", vec![]),
        ("{}\n{}", vec!["0 none", "0 none"]),
        (
            "\n{\"id\":1,\"connect\":{}}\r\n\r\n  {\"id\":2,\"subscribe\":{\"channel\":\"a\"}}  \n",
            vec!["1 connect ", "2 subscribe a 0"],
        ),
        ("{\"id\":1,\"connect\":{}}\nx\n{}", vec!["1 connect ", "no object", "0 none"]),
        ("{\"id\":1}{\"id\":2}", vec!["json"]),
        ("{\"id\":1,\n\"connect\":{}}", vec!["json", "no object"]),
        // White space of the data may not end a line of the receivers.
        ("{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":[1,\r2]}}", vec!["json", "no object"]),
        ("{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":\"\\r\\n\"}}", vec![r#"1 publish a "\r\n""#]),
    ] {
        assert_eq!(parsed(frame), expected, "{frame:?}");
    }
}

#[test]
fn lines_that_break_the_protocol_are_refused() {
    for (line, expected) in [
        ("null", "no object"),
        ("1", "no object"),
        ("\"connect\"", "no object"),
        ("[]", "no object"),
        ("[1,{}]", "no object"),
        ("\u{feff}{}", "no object"),
        ("\0", "no object"),
        ("{", "json"),
        ("{'id':1}", "json"),
        ("{\"id\":1,}", "json"),
        ("{}}", "json"),
        ("{} {}", "json"),
        (r#"{"id":-1,"connect":{}}"#, "json"),
        (r#"{"id":1.5,"connect":{}}"#, "json"),
        (r#"{"id":"1","connect":{}}"#, "json"),
        (r#"{"id":4294967296,"connect":{}}"#, "json"),
        (r#"{"id":1e400,"connect":{}}"#, "json"),
        (r#"{"id":1,"id":2,"connect":{}}"#, "json"),
        (r#"{"id":1,"connect":{},"connect":{}}"#, "json"),
        (r#"{"id":1,"connect":[]}"#, "no object"),
        (r#"{"id":1,"connect":["token"]}"#, "no object"),
        (r#"{"id":1,"connect":true}"#, "no object"),
        (r#"{"id":1,"subscribe":"room:1"}"#, "no object"),
        (r#"{"id":1,"connect":{"token":1}}"#, "json"),
        (r#"{"id":1,"subscribe":{"channel":["a"]}}"#, "json"),
        (r#"{"id":1,"subscribe":{"channel":"a","offset":-1}}"#, "json"),
        (r#"{"id":1,"subscribe":{"channel":"a","offset":18446744073709551616}}"#, "json"),
        (r#"{"id":1,"history":{"channel":"a","limit":3000000000}}"#, "json"),
        (r#"{"id":1,"subscribe":{"channel":"a","channel":"b"}}"#, "json"),
        (r#"{"id":1,"publish":{"channel":"a","data":}}"#, "json"),
        ("{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":\"\u{1}\"}}", "json"),
        (r#"{"id":1,"connect":{},"subscribe":{"channel":"a"}}"#, "several"),
        (r#"{"id":1,"presence":{"channel":"a"},"presence_stats":{"channel":"a"}}"#, "several"),
        (r#"{"send":{},"rpc":{}}"#, "several"),
    ] {
        assert_eq!(parsed(line), [expected], "{line:?}");
    }
}

#[test]
fn deeply_nested_values_are_kept_as_they_are() {
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let line = format!(r#"{{"id":1,"publish":{{"channel":"a","data":{deep}}},"other":{deep}}}"#);
    assert_eq!(parsed(&line), [format!("1 publish a {deep}")]);
    assert_eq!(parsed(&"{\"send\":".repeat(10_000)), ["json"]);
}

#[test]
fn each_reply_is_encoded_and_parsed() {
    let publication = Arc::new(Publication {
        data: raw(&json!({ "text": "a\nb\r" })),
        offset: 3,
        info: Some(ClientInfo { user: "u".to_owned(), client: "c".to_owned() }),
        time: 1_893_456_000_000,
    });
    let subscription = SubscribeResult {
        recoverable: true,
        positioned: true,
        epoch: "e".to_owned(),
        offset: 3,
        publications: vec![publication],
        recovered: true,
        was_recovering: true,
        ..SubscribeResult::default()
    };
    let info = ClientInfo { user: "u".to_owned(), client: "c".to_owned() };
    for (content, mut expected) in [
        (
            ReplyContent::Error(ErrorCode::TooManyRequests.into()),
            json!({ "error": { "code": 111, "message": "too many requests", "temporary": true } }),
        ),
        (
            ReplyContent::Error(ErrorCode::NotAvailable.with_message("use `.presence()`")),
            json!({ "error": { "code": 108, "message": "use `.presence()`" } }),
        ),
        (
            ReplyContent::Connect(ConnectResult {
                client: "c".to_owned(),
                version: "1".to_owned(),
                data: Some(raw(&json!({ "a": 1 }))),
                subs: [("run:1".to_owned(), SubscribeResult::default())].into(),
                ping: 25,
                pong: true,
                session: "s".to_owned(),
                node: "n".to_owned(),
                time: 1,
                ..ConnectResult::default()
            }),
            json!({ "connect": {
                "client": "c", "version": "1", "data": { "a": 1 }, "subs": { "run:1": {} },
                "ping": 25, "pong": true, "session": "s", "node": "n", "time": 1,
            } }),
        ),
        (
            ReplyContent::Subscribe(subscription),
            json!({ "subscribe": {
                "recoverable": true, "positioned": true, "epoch": "e", "offset": 3,
                "publications": [{
                    "data": { "text": "a\nb\r" }, "offset": 3, "info": { "user": "u", "client": "c" },
                    "time": 1_893_456_000_000_i64,
                }],
                "recovered": true, "was_recovering": true,
            } }),
        ),
        (ReplyContent::Unsubscribe(EmptyResult {}), json!({ "unsubscribe": {} })),
        (ReplyContent::Publish(EmptyResult {}), json!({ "publish": {} })),
        (
            ReplyContent::Presence(PresenceResult { presence: [("c".to_owned(), info)].into() }),
            json!({ "presence": { "presence": { "c": { "user": "u", "client": "c" } } } }),
        ),
        (
            ReplyContent::PresenceStats(PresenceStatsResult { num_clients: 2, num_users: 1 }),
            json!({ "presence_stats": { "num_clients": 2, "num_users": 1 } }),
        ),
        (
            ReplyContent::History(HistoryResult { publications: vec![], epoch: "e".to_owned(), offset: 9 }),
            json!({ "history": { "publications": [], "epoch": "e", "offset": 9 } }),
        ),
        (ReplyContent::Rpc(RpcResult { data: Some(raw(&json!([1]))) }), json!({ "rpc": { "data": [1] } })),
        (
            ReplyContent::Refresh(RefreshResult {
                client: "c".to_owned(),
                version: "1".to_owned(),
                expires: true,
                ttl: 60,
            }),
            json!({ "refresh": { "client": "c", "version": "1", "expires": true, "ttl": 60 } }),
        ),
        (
            ReplyContent::SubRefresh(SubRefreshResult { expires: false, ttl: 0 }),
            json!({ "sub_refresh": { "expires": false, "ttl": 0 } }),
        ),
    ] {
        let line = Reply { id: 7, content }.encode().into_lines();
        expected["id"] = json!(7);
        assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), expected);
        let parsed: Vec<_> = parse_server_frame(std::str::from_utf8(&line).unwrap()).collect();
        let [Ok(ServerMessage::Reply(reply))] = parsed.as_slice() else { panic!("{parsed:?}") };
        assert_eq!(reply.encode().into_lines(), line);
        assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    }
}

#[test]
fn each_push_is_encoded_and_parsed() {
    let info = || ClientInfo { user: "u".to_owned(), client: "c".to_owned() };
    let publication = Publication { data: raw(&json!(null)), offset: 0, info: None, time: 0 };
    for (channel, content, expected) in [
        ("a", PushContent::Pub(publication.into()), json!({ "channel": "a", "pub": { "data": null } })),
        (
            "a",
            PushContent::Join(MembershipPush { info: info() }),
            json!({ "channel": "a", "join": { "info": { "user": "u", "client": "c" } } }),
        ),
        (
            "a",
            PushContent::Leave(MembershipPush { info: info() }),
            json!({ "channel": "a", "leave": { "info": { "user": "u", "client": "c" } } }),
        ),
        (
            "a",
            PushContent::Unsubscribe(UnsubscribePush {
                code: UnsubscribeCode::InsufficientState.number(),
                reason: UnsubscribeCode::InsufficientState.reason().to_owned(),
            }),
            json!({ "channel": "a", "unsubscribe": { "code": 2500, "reason": "insufficient state" } }),
        ),
        ("a", PushContent::Subscribe(SubscribeResult::default()), json!({ "channel": "a", "subscribe": {} })),
        ("", PushContent::Message(MessagePush { data: raw(&json!(1)) }), json!({ "message": { "data": 1 } })),
        (
            "",
            PushContent::Disconnect(DisconnectPush { code: 3001, reason: "shutdown".to_owned(), reconnect: true }),
            json!({ "disconnect": { "code": 3001, "reason": "shutdown", "reconnect": true } }),
        ),
    ] {
        let line = Push { channel: channel.to_owned(), content }.encode().into_lines();
        assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), json!({ "push": expected }));
        let parsed: Vec<_> = parse_server_frame(std::str::from_utf8(&line).unwrap()).collect();
        let [Ok(ServerMessage::Push(push))] = parsed.as_slice() else { panic!("{parsed:?}") };
        assert_eq!(push.encode().into_lines(), line);
    }
}

#[test]
fn frames_of_the_server_have_pings_and_pushes_of_other_kinds() {
    for (frame, expected) in [
        ("{}", vec!["ping"]),
        ("{}\n{\"push\":{\"channel\":\"a\",\"refresh\":{}}}\n{\"id\":1,\"publish\":{}}\n", vec!["ping", "reply 1"]),
        ("{\"id\":1,\"later\":{}}", vec!["error"]),
        ("[]", vec!["error"]),
        ("{\"push\":{\"pub\":{}}}", vec!["error"]),
    ] {
        let messages = parse_server_frame(frame).map(|message| match message {
            Ok(ServerMessage::Ping) => "ping".to_owned(),
            Ok(ServerMessage::Push(push)) => format!("push {}", push.channel),
            Ok(ServerMessage::Reply(reply)) => format!("reply {}", reply.id),
            Err(_) => "error".to_owned(),
        });
        assert_eq!(messages.collect::<Vec<_>>(), expected, "{frame}");
    }
}

#[test]
fn commands_are_encoded_as_they_are_parsed() {
    for (command, expected) in [
        (Command { id: 0, method: None }, "0 none"),
        (Command { id: 0, method: Some(Method::Send(SendRequest { data: Some(raw(&json!(1))) })) }, "0 send 1"),
        (
            Command {
                id: 1,
                method: Some(Method::Connect(ConnectRequest { token: "t".to_owned(), ..ConnectRequest::default() })),
            },
            "1 connect t",
        ),
        (
            Command { id: 2, method: Some(Method::PresenceStats(PresenceRequest { channel: "a".to_owned() })) },
            "2 presence_stats a",
        ),
        (
            Command {
                id: 3,
                method: Some(Method::History(HistoryRequest {
                    channel: "a".to_owned(),
                    limit: -1,
                    ..HistoryRequest::default()
                })),
            },
            "3 history a -1",
        ),
    ] {
        let line = command.encode();
        assert_eq!(parsed(std::str::from_utf8(&line).unwrap()), [expected]);
    }
    assert_eq!(Command { id: 0, method: None }.encode(), PING);
}

#[test]
fn codes_say_whether_clients_come_back() {
    for (code, is_final) in [
        (CloseCode::ConnectionClosed, false),
        (CloseCode::Shutdown, false),
        (CloseCode::Server, false),
        (CloseCode::Expired, false),
        (CloseCode::Slow, false),
        (CloseCode::InsufficientState, false),
        (CloseCode::ForceReconnect, false),
        (CloseCode::NoPong, false),
        (CloseCode::TooManyRequests, false),
        (CloseCode::InvalidToken, true),
        (CloseCode::BadRequest, true),
        (CloseCode::Stale, true),
        (CloseCode::ForceNoReconnect, true),
        (CloseCode::ConnectionLimit, true),
        (CloseCode::PermissionDenied, true),
    ] {
        assert_eq!(code.is_final(), is_final, "{code:?}");
        assert!(code.reason().len() <= 123);
    }
}
