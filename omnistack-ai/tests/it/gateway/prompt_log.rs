//! Tests of the log of prompts.

#![cfg(test)]

use std::time::Duration;

use async_trait::async_trait;
use omnistack_ai::{AiCaller, LlmErrorKind as K};
use omnistack_core::{
    http::Method,
    jobs::{Job, JobContext, JobError},
};
use omnistack_testkit::{TestClient, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ask, gateway, options, start,
    test_llm::{TestLlm, fail, reply},
};

const LOG: &str = "/api/v1/app/ai/prompt-log";

/// The job as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct Purge {}

#[async_trait]
impl Job for Purge {
    const NAME: &'static str = "ai.purge_prompt_log";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

fn caller(client: &TestClient) -> AiCaller {
    AiCaller::of_tenant(client.identity().and_then(|identity| identity.tenant).unwrap())
}

on_each_database! {
    async fn prompts_are_logged_only_if_the_tenant_says_so(database: TestDatabase) {
        let first = TestLlm::new("fake", [reply("one"), reply("two"), reply("three"), fail(K::InvalidRequest), reply("five")]);
        let app = start(database, (&first, &TestLlm::new("second", [])), |app, ai| (app, ai)).await;
        let (gateway, ada, bob) = (gateway(&app), app.user(), app.user());
        gateway.complete(caller(&ada), ask("first"), options()).await.unwrap();
        let settings = ada.get(format!("{LOG}/settings")).await.expect(200).json();
        assert_eq!(settings, json!({ "enabled": false, "retention_days": 30 }));
        let change = json!({ "enabled": true, "retention_days": 7 });
        let changed = ada.request(Method::PUT, format!("{LOG}/settings")).json(&change).await.expect(200).json();
        assert_eq!(changed, change);

        gateway.complete(caller(&ada), ask("second"), options()).await.unwrap();
        gateway.complete(caller(&bob), ask("third"), options()).await.unwrap();
        app.clock().advance(Duration::from_secs(1));
        gateway.complete(caller(&ada), ask("fourth"), options()).await.unwrap_err();
        let page = ada.get(LOG).await.expect(200).json();
        let entries = page["items"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!((&entries[0]["error"], &entries[1]["error"]), (&json!("invalid_request"), &json!(null)));
        let path = format!("{LOG}/{}", entries[1]["id"].as_str().unwrap());
        let details = ada.get(&path).await.expect(200).json();
        assert_eq!(details["request"][0]["parts"][0]["text"], "second");
        assert_eq!(details["response"]["parts"][0]["text"], "two");
        assert_eq!(bob.get(LOG).await.expect(200).json()["items"], json!([]));
        bob.get(&path).await.expect(404);

        app.clock().advance(Duration::from_secs(7 * 86_400));
        ada.get(&path).await.expect(404);
        app.jobs().enqueue(Purge {}).await.unwrap();
        app.run_jobs().await;
        gateway.complete(caller(&ada), ask("fifth"), options()).await.unwrap();
        let cleared = ada.delete(LOG).await.expect(200).json();
        assert_eq!(cleared, json!({ "deleted": 1 }), "the job has deleted the others");
    }

    async fn the_log_needs_a_permission(database: TestDatabase) {
        let (first, second) = (TestLlm::new("fake", []), TestLlm::new("second", []));
        let app = start(database, (&first, &second), |app, ai| (app, ai)).await;
        let owner = app.user().identity().unwrap().clone();
        let reader = app.client_as(owner.with_permissions("ai:read".parse().unwrap()));
        reader.get(LOG).await.expect_error(403, "PERMISSION_DENIED");
        let change = json!({ "enabled": true, "retention_days": 7 });
        reader.request(Method::PUT, format!("{LOG}/settings")).json(&change).await.expect(403);
        let late = json!({ "enabled": true, "retention_days": 366 });
        app.user().request(Method::PUT, format!("{LOG}/settings")).json(&late).await.expect(422);
    }
}
