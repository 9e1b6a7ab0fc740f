//! The rows of the gateway in exports of tenants.

#![cfg(test)]

use std::collections::BTreeMap;

use omnistack_ai::Ai;
use omnistack_core::http::Method;
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::{
    accounting::BUDGETS,
    openai_api::{MODEL, ScriptedProvider},
    vectors::{VECTOR, WordEmbedder, tenant},
};

fn prompt(template: &str) -> Value {
    json!({ "model": MODEL, "messages": [{ "role": "user", "template": template }], "variables": [] })
}

/// Adds a row of each kind but fixes to the tenant of a client. `mark` is in all texts.
async fn add_rows(app: &TestApp, client: &TestClient, mark: &str) {
    let log = json!({ "enabled": true, "retention_days": 7 });
    client.request(Method::PUT, "/api/v1/app/ai/prompt-log/settings").json(log).await.expect(200);
    client.request(Method::PUT, "/api/v1/app/ai/prompts/greet/override").json(prompt(mark)).await.expect(200);
    let budget = json!({ "scope": "tenant", "period": "month", "limits": { "limit_tokens": 1_000_000_000 } });
    client.post(BUDGETS, budget).await.expect(201);
    let message = json!({ "role": "user", "content": mark });
    let chat = json!({ "prompt": { "name": "greet" }, "messages": [message] });
    client.post("/api/v1/app/ai/chat", chat).await.expect(200);
    let document = json!({ "id": "guide", "text": format!("A cat and {mark}"), "metadata": { "mark": mark } });
    client.post(format!("{VECTOR}/default/documents"), document).await.expect(202);
    app.run_jobs().await;
}

/// Queues a fix of a finding.
async fn queue_fix(client: &TestClient, mark: &str) {
    let finding = json!({
        "path": "src/main.rs", "start_line": 1, "end_line": 1, "rule": "rust/unwrap", "severity": "high",
        "message": mark, "code": "fn main() {}\n",
    });
    let finding = client.post("/api/v1/app/fixes/results", finding).await.expect(201).json();
    let generate = format!("/api/v1/app/fixes/generate/{}", finding["id"].as_str().unwrap());
    client.post(generate, json!({})).await.expect(202);
}

on_each_database! {
    async fn an_export_has_what_the_tenant_has_done_with_models(database: TestDatabase) {
        let ai = Ai::from_env().provider(ScriptedProvider::default()).text_embedder(WordEmbedder::default());
        let app = TestApp::start(database, |app| app.set("AI_FIX_MODEL", MODEL).with(ai)).await;
        let content = prompt("Hello.");
        let new = json!({ "name": "greet", "description": "Greets.", "access": "overridable", "content": content });
        app.operator().post("/api/v1/admin/ai/prompts", new).await.expect(201);
        let (alice, bob) = (app.user(), app.user());
        add_rows(&app, &alice, "the words of Alice").await;
        add_rows(&app, &bob, "the words of Bob").await;
        queue_fix(&alice, "the words of Alice").await;
        queue_fix(&bob, "the words of Bob").await;

        let mut exported = app.exported_rows(tenant(&alice)).await;
        exported.retain(|name, _| name.starts_with("ai-"));
        let counts: BTreeMap<_, _> = exported.iter().map(|(name, rows)| (*name, rows.len())).collect();
        let expected = BTreeMap::from([
            ("ai-budgets", 1),
            ("ai-calls", 1),
            ("ai-fix-events", 1),
            ("ai-fix-findings", 1),
            ("ai-fixes", 1),
            ("ai-prompt-log", 1),
            ("ai-prompts", 1),
            ("ai-vector-collections", 1),
            ("ai-vector-documents", 1),
            ("ai-vector-points", 1),
        ]);
        let text = serde_json::to_string(&exported).unwrap();
        assert_eq!(counts, expected, "{text}");
        let strangers = bob.identity().unwrap().user.to_string();
        assert!(!text.contains("Bob") && !text.contains(&strangers), "{text}");
        assert_eq!(exported["ai-calls"][0]["user_id"], json!(alice.identity().unwrap().user));
        assert_eq!(exported["ai-prompts"][0]["content"]["messages"][0]["template"], "the words of Alice");
        assert!(exported["ai-prompt-log"][0]["request"].to_string().contains("the words of Alice"), "{text}");
        assert_eq!(exported["ai-vector-documents"][0]["metadata"], json!({ "mark": "the words of Alice" }));
        let point = &exported["ai-vector-points"][0];
        assert!(point["content"].as_str().unwrap().ends_with("the words of Alice"), "{text}");
        assert!(point["metadata"].is_object() && point.get("embedding").is_none(), "{text}");
        assert_eq!(exported["ai-fix-events"][0]["data"]["kind"], "queued");
        assert!(exported["ai-fix-events"][0].get("hash").is_none(), "{text}");
    }
}
