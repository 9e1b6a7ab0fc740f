//! The client of the Model Context Protocol's SDK.

use omnistack_testkit::TestDatabase;
use serde_json::{Value, json};

use super::{node, printed};
use crate::mcp::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_sdk_lists_and_calls_tools() {
    let app = start(TestDatabase::sqlite()).await;
    let server = app.listen_with_defaults().await;
    let (url, user) = (format!("http://{}/mcp", server.address), app.user());
    let calls = json!([
        ["addMoon", { "planet": "Mars", "body": { "name": "Phobos" } }],
        ["listPlanets", {}],
        ["addMoon", { "planet": "Mars", "body": { "name": "" } }],
        ["renamePlanet", {}],
    ]);
    let used = printed(node("mcp_client.mjs"), [url.as_str(), user.token().unwrap(), &calls.to_string()]).await;

    let tools = used["tools"].as_array().unwrap_or_else(|| panic!("{used}"));
    let moon = tools.iter().find(|tool| tool["name"] == "addMoon").unwrap();
    assert_eq!(moon["inputSchema"]["required"], json!(["planet", "body"]));
    assert!(tools.iter().all(|tool| tool["name"] != "renamePlanet"));
    let [added, listed, invalid, unknown] = used["results"].as_array().unwrap().as_slice() else { panic!("{used}") };
    assert_eq!(added["structuredContent"]["name"], "Phobos");
    assert_eq!(listed["content"][0]["text"], "[\"Mars\"]");
    assert_eq!(invalid["isError"], true);
    assert_eq!(unknown["code"], -32602);

    let refused = printed(node("mcp_client.mjs"), [url.as_str(), "no-key", "[]"]).await;
    assert!(refused["failure"].is_string(), "{refused}");
    assert_eq!(refused["tools"], Value::Null);
    server.shut_down().await;
}
