//! Tests of maintenance: connections are closed, and none is opened until it ends.

#![cfg(test)]

use std::time::Duration;

use http::StatusCode;
use omnistack_core::maintenance::MaintenanceMode;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    sse,
    support::{Client, EventReader, RealtimeApp, SOCKET},
};

fn mode(test: &RealtimeApp) -> MaintenanceMode {
    test.app.app().context().get().unwrap()
}

async fn start_maintenance(test: &RealtimeApp) {
    let mut tx = test.app.db().begin().await.unwrap();
    mode(test).start_in(&mut tx, Duration::from_secs(90), "we are moving").await.unwrap();
    tx.commit().await.unwrap();
    mode(test).refresh().await.unwrap();
}

async fn end_maintenance(test: &RealtimeApp) {
    let mut tx = test.app.db().begin().await.unwrap();
    assert!(mode(test).end_in(&mut tx).await.unwrap());
    tx.commit().await.unwrap();
    mode(test).refresh().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_closes_connections_and_refuses_new_ones() {
    let test = RealtimeApp::start(|app| app).await;
    let (_, token) = test.callers.user();
    let connect = json!({ "id": 1, "connect": { "token": token } });
    let bearer = format!("Bearer {token}");
    let signed_in = [("authorization", bearer.as_str())];
    let one_way = "/api/v1/app/events?channels=room:1";
    test.serve(async |address| {
        let mut socket = Client::connect(address, &token).await;
        socket.subscribe("room:1").await;
        let mut stream = EventReader::open(&test, &sse::path(&connect), &[]).await.unwrap();
        assert!(stream.event().await.unwrap().data["connect"].is_object());
        let mut events = EventReader::open(&test, one_way, &signed_in).await.unwrap();

        start_maintenance(&test).await;
        assert_eq!(socket.closed().await, 3001);
        let last = stream.event().await.unwrap().data;
        let expected = json!({ "code": 3001, "reason": "shutdown", "reconnect": true });
        assert_eq!(last["push"]["disconnect"], expected, "{last}");
        assert!(stream.event().await.is_none());
        while events.event().await.is_some() {}

        assert_eq!(Client::open(address, SOCKET, &[]).await.unwrap_err(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(Client::open(address, "/ws/run/1", &[]).await.unwrap_err(), StatusCode::SERVICE_UNAVAILABLE);
        for path in [sse::path(&connect), one_way.to_owned()] {
            let refused = EventReader::open(&test, &path, &signed_in).await;
            assert_eq!(refused.unwrap_err(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }

        end_maintenance(&test).await;
        // Until the hub has seen the end, it closes connections like those before.
        let reconnected = async {
            loop {
                let mut socket = Client::open(address, SOCKET, &[]).await.unwrap();
                socket.send(connect.to_string()).await;
                if let Message::Text(reply) = socket.raw().await {
                    break serde_json::from_str::<Value>(&reply).unwrap();
                }
            }
        };
        let reply = timeout(Duration::from_secs(20), reconnected).await.unwrap();
        assert!(reply["connect"]["client"].is_string(), "{reply}");
    })
    .await;
}
