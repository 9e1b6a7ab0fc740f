//! The AsyncAPI document has the paths of the WebSocket and of the event streams, and no others.

#![cfg(test)]

use std::collections::BTreeSet;

use crate::support::{RealtimeApp, SOCKET};

const DOCUMENT: &str = include_str!("../../asyncapi.yaml");
const STREAMS: [&str; 2] = ["/api/v1/app/sse", "/api/v1/app/events"];

#[tokio::test]
async fn the_document_has_each_path() {
    let test = RealtimeApp::start(|app| app).await;
    // The other routes below them, such as that of tickets, are in the OpenAPI document.
    let is_socket = |path: &str| [SOCKET, "/ws"].iter().any(|prefix| path.starts_with(prefix));
    let routes = test.app.app().routes().iter().map(|route| (route, route.path.trim_end_matches('/')));
    let served = routes.filter(|(route, path)| STREAMS.contains(path) || (route.method == "ANY" && is_socket(path)));
    let served: BTreeSet<_> = served.map(|(_, path)| path.to_owned()).collect();
    let addresses = DOCUMENT.lines().filter_map(|line| line.strip_prefix("    address: "));
    let ends = DOCUMENT.match_indices("` is the same");
    let aliases = ends.map(|(end, _)| DOCUMENT[..end].rsplit_once('`').unwrap().1);
    let documented: BTreeSet<_> = addresses.chain(aliases).map(str::to_owned).collect();
    assert_eq!(served, documented);
}
