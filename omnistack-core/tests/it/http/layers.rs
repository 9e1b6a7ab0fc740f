//! Tests that slots order layers, independently of the order of modules.

use std::sync::{Arc, Mutex};

use axum::{
    extract::Request,
    middleware::{Next, from_fn},
    routing::get,
};
use omnistack_core::{
    http::{Method, layer::RequestId},
    identity::Identity,
    module::{Api, Mount, Registry, Slot},
};

use super::support::{InlineModule, module, routes, start};

/// The records of the layers, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// Adds a layer that records its name, and whether it sees the caller and the request id.
fn noting(registry: &mut Registry, slot: Slot, name: &'static str, log: &Log) {
    let log = Arc::clone(log);
    registry.layer(slot, move |_| {
        Ok(from_fn(move |request: Request, next: Next| {
            let log = Arc::clone(&log);
            async move {
                let known =
                    if request.extensions().get::<Identity>().is_some() { "knows the caller" } else { "does not" };
                assert!(request.extensions().get::<RequestId>().is_some());
                log.lock().unwrap().push(format!("{name} {known}"));
                let response = next.run(request).await;
                log.lock().unwrap().push(format!("{name} {}", response.status().as_u16()));
                response
            }
        }))
    });
}

const SLOTS: [(Slot, &str); 4] =
    [(Slot::Outermost, "edge"), (Slot::Identity, "identity"), (Slot::Tenant, "tenant"), (Slot::Route, "route")];

fn layer(index: usize, log: &Log) -> InlineModule {
    let (slot, name) = SLOTS[index];
    let log = Arc::clone(log);
    module(name, move |registry| noting(registry, slot, name, &log))
}

fn hello() -> InlineModule {
    routes(Mount::app(""), Api::new().hidden("/hello", get(|| async { "hello" })))
}

#[tokio::test]
async fn the_order_of_modules_never_matters() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let log = Log::default();
        let app = start(|app| order.iter().fold(app, |app, index| app.with(layer(*index, &log))).with(hello())).await;
        app.user().get("/api/v1/app/hello").await.expect(200);
        let expected = [
            "edge does not",
            "identity does not",
            "tenant knows the caller",
            "route knows the caller",
            "route 200",
            "tenant 200",
            "identity 200",
            "edge 200",
        ];
        assert_eq!(*log.lock().unwrap(), expected, "{order:?}");
    }
}

#[tokio::test]
async fn within_a_slot_it_does_not_matter_either() {
    let mut seen = Vec::new();
    for names in [["a", "b", "c"], ["c", "a", "b"]] {
        for slot in [Slot::Outermost, Slot::Tenant] {
            let log = Log::default();
            let made = names.map(|name| {
                let log = Arc::clone(&log);
                module(name, move |registry| noting(registry, slot, name, &log))
            });
            let app =
                start(|app| made.into_iter().fold(app, omnistack_core::app::AppBuilder::with).with(hello())).await;
            app.user().get("/api/v1/app/hello").await.expect(200);
            seen.push(log.lock().unwrap().iter().map(|line| line[..1].to_owned()).collect::<String>());
        }
    }
    assert!(seen.iter().all(|order| *order == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn who_is_turned_away_gets_no_further() {
    let log = Log::default();
    let app = start(|app| (0..4).fold(app, |app, index| app.with(layer(index, &log))).with(hello())).await;
    for (method, path, expected) in [
        (Method::GET, "/api/v1/app/hello", &["edge does not", "identity does not", "identity 401", "edge 401"][..]),
        (Method::GET, "/nowhere", &["edge does not", "edge 404"]),
        (Method::GET, "/api/v1/app/nowhere", &["edge does not", "edge 404"]),
        (Method::GET, "/openapi.json", &["edge does not", "edge 200"]),
    ] {
        app.anonymous().request(method, path).await;
        assert_eq!(std::mem::take(&mut *log.lock().unwrap()), expected, "{path}");
    }
}
