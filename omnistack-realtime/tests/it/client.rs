//! Tests of the client for Rust programs.

#![cfg(test)]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use omnistack_core::{
    BoxError, ShutdownToken,
    app::Server,
    id::Id,
    identity::{IDENTITY_CHANGES_TOPIC, Identity, IdentityScope, Permissions},
    pubsub::PubSub,
};
use omnistack_realtime::{
    ClientError, ClientOptions, ClientSubscription, HistoryRange, RealtimeChannel, RealtimeClient, SubscriptionEvent,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;

use crate::support::{Client, RealtimeApp, SOCKET};

/// Longest time that a test waits for the client.
const TEST_REPLY_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, PartialEq, Deserialize)]
struct Numbered {
    number: u64,
}

async fn connect(address: SocketAddr, options: ClientOptions) -> Result<RealtimeClient, ClientError> {
    connect_to(&format!("ws://{address}{SOCKET}"), options).await
}

async fn connect_to(url: &str, options: ClientOptions) -> Result<RealtimeClient, ClientError> {
    timeout(TEST_REPLY_TIMEOUT, RealtimeClient::connect(url, options)).await.unwrap()
}

fn with_token(token: &str) -> ClientOptions {
    ClientOptions::new().token(token)
}

/// Returns options with a function that returns these tokens one after another, and tells of its calls.
fn with_tokens(tokens: &[&str]) -> (ClientOptions, mpsc::UnboundedReceiver<()>) {
    let tokens: VecDeque<_> = tokens.iter().map(|token| (*token).to_owned()).collect();
    let (tokens, (told, calls)) = (Arc::new(Mutex::new(tokens)), mpsc::unbounded_channel());
    let options = ClientOptions::new().token_from(move || {
        let token = tokens.lock().unwrap().pop_front();
        told.send(()).unwrap();
        async move { token.ok_or_else(|| BoxError::from("no token is left")) }
    });
    (options, calls)
}

async fn next<T: DeserializeOwned>(
    subscription: &mut ClientSubscription<T>,
) -> Option<Result<SubscriptionEvent<T>, ClientError>> {
    timeout(TEST_REPLY_TIMEOUT, subscription.next()).await.unwrap()
}

/// Returns the number in the next event, which is a message.
async fn number(subscription: &mut ClientSubscription<Numbered>) -> u64 {
    match next(subscription).await {
        Some(Ok(SubscriptionEvent::Message { data, .. })) => data.number,
        other => panic!("{other:?}"),
    }
}

/// Reads until the subscription was recovered and the last number has arrived, and returns the numbers.
async fn recovered(subscription: &mut ClientSubscription<Numbered>, last: u64) -> Vec<u64> {
    let (mut numbers, mut is_recovered) = (Vec::new(), false);
    while !is_recovered || numbers.last() != Some(&last) {
        match next(subscription).await {
            Some(Ok(SubscriptionEvent::Message { data, .. })) => numbers.push(data.number),
            Some(Ok(SubscriptionEvent::Recovered)) => is_recovered = true,
            other => panic!("{other:?}"),
        }
    }
    numbers
}

/// Closes the connections of a user as an operator does.
async fn disconnect(test: &RealtimeApp, user: &Identity, reconnect: bool) {
    let operator = Identity::user(Id::from_uuid(Uuid::new_v4())).into_operator();
    let operator = test.app.client_with_token(test.callers.token_of(&operator));
    let request = json!({ "user": user.user, "reconnect": reconnect });
    operator.post("/api/v1/admin/realtime/disconnect", request).await.expect(204);
}

/// Serves the app on a port while the test runs, and shuts it down.
async fn serve_on<R>(test: &RealtimeApp, port: u16, run: impl AsyncFnOnce(SocketAddr) -> R) -> R {
    let server = Server::bind(([127, 0, 0, 1], port).into(), test.app.app().server_settings()).await.unwrap();
    let address = server.local_addr().unwrap();
    let shutdown = ShutdownToken::new();
    let tested = async {
        let result = run(address).await;
        shutdown.cancel();
        result
    };
    let (cut, result) = tokio::join!(test.app.app().serve(server, shutdown.clone()), tested);
    assert_eq!(cut, 0, "all connections were closed in time");
    result
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_replaced_and_the_client_connects_again() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let tenant = user.tenant.unwrap();
    let clock = test.app.clock();
    let expired = test.callers.token_until(&user, clock.clock().now() + Duration::from_secs(1));
    clock.advance(Duration::from_secs(2));
    let brief = test.callers.token_until(&user, clock.clock().now() + Duration::from_secs(60));
    test.serve(async |address| {
        let (options, mut calls) = with_tokens(&[&expired, &brief, &token]);
        let client = connect(address, options).await.unwrap();
        let mut run = client.subscribe("run:1").await.unwrap();
        test.publish(tenant, "run:1", [1]).await;
        assert_eq!(number(&mut run).await, 1);
        // Longer than the token and its grace: the server closes the connection.
        clock.advance(Duration::from_secs(86));
        test.publish(tenant, "run:1", 2..=3).await;
        assert_eq!(recovered(&mut run, 3).await, [2, 3]);
        for _ in 0..3 {
            calls.recv().await.unwrap();
        }
        assert!(calls.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_refreshed_before_it_expires() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let clock = test.app.clock();
    let brief = test.callers.token_until(&user, clock.clock().now() + Duration::from_secs(1));
    test.serve(async |address| {
        let mut other = Client::connect(address, &brief).await;
        let (options, mut calls) = with_tokens(&[&brief, &token]);
        let client = connect(address, options).await.unwrap();
        let mut run = client.subscribe("run:1").await.unwrap();
        for _ in 0..2 {
            timeout(TEST_REPLY_TIMEOUT, calls.recv()).await.unwrap().unwrap();
        }
        // The server has carried out the refresh before this.
        client.history::<Value>("run:1", HistoryRange::position()).await.unwrap();
        clock.advance(Duration::from_secs(27));
        assert_eq!(other.closed().await, 3005);
        test.publish(user.tenant.unwrap(), "run:1", [1]).await;
        assert_eq!(number(&mut run).await, 1);
        assert!(calls.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_disconnected_recovers_or_is_told_what_it_has_missed() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let tenant = user.tenant.unwrap();
    test.serve(async |address| {
        let client = connect(address, with_token(&token)).await.unwrap();
        let mut run = client.subscribe("run:1").await.unwrap();
        let mut stream = client.subscribe::<Numbered>("stream:1").await.unwrap();
        test.publish(tenant, "run:1", 1..=2).await;
        disconnect(&test, &user, true).await;
        test.publish(tenant, "run:1", 3..=100).await;
        assert_eq!(recovered(&mut run, 100).await, (1..=100).collect::<Vec<_>>());
        // A channel without a history.
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), SubscriptionEvent::Missed);
        let position = client.history::<Numbered>("run:1", HistoryRange::all().limit(98)).await.unwrap();
        assert_eq!((position.messages.len(), position.messages[97].data.number), (98, 98));
        let mut since = position.position.clone();
        since.offset = 98;
        drop(run);
        let mut run = client.subscribe_from("run:1", since).await.unwrap();
        assert_eq!(recovered(&mut run, 100).await, [99, 100]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_what_a_restarted_server_has_forgotten() {
    let first = RealtimeApp::start(|app| app.set("REALTIME_DRAIN", "0s")).await;
    let (user, token) = first.callers.user();
    let tenant = user.tenant.unwrap();
    let (address, client, mut run) = serve_on(&first, 0, async |address| {
        let client = connect(address, with_token(&token)).await.unwrap();
        let mut run = client.subscribe("run:1").await.unwrap();
        first.publish(tenant, "run:1", [1]).await;
        assert_eq!(number(&mut run).await, 1);
        (address, client, run)
    })
    .await;
    let second = RealtimeApp::start(|app| app.set("REALTIME_DRAIN", "0s")).await;
    second.callers.set(&token, &user);
    serve_on(&second, address.port(), async |_| {
        assert_eq!(next(&mut run).await.unwrap().unwrap(), SubscriptionEvent::Missed);
        second.publish(tenant, "run:1", [7]).await;
        assert_eq!(number(&mut run).await, 7);
        client.close().await;
        assert!(matches!(next(&mut run).await, Some(Err(ClientError::ClientClosed))));
        assert!(next(&mut run).await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_another_type_is_an_error_and_the_stream_goes_on() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let tenant = user.tenant.unwrap();
    test.serve(async |address| {
        let client = connect(address, with_token(&token)).await.unwrap();
        let mut run = client.subscribe("run:1").await.unwrap();
        let channel = RealtimeChannel::of_tenant(tenant, "run:1").unwrap();
        test.publisher().publish(channel, &json!({ "number": "one" })).await.unwrap();
        test.publish(tenant, "run:1", [2]).await;
        match next::<Numbered>(&mut run).await {
            Some(Err(ClientError::Decode { offset: 1, .. })) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(number(&mut run).await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_the_client_for_good_ends_it_with_the_reason() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let clock = test.app.clock();
    let expired = test.callers.token_until(&user, clock.clock().now() + Duration::from_secs(1));
    clock.advance(Duration::from_secs(2));
    let wrong =
        ClientOptions::new().header(HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer wrong"));
    test.serve(async |address| {
        let url = format!("ws://{address}{SOCKET}");
        for (url, options, expected) in [
            (url.clone(), with_token("wrong"), "ConnectionClosed { code: 3500"),
            (url.clone(), with_token(&expired), "TokenExpired"),
            (url.clone(), ClientOptions::new(), "CommandRefused { code: 101"),
            (url.clone(), wrong, "ConnectionRefused { status: 401"),
            (format!("ws://{address}/nowhere"), with_token(&token), "ConnectionRefused { status: 404"),
            (format!("http://{address}{SOCKET}"), with_token(&token), "InvalidUrl"),
        ] {
            let error = format!("{:?}", connect_to(&url, options).await.unwrap_err());
            assert!(error.starts_with(expected), "{error}");
        }
        let client = connect(address, with_token(&token)).await.unwrap();
        let mut run = client.subscribe::<Numbered>("run:1").await.unwrap();
        disconnect(&test, &user, false).await;
        let is_forced = |error: &ClientError| matches!(error, ClientError::ConnectionClosed { code: 3503, .. });
        match next(&mut run).await {
            Some(Err(error)) if is_forced(&error) => {}
            other => panic!("{other:?}"),
        }
        assert!(is_forced(&client.closed().await));
        assert!(is_forced(&client.presence("room:1").await.unwrap_err()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_have_typed_results_and_the_errors_of_the_server() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    test.serve(async |address| {
        let client = connect(address, with_token(&token)).await.unwrap();
        let mut room = client.subscribe::<Numbered>("room:1").await.unwrap();
        client.publish("room:1", &json!({ "number": 1 })).await.unwrap();
        let sender = loop {
            // The client's own arrival may come first.
            match next(&mut room).await.unwrap().unwrap() {
                SubscriptionEvent::Message { data: Numbered { number: 1 }, offset: 1, sender, .. } => break sender,
                SubscriptionEvent::Joined(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(sender.map(|sender| sender.user), Some(user.user.to_string()));
        let history = client.history::<Numbered>("room:1", HistoryRange::all().newest_first()).await.unwrap();
        assert_eq!((history.messages[0].data.number, history.position.offset), (1, 1));
        assert_eq!(client.presence("room:1").await.unwrap().len(), 1);
        let counts = client.presence_stats("room:1").await.unwrap();
        assert_eq!((counts.clients, counts.users), (1, 1));

        for (error, expected) in [
            (client.rpc::<Value>("sum", &1).await.unwrap_err(), 104),
            (client.publish("run:1", &1).await.unwrap_err(), 103),
            (client.subscribe::<Value>("unknown").await.unwrap_err(), 102),
            (client.history::<Value>("stream:1", HistoryRange::all()).await.unwrap_err(), 108),
        ] {
            assert!(matches!(error, ClientError::CommandRefused { code, .. } if code == expected), "{error:?}");
        }
        let error = client.subscribe::<Value>("room:1").await.unwrap_err();
        assert!(matches!(error, ClientError::AlreadySubscribed), "{error:?}");
        drop(room);
        client.subscribe::<Value>("room:1").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_read_slowly_or_no_longer_allowed_ends_alone() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let tenant = user.tenant.unwrap();
    let changes: PubSub = test.app.app().context().get().unwrap();
    test.serve(async |address| {
        let client = connect(address, with_token(&token).buffer(4)).await.unwrap();
        let mut run = client.subscribe("run:1").await.unwrap();
        let mut secret = client.subscribe::<Numbered>("secret:1").await.unwrap();
        test.publish(tenant, "run:1", 1..=50).await;
        // The messages have arrived before the reply.
        client.history::<Value>("run:1", HistoryRange::position()).await.unwrap();
        for expected in 1..=4 {
            assert_eq!(number(&mut run).await, expected);
        }
        assert!(matches!(next(&mut run).await, Some(Err(ClientError::SlowSubscription))));
        assert!(next(&mut run).await.is_none());
        let mut run = client.subscribe("run:1").await.unwrap();
        test.publish(tenant, "run:1", [51]).await;
        assert_eq!(number(&mut run).await, 51);

        test.callers.set(&token, &user.clone().with_permissions(Permissions::none()));
        changes.publish(IDENTITY_CHANGES_TOPIC, IdentityScope::User(user.user).to_string()).await;
        match next(&mut secret).await {
            Some(Ok(SubscriptionEvent::Ended { code: 2000, .. })) => {}
            other => panic!("{other:?}"),
        }
        test.publish(tenant, "run:1", [52]).await;
        assert_eq!(number(&mut run).await, 52);
    })
    .await;
}
