//! Changes of identities.

use omnistack_core::identity::IdentityScope;

use super::{
    fake_engine::{FAKE_CHANNEL, FakeEngine},
    *,
};

#[tokio::test]
async fn a_change_of_rights_reaches_open_connections() {
    let test = TestHub::start(&[]);
    let scope = IdentityScope::User(ALICE.parse().unwrap());
    let lowered = || {
        test.users.set("alice", Ok(member(ALICE, "projects:read")));
    };
    let mut alice = test.connect("alice").await;
    let mut bob = test.connect("bob").await;
    for client in [&mut alice, &mut bob] {
        client.subscribe("room:1").await;
        client.subscribe("plain:1").await;
        settle().await;
        client.rest();
    }
    alice.rest();
    lowered();
    test.hub.identity_changed(IdentityScope::User(BOB.parse().unwrap())).await;
    assert_eq!(alice.rest(), Vec::<Value>::new());
    test.hub.identity_changed(scope).await;
    let lines = alice.rest();
    let ended: Vec<_> = lines.iter().filter(|line| line["push"]["unsubscribe"].is_object()).collect();
    assert_eq!(ended.len(), 1, "{lines:?}");
    assert_eq!(
        (&ended[0]["push"]["channel"], &ended[0]["push"]["unsubscribe"]["code"]),
        (&json!("room:1"), &json!(2000))
    );
    test.publish("room:1", json!("for members")).await;
    test.publish("plain:1", json!("for all")).await;
    assert_eq!(alice.messages(), [json!("for all")]);
    assert_eq!(bob.messages(), [json!("for members"), json!("for all")]);
    let reply = alice.command("subscribe", json!({ "channel": "room:1" })).await;
    assert_eq!(reply["error"]["code"], 103);
}

#[tokio::test]
async fn a_refused_caller_is_disconnected() {
    let other: TenantId = "0190a7c8-0000-7000-8000-0000000000bb".parse().unwrap();
    let alice: UserId = ALICE.parse().unwrap();
    for (state, code) in [
        (Err(StatusCode::UNAUTHORIZED), Some(CloseCode::InvalidToken)),
        (Err(StatusCode::FORBIDDEN), Some(CloseCode::PermissionDenied)),
        (Ok(Identity::user(alice).for_tenant(other)), Some(CloseCode::ForceReconnect)),
        (Ok(Identity::user(alice)), Some(CloseCode::ForceReconnect)),
        (Ok(member(BOB, "rooms:*")), Some(CloseCode::InvalidToken)),
        (Ok(member(ALICE, "rooms:*")), None),
        (Err(StatusCode::SERVICE_UNAVAILABLE), None),
    ] {
        let test = TestHub::start(&[]);
        let mut client = test.connect("alice").await;
        test.users.set("alice", state.clone());
        test.hub.identity_changed(IdentityScope::Tenant(tenant())).await;
        assert_eq!(client.closed(), code, "{state:?}");
    }
}

#[tokio::test]
async fn an_outage_delays_the_refusal() {
    let test = TestHub::start(&[]);
    let mut client = test.connect("alice").await;
    test.users.set("alice", Err(StatusCode::SERVICE_UNAVAILABLE));
    test.hub.identity_changed(IdentityScope::User(ALICE.parse().unwrap())).await;
    test.advance(3).await;
    assert_eq!(client.closed(), None);
    test.users.set("alice", Err(StatusCode::UNAUTHORIZED));
    test.advance(3).await;
    assert_eq!(client.closed(), Some(CloseCode::InvalidToken));
}

#[tokio::test]
async fn a_path_that_is_no_longer_allowed_ends_the_connection() {
    let test = TestHub::start(&[]);
    let mut client = test.try_open(Transport::WebSocket, &["run:1"]).unwrap();
    client.command("connect", json!({ "token": "alice" })).await;
    test.users.set("alice", Ok(member(ALICE, "projects:read")));
    test.hub.identity_changed(IdentityScope::User(ALICE.parse().unwrap())).await;
    assert_eq!(client.closed(), Some(CloseCode::PermissionDenied));
}

#[tokio::test]
async fn a_caller_that_is_refused_before_the_connection_opens_is_noticed() {
    for (is_changed, code) in [(false, None), (true, Some(CloseCode::InvalidToken))] {
        let test = TestHub::start(&[]);
        let (mut request, ()) = http::Request::new(()).into_parts();
        request.headers.insert("authorization", "Bearer alice".parse().unwrap());
        let credential = Credential::from_request(&request);
        let origin = SessionOrigin {
            transport: Transport::WebSocket,
            address: None,
            base: credential.clone(),
            caller: Some((member(ALICE, "rooms:*"), credential)),
            identity_changes: test.hub.identity_changes(),
            server_channels: Vec::new(),
        };
        if is_changed {
            test.users.set("alice", Err(StatusCode::UNAUTHORIZED));
            test.hub.identity_changed(IdentityScope::User(ALICE.parse().unwrap())).await;
        }
        let mut client = test.try_open_as(origin).unwrap();
        client.command("connect", json!({})).await;
        assert_eq!(client.closed(), code);
    }
}

#[tokio::test]
async fn a_subscription_that_is_refused_while_it_begins_reads_no_history() {
    let clock = start_of_2030();
    let engine = FakeEngine::start();
    let test = TestHub::with_engine(engine.clone(), &clock, &[]);
    let mut client = test.connect("alice").await;
    let epoch = engine.position().epoch;
    test.publish(FAKE_CHANNEL, json!("for members")).await;
    engine.hold();
    let subscribe = json!({ "channel": FAKE_CHANNEL, "recover": true, "epoch": epoch });
    let frame = json!({ "id": 2, "subscribe": subscribe }).to_string();
    let subscribing = tokio::spawn(async move {
        assert_eq!(client.session.handle(&frame).await, Ok(()));
        client
    });
    settle().await;
    test.users.set("alice", Ok(member(ALICE, "projects:read")));
    test.hub.identity_changed(IdentityScope::User(ALICE.parse().unwrap())).await;
    engine.release();
    let lines = subscribing.await.unwrap().rest();
    assert!(lines.iter().any(|line| line["push"]["unsubscribe"]["code"] == 2000), "{lines:?}");
    let reply = lines.iter().find(|line| line["id"] == 2).unwrap();
    assert_eq!((&reply["error"]["code"], &reply["error"]["temporary"]), (&json!(100), &json!(true)));
}

#[tokio::test]
async fn callers_are_authenticated_again_after_messages_may_have_been_lost() {
    let clock = start_of_2030();
    let engine = FakeEngine::start();
    let test = TestHub::with_engine(engine.clone(), &clock, &[("REALTIME_PING", "5m")]);
    let mut client = test.connect("alice").await;
    test.users.set("alice", Err(StatusCode::UNAUTHORIZED));
    test.advance(20).await;
    assert_eq!(client.closed(), None);
    engine.tell_lost();
    test.advance(120).await;
    assert_eq!(client.closed(), Some(CloseCode::InvalidToken));
}
