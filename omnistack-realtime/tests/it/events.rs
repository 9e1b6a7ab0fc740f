//! Tests of the one-way event stream.

#![cfg(test)]

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::{
    sse,
    support::{EventReader, RealtimeApp},
};

const EVENTS: &str = "/api/v1/app/events";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_continues_after_its_last_event() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let tenant = user.tenant.unwrap();
    let authorization = format!("Bearer {token}");
    let header = ("authorization", authorization.as_str());
    let path = format!("{EVENTS}?channels=room:1,run:1");
    let mut events = EventReader::open(&test, &path, &[header]).await.unwrap();
    let first = events.event().await.unwrap();
    assert!(first.kind.is_none() && first.id.is_some(), "{first:?}");
    test.publish(tenant, "room:1", 1..=2).await;
    test.publish(tenant, "run:1", 3..=3).await;
    let mut last = String::new();
    for expected in [("room:1", 1), ("room:1", 2), ("run:1", 3)] {
        let event = events.event().await.unwrap();
        assert_eq!(event.kind.as_deref(), Some("message"));
        assert_eq!((event.data["channel"].as_str().unwrap(), event.data["data"]["number"].as_u64().unwrap()), expected);
        last = event.id.unwrap();
    }
    drop(events);
    test.publish(tenant, "room:1", 4..=5).await;
    test.publish(tenant, "run:1", 6..=6).await;
    // The second client has got only the first event of the former one.
    for numbers in [4..=6, 5..=6] {
        let mut events = EventReader::open(&test, &path, &[header, ("last-event-id", &last)]).await.unwrap();
        let mut ids = Vec::new();
        for expected in numbers {
            let event = events.event().await.unwrap();
            assert_eq!((event.kind.as_deref(), &event.data["data"]["number"]), (Some("message"), &expected.into()));
            ids.push(event.id.unwrap());
        }
        last = ids.swap_remove(0);
    }

    // A position of which the history is not kept, and an id of another stream.
    for unknown in ["gone:1,gone:1", "nonsense"] {
        let mut events = EventReader::open(&test, &path, &[header, ("last-event-id", unknown)]).await.unwrap();
        for channel in ["room:1", "run:1"] {
            let event = events.event().await.unwrap();
            assert_eq!((event.kind.as_deref(), &event.data["channel"]), (Some("missed"), &channel.into()), "{unknown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_refused_has_the_status_of_an_error() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let (stranger, _) = test.callers.user();
    let authorization = format!("Bearer {token}");
    let cookie = format!("session={token}");
    let header = ("authorization", authorization.as_str());
    let own = format!("user:{}", user.user);
    let foreign = format!("room:1,user:{}", stranger.user);
    for (channels, headers, expected) in [
        (own.as_str(), vec![header], None),
        (own.as_str(), vec![("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")], None),
        (
            own.as_str(),
            vec![("cookie", cookie.as_str()), ("sec-fetch-site", "cross-site")],
            Some(StatusCode::FORBIDDEN),
        ),
        (own.as_str(), vec![], Some(StatusCode::UNAUTHORIZED)),
        (own.as_str(), vec![("authorization", "Bearer wrong")], Some(StatusCode::UNAUTHORIZED)),
        (foreign.as_str(), vec![header], Some(StatusCode::FORBIDDEN)),
        ("unknown", vec![header], Some(StatusCode::FORBIDDEN)),
        ("", vec![header], Some(StatusCode::BAD_REQUEST)),
    ] {
        let opened = EventReader::open(&test, &format!("{EVENTS}?channels={channels}"), &headers).await;
        assert_eq!(opened.err(), expected, "{channels} {headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_renewed_by_another_ticket_and_keeps_its_position() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let tenant = user.tenant.unwrap();
    let caller = test.app.client_with_token(token.as_str());
    let path = async || {
        let answer = caller.post("/api/v1/app/ws/ticket", json!({})).await.expect(StatusCode::OK).json();
        format!("{EVENTS}?channels=room:1&ticket={}", answer["ticket"].as_str().unwrap())
    };
    let mut last = None;
    for number in 1..=3 {
        // The second message is published while no stream is open.
        let path = path().await;
        let headers: Vec<_> = last.iter().map(|last: &String| ("last-event-id", last.as_str())).collect();
        let mut events = EventReader::open(&test, &path, &headers).await.unwrap();
        if number != 2 {
            test.publish(tenant, "room:1", [number]).await;
        }
        let event = loop {
            let event = events.event().await.unwrap();
            if event.kind.is_some() {
                break event;
            }
        };
        assert_eq!((event.kind.as_deref(), &event.data["data"]["number"]), (Some("message"), &number.into()));
        let used = EventReader::open(&test, &path, &headers).await;
        assert_eq!(used.unwrap_err(), StatusCode::UNAUTHORIZED);
        last = event.id;
        drop(events);
        if number == 1 {
            test.publish(tenant, "room:1", [2]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_come_before_a_proxy_cuts_an_idle_stream() {
    /// Time after which proxies commonly cut a response without traffic.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    let test = RealtimeApp::start(|app| app).await;
    let (_, token) = test.callers.user();
    let clock = test.app.clock();
    let authorization = format!("Bearer {token}");
    let connect = json!({ "id": 1, "connect": { "token": token } });
    test.serve(async |_| {
        for path in [sse::path(&connect), format!("{EVENTS}?channels=room:1")] {
            let header = ("authorization", authorization.as_str());
            let mut events = EventReader::open(&test, &path, &[header]).await.unwrap();
            events.event().await.unwrap();
            let mut last_traffic = clock.clock().now();
            for _ in 0..5 {
                clock.advance(Duration::from_secs(26));
                let ping = events.event().await.unwrap();
                assert_eq!(ping.data, json!({}), "{path}");
                let now = clock.clock().now();
                assert!(now.duration_since(last_traffic) < IDLE_TIMEOUT);
                last_traffic = now;
            }
        }
    })
    .await;
}
