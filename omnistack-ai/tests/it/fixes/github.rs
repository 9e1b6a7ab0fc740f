//! Fixes on GitHub, against a mock server with its API.

#![cfg(test)]

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_ai::Ai;
use omnistack_testkit::{
    TestApp, TestClient, TestDatabase,
    mock_server::{MockResponse, MockServer},
};
use serde_json::json;

use super::{FILE, FIXED, PATCH, ScriptedModel, act, add_result, get, queue, repository};

const FILE_PATH: &str = "/repos/acme/shop/contents/src/main.rs";

async fn start(github: &MockServer, model: &ScriptedModel) -> TestApp {
    TestApp::start(TestDatabase::sqlite(), |app| {
        app.set("AI_FIX_MODEL", "fake-small")
            .set("AI_GITHUB_TOKEN", "gh-token")
            .set("AI_GITHUB_URL", github.url())
            .set("AI_GITHUB_REPOSITORIES", "*=acme/shop")
            .with(Ai::from_env().provider(model.clone()))
    })
    .await
}

fn reply(body: &serde_json::Value) -> MockResponse {
    MockResponse::json(200, body.to_string())
}

/// Returns the response with the file that the patch changes.
fn file() -> MockResponse {
    reply(&json!({ "type": "file", "encoding": "base64", "content": STANDARD.encode(FILE), "sha": "v1" }))
}

/// Generates a fix of a file on GitHub and approves it.
async fn approved(app: &TestApp, user: &TestClient, model: &ScriptedModel) -> String {
    let fix = queue(user, &add_result(user, repository()).await).await;
    model.answer(PATCH, 95);
    app.run_jobs().await;
    act(user, &fix, "approve").await.expect(200);
    fix
}

#[tokio::test]
async fn a_fix_becomes_a_pull_request_on_github() {
    let (github, model) = (MockServer::start().await, ScriptedModel::default());
    let app = start(&github, &model).await;
    let user = app.user();
    github.expect("GET", FILE_PATH).query("ref", "main").header("authorization", "Bearer gh-token").reply(file());
    let fix = approved(&app, &user, &model).await;

    let branch = format!("omnistack/fix-{fix}");
    let heads = "/repos/acme/shop/git/ref/heads";
    let missing = MockResponse::json(404, r#"{"message":"Not Found"}"#);
    github.expect("GET", &format!("{heads}/{branch}")).reply(missing);
    github.expect("GET", &format!("{heads}/main")).reply(reply(&json!({ "object": { "sha": "base" } })));
    github
        .expect("POST", "/repos/acme/shop/git/refs")
        .body_contains(format!("\"ref\":\"refs/heads/{branch}\""))
        .body_contains("\"sha\":\"base\"")
        .reply(MockResponse::json(201, "{}"));
    github.expect("GET", FILE_PATH).query("ref", &branch).reply(file());
    github
        .expect("PUT", FILE_PATH)
        .body_contains(format!("\"branch\":\"{branch}\""))
        .body_contains(format!("\"content\":\"{}\"", STANDARD.encode(FIXED)))
        .body_contains("\"sha\":\"v1\"")
        .reply(MockResponse::json(201, r#"{"commit":{"sha":"c1"}}"#));
    let pulls = "/repos/acme/shop/pulls";
    github
        .expect("GET", pulls)
        .query("state", "open")
        .query("head", &format!("acme:{branch}"))
        .query("base", "main")
        .reply(reply(&json!([])));
    let opened = json!({ "number": 7, "html_url": "https://github.example/acme/shop/pull/7" });
    github
        .expect("POST", pulls)
        .body_contains(format!("\"head\":\"{branch}\""))
        .body_contains("\"base\":\"main\"")
        .reply(MockResponse::json(201, opened.to_string()));
    act(&user, &fix, "create-pr").await.expect(202);
    app.run_jobs().await;
    let open = get(&user, &fix).await;
    assert_eq!(open["status"], "pull_request_open", "{open}");
    assert_eq!(open["pull_request_url"], opened["html_url"]);
    github.verify();
}

/// GitHub answers 403 to an app that calls too often, and says when it may come back.
#[tokio::test]
async fn a_rate_limit_of_github_is_waited_for() {
    let (github, model) = (MockServer::start().await, ScriptedModel::default());
    let app = start(&github, &model).await;
    let user = app.user();
    github.expect("GET", FILE_PATH).reply(file());
    let fix = approved(&app, &user, &model).await;

    let limited = MockResponse::json(403, r#"{"message":"You have exceeded a secondary rate limit."}"#);
    github.expect("GET", FILE_PATH).reply(limited.header("retry-after", "90"));
    act(&user, &fix, "apply").await.expect(202);
    app.run_jobs().await;
    assert_eq!(get(&user, &fix).await["status"], "applying");
    github.expect("GET", FILE_PATH).query("ref", "main").reply(file());
    let committed = MockResponse::json(200, r#"{"commit":{"sha":"c2"}}"#);
    github.expect("PUT", FILE_PATH).body_contains("\"branch\":\"main\"").reply(committed);
    app.clock().advance(Duration::from_secs(91));
    app.run_jobs().await;
    let applied = get(&user, &fix).await;
    assert_eq!((&applied["status"], &applied["commit"]), (&json!("applied"), &json!("c2")), "{applied}");
    github.verify();
}

#[tokio::test]
async fn errors_of_github_end_the_delivery_with_their_code() {
    for (status, code) in [(401, "CODE_HOST_UNAUTHORIZED"), (422, "CODE_HOST_REFUSED")] {
        let (github, model) = (MockServer::start().await, ScriptedModel::default());
        let app = start(&github, &model).await;
        let user = app.user();
        github.expect("GET", FILE_PATH).reply(file());
        let fix = approved(&app, &user, &model).await;
        github.expect("GET", FILE_PATH).times(..).reply(MockResponse::json(status, r#"{"message":"no"}"#));
        act(&user, &fix, "apply").await.expect(202);
        app.run_jobs().await;
        let failed = get(&user, &fix).await;
        assert_eq!(failed["error"]["code"], code, "{failed}");
    }
}
