//! Tests of the routes of models for the app's own clients.

#![cfg(test)]

use omnistack_ai::{LlmError, LlmErrorKind, OutputFormat};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::openai_api::{MODEL, ScriptedProvider, frames, start};

const CHAT: &str = "/api/v1/app/ai/chat";
const COMPLETIONS: &str = "/api/v1/app/ai/completions";

fn chat_body(more: Value) -> Value {
    let mut body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "Say hello." }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

on_each_database! {
    async fn each_answer_has_its_usage_and_cost(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let user = app.user();
        for (path, request) in [
            (CHAT, chat_body(json!({}))),
            (COMPLETIONS, json!({ "model": MODEL, "prompt": "Say hello.", "system": "Be brief." })),
        ] {
            let answer = user.post(path, request).await.expect(200).json();
            assert_eq!((&answer["text"], &answer["provider"]), (&json!("Hello world!"), &json!("fake")));
            assert_eq!(answer["stop"]["unified"], "stop");
            assert_eq!((&answer["usage"]["input"], &answer["usage"]["output"]), (&json!(10), &json!(5)));
            let call = &answer["call"];
            assert!(call["id"].is_string() && call["cost"].is_string(), "{call}");
            assert_eq!((&call["asked_model"], &call["cached"]), (&json!(MODEL), &json!(false)));
        }
        assert_eq!(provider.last_request().messages.len(), 2);
    }

    async fn a_stream_ends_with_the_account(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        for (path, request) in [
            (CHAT, chat_body(json!({ "stream": true }))),
            (COMPLETIONS, json!({ "model": MODEL, "prompt": "Say hello.", "stream": true })),
        ] {
            let answer = app.user().post(path, request).await.expect(200);
            assert_eq!(answer.header("content-type"), Some("text/event-stream"));
            let events = frames(&answer.text());
            let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
            assert_eq!(kinds, ["start", "text", "text", "end", "settled"]);
            assert_eq!(events.last().unwrap()["call"]["usage"]["output"], 5);
        }
    }

    async fn the_app_chooses_the_model_by_complexity(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let request = json!({ "messages": [{ "role": "user", "content": "Hi!" }] });
        let answer = app.user().post("/api/v1/app/ai/chat/routed", request).await.expect(200).json();
        assert_eq!(answer["call"]["asked_model"], "cheap");
        let named = app.user().post("/api/v1/app/ai/chat/routed", chat_body(json!({}))).await.expect(200).json();
        assert_eq!(named["call"]["asked_model"], MODEL);
    }

    async fn schemas_tools_and_the_provider_are_passed_on(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
        app.user().post(CHAT, chat_body(json!({ "tools": tools, "provider": "fake", "max_tokens": 3 }))).await.expect(200);
        let request = provider.last_request();
        assert_eq!((request.tools.len(), request.max_output_tokens), (1, Some(3)));
        provider.answer_with(vec![omnistack_ai::Part::text("{}")]);
        let completion = json!({ "model": MODEL, "prompt": "a", "json_schema": { "type": "object" } });
        app.user().post(COMPLETIONS, completion).await.expect(200);
        assert!(matches!(provider.last_request().output, OutputFormat::JsonSchema { .. }));
    }

    async fn wrong_requests_are_refused(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let user = app.user();
        for (path, request, field) in [
            (CHAT, json!({}), "messages"),
            (CHAT, chat_body(json!({ "messages": [] })), "messages"),
            (CHAT, chat_body(json!({ "colour": "red" })), "colour"),
            (CHAT, chat_body(json!({ "prompt": { "name": "" } })), "prompt.name"),
            (CHAT, chat_body(json!({ "prompt": { "name": "a", "x": 1 } })), "prompt.x"),
            (CHAT, chat_body(json!({ "prompt": { "name": "a", "label": "b", "version": 1 } })), "prompt.version"),
            (CHAT, chat_body(json!({ "cache_seconds": 0 })), "cache_seconds"),
            (COMPLETIONS, json!({}), "prompt"),
            (COMPLETIONS, json!({ "prompt": "" }), "prompt"),
            (COMPLETIONS, json!({ "prompt": "a", "json_schema": [] }), "json_schema"),
            (COMPLETIONS, json!({ "prompt": "a", "temperature": 3 }), "temperature"),
        ] {
            let error = user.post(path, request.clone()).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(error["error"]["details"]["fields"][0]["field"], field, "{request}");
        }
        user.post(CHAT, chat_body(json!({ "model": "no-such" }))).await.expect_error(404, "MODEL_NOT_FOUND");
        user.post(CHAT, chat_body(json!({ "prompt": { "name": "none" } }))).await.expect_error(404, "NOT_FOUND");
        provider.fail_with(LlmError::new(LlmErrorKind::InvalidRequest, "fake", "no"));
        user.post(CHAT, chat_body(json!({}))).await.expect_error(400, "REQUEST_REJECTED_BY_PROVIDER");
        app.anonymous().post(CHAT, chat_body(json!({}))).await.expect_error(401, "UNAUTHORIZED");
    }

    async fn status_and_models(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        let user = app.user();
        let status = user.get("/api/v1/app/ai/status").await.expect(200).json();
        assert_eq!((&status["is_ai_available"], &status["available_providers"]), (&json!(true), &json!(["fake"])));
        let models = user.get("/api/v1/app/ai/models").await.expect(200).json();
        let model = models["items"].as_array().unwrap().iter().find(|model| model["id"] == MODEL).unwrap();
        assert_eq!((&model["provider"], &model["mode"]), (&json!("fake"), &json!("chat")));
        assert!(model["input_price"].is_string() && model["output_price"].is_string(), "{model}");
    }
}
