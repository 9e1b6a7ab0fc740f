//! Tests of well-behaved and misbehaving clients over real sockets.

mod idle;
mod peer;
mod refused;
mod requests;
mod shutdown;
mod slow;
mod unread;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    routing::{get, post},
};
use omnistack_core::{
    app::ServerSettings,
    http::{Error, HeaderName, Json, layer::ClientAddr},
    module::{Api, Mount},
};
use omnistack_testkit::TestApp;
use tokio::sync::{Notify, mpsc};

use super::support::{module, routes, soon, start};

/// Short timeouts, so that tests are fast, but long enough for a busy machine.
const SHORT_TIMEOUTS: ServerSettings =
    ServerSettings { header_timeout: Duration::from_millis(400), grace: Duration::from_millis(200) };
const PATIENT: ServerSettings =
    ServerSettings { header_timeout: Duration::from_mins(1), grace: Duration::from_mins(1) };

#[derive(serde::Deserialize, garde::Validate)]
#[serde(transparent)]
struct Text(#[garde(skip)] String);

/// Signals when it is dropped.
struct Guard(mpsc::UnboundedSender<String>);

impl Drop for Guard {
    fn drop(&mut self) {
        _ = self.0.send("dropped".into());
    }
}

/// An app with routes that the test controls.
struct WireApp {
    app: TestApp,
    /// Releases `/held` and `/stream`.
    release: Arc<Notify>,
    /// The notifications of the handlers.
    noticed: mpsc::UnboundedReceiver<String>,
}

impl WireApp {
    async fn noticed(&mut self) -> String {
        soon(self.noticed.recv()).await.unwrap()
    }
}

async fn wire() -> WireApp {
    let release = Arc::new(Notify::new());
    let (notice, noticed) = mpsc::unbounded_channel();
    let held = {
        let (release, notice) = (Arc::clone(&release), notice.clone());
        move || async move {
            let guard = Guard(notice.clone());
            _ = notice.send("held".into());
            release.notified().await;
            drop(guard);
            "released"
        }
    };
    let stream = {
        let release = Arc::clone(&release);
        move || async move {
            Body::from_stream(futures_util::stream::unfold(0, move |count| {
                let release = Arc::clone(&release);
                async move {
                    if count > 0 {
                        release.notified().await;
                    }
                    (count < 2).then(|| (Ok::<_, std::io::Error>(format!("piece {count}")), count + 1))
                }
            }))
        }
    };
    let body = move |body: Result<Json<Text>, Error>| async move {
        let (code, answer) = match body {
            Ok(Json(Text(text))) => (text, Ok("read")),
            Err(error) => (error.code().to_owned(), Err(error)),
        };
        _ = notice.send(code);
        answer
    };
    let flood = || async {
        Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 1 << 16])))
    };
    let api = Api::new()
        .hidden("/held", get(held))
        .hidden("/stream", get(stream))
        .hidden("/body", post(body))
        .hidden("/flood", get(flood))
        .hidden("/large", get(|| async { vec![b'x'; 64 << 20] }))
        .hidden("/address", get(|Extension(client): Extension<ClientAddr>| async move { client.0.to_string() }));
    let app = start(|app| {
        app.with(routes(Mount::root("", omnistack_core::identity::AccessLevel::Public), api))
            .with(module("own", |registry| _ = registry.request_headers([HeaderName::from_static("x-own")])))
            .set("TRUSTED_PROXIES", "127.0.0.0/8")
    })
    .await;
    WireApp { app, release, noticed }
}
