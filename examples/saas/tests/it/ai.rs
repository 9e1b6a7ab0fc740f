//! Tests of models in the app: from an API key of a team to what its plan allows.

#![cfg(test)]

use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::disabled_webhook::{sign_in, user};

const AI: &str = "/api/v1/app/ai";
const CHAT: &str = "/v1/chat/completions";
const KEYS: &str = "/api/v1/app/api-keys";
const USAGE: &str = "/api/v1/app/usage";

/// The tokens that the free plan allows in a month.
const FREE_TOKENS: u64 = 100_000;

/// Returns the owner of a team, and a program with an API key of the team for these permissions.
async fn owner_and_robot(app: &TestApp, scopes: &[&str]) -> (TestClient, TestClient) {
    let owner = sign_in(app, user(app, "ada@example.com").await).await;
    let key = owner.post(KEYS, json!({ "name": "robot", "scopes": scopes })).await.expect(201).json();
    let robot = app.client_with_token(key["secret"].as_str().unwrap());
    (owner, robot)
}

/// Returns a request whose answer has at most so many tokens.
fn hello(max_tokens: u64) -> Value {
    json!({ "model": "fast", "max_tokens": max_tokens, "messages": [{ "role": "user", "content": "Hello" }] })
}

on_each_database! {
    async fn an_api_key_chats_and_the_team_sees_what_it_used(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let (owner, robot) = owner_and_robot(&app, &["ai:read", "ai:write"]).await;
        let status = owner.get(format!("{AI}/status")).await.expect(200).json();
        assert_eq!((&status["is_ai_available"], &status["available_providers"]), (&json!(true), &json!(["fake"])));

        let answered = robot.post(CHAT, hello(100)).await.expect(200);
        assert_eq!(answered.header("x-ai-provider"), Some("fake"));
        let cost = answered.header("x-ai-cost-usd").unwrap().to_owned();
        let answer = answered.json();
        assert_eq!(answer["choices"][0]["message"]["content"], "You said: Hello");
        assert_eq!(answer["model"], "fake-small");
        let tokens = &answer["usage"]["total_tokens"];

        let report = owner.get(format!("{AI}/usage?group_by=model")).await.expect(200).json();
        let item = &report["items"][0];
        assert_eq!((&item["group"], &item["usage"]["calls"]), (&json!("fake-small"), &json!(1)));
        assert_eq!(item["usage"]["cost"], cost);

        // The same tokens are in the ledger of usage, which plans and invoices are made of.
        let breakdown = owner.get(format!("{USAGE}/breakdown?by=category&meter=ai_tokens&period=7d")).await;
        let breakdown = breakdown.expect(200).json();
        assert_eq!(&breakdown["total"], tokens, "{breakdown}");
        assert_eq!(breakdown["items"][0]["value"], "fake-small");
    }

    async fn a_call_beyond_the_plan_is_refused(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let (owner, robot) = owner_and_robot(&app, &["ai:write"]).await;

        // A message counts as a token for four bytes.
        let mut long = hello(100);
        long["messages"][0]["content"] = "Hey ".repeat(usize::try_from(FREE_TOKENS).unwrap()).into();
        let refused = robot.post(CHAT, long.clone()).await.expect(402).json();
        let error = &refused["error"];
        assert_eq!((&error["code"], &error["type"]), (&json!("ai_budget_exceeded"), &json!("insufficient_quota")));
        assert_eq!((&error["details"]["scope"], &error["details"]["limit"]), (&json!("plan"), &json!(FREE_TOKENS)));
        let refused = owner.post(format!("{AI}/chat"), long).await;
        refused.expect_error(402, "AI_BUDGET_EXCEEDED");

        // Nothing of a refused call stays reserved.
        robot.post(CHAT, hello(FREE_TOKENS - 100)).await.expect(200);
    }

    async fn a_model_without_a_price_answers_and_is_counted(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let (_, robot) = owner_and_robot(&app, &["ai:write"]).await;
        let mut call = hello(20);
        call["model"] = json!("fake/fake-tiny");
        let answered = robot.post(CHAT, call).await.expect(200);
        assert_eq!(answered.header("x-ai-cost-usd"), None, "an unknown cost is not 0");
        let metrics = app.anonymous().get("/metrics").await.expect(200).text();
        let mut lines = metrics.lines().filter(|line| line.starts_with("llm_unpriced_total{"));
        let counted = lines.find(|line| line.contains(r#"provider="fake""#)).unwrap();
        assert!(!counted.ends_with(" 0"), "{counted}");
    }

    async fn a_budget_of_the_team_is_kept(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let (owner, robot) = owner_and_robot(&app, &["ai:write"]).await;
        let call = hello(20);
        let answer = robot.post(CHAT, call.clone()).await.expect(200).json();
        let used = answer["usage"]["total_tokens"].as_u64().unwrap();

        let limits = json!({ "limit_tokens": used + 20 });
        let budget = json!({ "scope": "tenant", "period": "month", "limits": limits });
        let budget = owner.post(format!("{AI}/budgets"), budget).await.expect(201).json();
        assert_eq!(budget["spent_tokens"], used);
        let refused = robot.post(CHAT, call).await.expect(402).json();
        let details = &refused["error"]["details"];
        assert_eq!((&details["scope"], &details["budget"]), (&json!("tenant"), &budget["id"]));
    }

    async fn an_agent_finds_the_operations_that_its_key_permits(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let (_, robot) = owner_and_robot(&app, &["fixes:read"]).await;
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        let request = robot.post("/mcp", message).header("host", "app.example.com");
        let request = request.header("accept", "application/json, text/event-stream");
        let listed = request.header("mcp-protocol-version", "2025-06-18").await.expect(200).json();
        let tools = listed["result"]["tools"].as_array().unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"getFix") && !names.contains(&"generateFix"), "{names:?}");
    }
}
