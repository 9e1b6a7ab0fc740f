//! Changes of identities.

use std::collections::HashSet;

use omnistack_core::identity::{IdentityScope, SessionId};

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

/// Returns the ids of the connections that a change concerns, in their order.
fn concerned(test: &TestHub, scope: IdentityScope) -> Vec<String> {
    let connections = test.hub.0.connections.covered(&HashSet::from([scope]));
    connections.iter().map(|connection| connection.id.to_string()).collect()
}

#[tokio::test]
async fn a_change_finds_the_connections_that_it_concerns() {
    let elsewhere: TenantId = "0190a7c8-0000-7000-8000-0000000000bb".parse().unwrap();
    let [first, second]: [SessionId; 2] =
        ["0190a7c8-0000-7000-8000-0000000000c1", "0190a7c8-0000-7000-8000-0000000000c2"].map(|id| id.parse().unwrap());
    let [alice, bob]: [UserId; 2] = [ALICE, BOB].map(|id| id.parse().unwrap());
    let of_alice = || member(ALICE, "rooms:*");
    let test = TestHub::start(&[]);
    test.users.set("first-session", Ok(of_alice().with_session(first)));
    test.users.set("second-session", Ok(of_alice().with_session(second)));
    test.users.set("bob-as-alice", Ok(of_alice().with_impersonator(bob)));
    test.users.set("alice-elsewhere", Ok(Identity::user(alice).for_tenant(elsewhere)));
    let _unauthenticated = test.open();
    let mut clients = Vec::new();
    for token in ["first-session", "bob-as-alice", "alice-elsewhere", "bob"] {
        clients.push(test.connect(token).await);
    }
    let ids: Vec<String> = clients.iter().map(|client| client.session.client()).collect();
    let of = |indexes: &[usize]| indexes.iter().map(|index| ids[*index].clone()).collect::<Vec<_>>();
    for (scope, expected) in [
        (IdentityScope::User(alice), of(&[0, 1, 2])),
        (IdentityScope::User(bob), of(&[1, 3])),
        (IdentityScope::Tenant(tenant()), of(&[0, 1, 3])),
        (IdentityScope::Tenant(elsewhere), of(&[2])),
        (IdentityScope::Session(first), of(&[0])),
        (IdentityScope::Session(second), of(&[])),
    ] {
        assert_eq!(concerned(&test, scope), expected, "{scope}");
    }

    // A refresh and another authentication can change the session.
    let reply = clients[0].command("refresh", json!({ "token": "second-session" })).await;
    assert!(reply["refresh"].is_object(), "{reply}");
    assert_eq!(concerned(&test, IdentityScope::Session(first)), of(&[]));
    assert_eq!(concerned(&test, IdentityScope::Session(second)), of(&[0]));
    test.users.set("second-session", Ok(of_alice().with_session(first)));
    test.hub.identity_changed(IdentityScope::Session(second)).await;
    assert_eq!(concerned(&test, IdentityScope::Session(second)), of(&[]));
    assert_eq!(concerned(&test, IdentityScope::Session(first)), of(&[0]));

    drop(clients.remove(1));
    assert_eq!(concerned(&test, IdentityScope::User(bob)), of(&[3]));
    clients.clear();
    for scope in [IdentityScope::User(alice), IdentityScope::Tenant(tenant()), IdentityScope::Session(first)] {
        assert_eq!(concerned(&test, scope), of(&[]), "{scope}");
    }
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
