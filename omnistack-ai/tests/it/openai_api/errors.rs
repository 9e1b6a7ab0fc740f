//! Tests of errors: all have OpenAI's form, and no request makes the app fail.

use std::time::Duration;

use omnistack_ai::{Ai, LlmError, LlmErrorKind};
use omnistack_core::identity::Permissions;
use omnistack_testkit::{TestApp, TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};

use super::{
    CHAT, ScriptedProvider, chat, key, key_with,
    responses::{RESPONSES, respond},
    start,
};

/// Asserts that a response is an error in OpenAI's form, and returns its type and code.
fn openai_error(response: &TestResponse) -> [String; 2] {
    let body = response.json();
    let error = body["error"].as_object().unwrap_or_else(|| panic!("not OpenAI's form: {body}"));
    assert!(error["message"].is_string() && error.contains_key("param"), "{body}");
    assert_eq!(error["request_id"].as_str(), response.header("x-request-id"), "{body}");
    ["type", "code"].map(|name| error[name].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn the_routes_that_call_models_describe_the_same_errors() {
    let ai = Ai::from_env().provider(ScriptedProvider::default());
    let start = TestApp::start(TestDatabase::sqlite(), |app| app.with(ai).without_routes("ai", "/v1/models/**"));
    let document = start.await.anonymous().get("/openapi.json").await.expect(200).json();
    for path in [CHAT, RESPONSES, "/v1/embeddings"] {
        for status in ["400", "402", "403", "404", "410", "429", "502"] {
            let response = &document["paths"][path]["post"]["responses"][status];
            let schema = &response["content"]["application/json"]["schema"];
            assert_eq!(schema, &json!({ "$ref": "#/components/schemas/OpenAiError" }), "{path}: {response}");
        }
    }
    for schema in ["OpenAiError", "OpenAiErrorDetails"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema}");
    }
}

on_each_database! {
    async fn errors_of_the_app_have_openais_form(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        let client = key(&app);
        let reader = key_with(&app, "ai:read".parse().unwrap());
        for (response, status, kind, code) in [
            (app.anonymous().post(CHAT, chat(json!({}))).await, 401, "authentication_error", "invalid_api_key"),
            (app.user().post(CHAT, chat(json!({}))).await, 403, "permission_error", "forbidden"),
            (reader.post(CHAT, chat(json!({}))).await, 403, "permission_error", "permission_denied"),
            (client.post(CHAT, chat(json!({ "model": "no-such" }))).await, 404, "invalid_request_error", "model_not_found"),
            (client.post(CHAT, chat(json!({ "n": 2 }))).await, 400, "invalid_request_error", "invalid_request"),
            (client.post(CHAT, json!([])).await, 422, "invalid_request_error", "validation_failed"),
            (client.get(CHAT).await, 405, "invalid_request_error", "method_not_allowed"),
            (
                client.request(http::Method::POST, CHAT).header("content-type", "text/plain").body("{}").await,
                415,
                "invalid_request_error",
                "unsupported_media_type",
            ),
            (
                client.request(http::Method::POST, CHAT).header("content-type", "application/json").body("{").await,
                400,
                "invalid_request_error",
                "malformed_json",
            ),
        ] {
            let response = response.expect(status);
            assert_eq!(openai_error(&response), [kind, code], "{}", response.text());
        }
        // Other paths keep the app's form.
        client.get("/v1/nothing").await.expect_error(404, "NOT_FOUND");
    }

    async fn errors_of_providers_are_passed_on(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        for (kind, status) in [
            (LlmErrorKind::InvalidRequest, 400),
            (LlmErrorKind::ContextLength, 400),
            (LlmErrorKind::ContentFiltered, 400),
            (LlmErrorKind::Unauthorized, 502),
        ] {
            let mut error = LlmError::new(kind, "fake", "the provider says no");
            error.code = Some("its_code".into());
            error.error_type = Some("its_type".into());
            error.param = Some("messages".into());
            provider.fail_with(error);
            for stream in [false, true] {
                let response = key(&app).post(CHAT, chat(json!({ "stream": stream }))).await.expect(status);
                assert_eq!(openai_error(&response), ["its_type", "its_code"]);
                let error = response.json()["error"].clone();
                assert_eq!((&error["provider"], &error["param"]), (&json!("fake"), &json!("messages")));
                // What the provider says about the app's own account is for its operator.
                let is_hidden = kind == LlmErrorKind::Unauthorized;
                assert_eq!(error["message"] != "the provider says no", is_hidden, "{error}");
            }
        }
    }

    async fn a_rate_limit_of_the_provider_says_when_to_try_again(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let mut error = LlmError::new(LlmErrorKind::RateLimited, "fake", "slow down");
        error.retry_after = Some(Duration::from_secs(7));
        provider.fail_with(error);
        let response = key(&app).post(CHAT, chat(json!({}))).await.expect(429);
        openai_error(&response);
        let after: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!(after >= 7, "{after}");
    }

    async fn no_body_makes_the_app_fail(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        let client = key(&app);
        let values = [
            json!(null), json!(true), json!(0), json!(-1), json!(1.5), json!(u64::MAX), json!(""), json!("x"),
            json!([]), json!([null]), json!([[]]), json!({}), json!({ "type": "x" }), json!({ "a": { "b": [1] } }),
        ];
        let fields = [
            "model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "temperature",
            "top_p", "stop", "seed", "tools", "tool_choice", "parallel_tool_calls", "response_format",
            "reasoning_effort", "service_tier", "user", "prompt_cache_key", "metadata",
        ];
        for field in fields {
            for value in &values {
                let response = client.post(CHAT, chat(json!({ field: value }))).await;
                assert!(response.status.as_u16() < 500, "{field} {value}: {}", response.text());
                if response.status.is_client_error() {
                    openai_error(&response);
                }
            }
        }
        let fields = [
            "model", "input", "instructions", "stream", "stream_options", "max_output_tokens", "temperature", "top_p",
            "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "include", "metadata", "truncation",
            "store", "background", "previous_response_id", "max_tool_calls", "top_logprobs", "service_tier", "user",
        ];
        for field in fields {
            for value in &values {
                let response = client.post(RESPONSES, respond(json!({ field: value }))).await;
                assert!(response.status.as_u16() < 500, "{field} {value}: {}", response.text());
                if response.status.is_client_error() {
                    openai_error(&response);
                }
            }
        }
        for field in ["role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_details"] {
            for role in ["system", "user", "assistant", "tool"] {
                for value in &values {
                    let mut message = json!({ "role": role, "content": "x" });
                    message[field] = value.clone();
                    let response = client.post(CHAT, chat(json!({ "messages": [message] }))).await;
                    assert!(response.status.as_u16() < 500, "{role} {field} {value}: {}", response.text());
                }
            }
        }
        for field in ["model", "input", "encoding_format", "dimensions", "user"] {
            for value in &values {
                let mut body = json!({ "model": "fake-embedding", "input": "a" });
                body[field] = value.clone();
                let response = client.post("/v1/embeddings", body).await;
                assert!(response.status.as_u16() < 500, "{field} {value}: {}", response.text());
            }
        }
        let huge = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"seed":-99999999999999999999}"#;
        for body in ["", "{", "[[", r#"{"temperature":1e400}"#, r#"{"model":"\ud800"}"#, huge] {
            let request = client.request(http::Method::POST, CHAT).header("content-type", "application/json");
            let response = request.body(body).await;
            assert!(response.status.is_client_error(), "{body}: {}", response.text());
            openai_error(&response);
        }
        let nul: Value = json!({ "model": "a\u{0}b" });
        client.post(CHAT, chat(nul)).await.expect(422);
    }

    async fn the_models_need_a_permission(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        key_with(&app, "ai:read".parse().unwrap()).get("/v1/models").await.expect(200);
        let none = key_with(&app, Permissions::none()).get("/v1/models").await.expect(403);
        assert_eq!(openai_error(&none)[1], "permission_denied");
    }
}
