//! Tests of `/v1/responses`: the form of requests, responses and events, and that calls pass the same gateway.

use std::collections::BTreeMap;

use axum::body::Body;
use futures_util::StreamExt as _;
use omnistack_ai::{
    Ai, ChatEvent, FakeLlm, LlmError, LlmErrorKind, OutputFormat, Part, Role, StopKind, StopReason, ToolCall,
};
use omnistack_core::{
    id::Id,
    identity::{Identity, Permissions},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::{CHAT, MODEL, ScriptedProvider, chat, key, start};
use crate::{
    accounting::BUDGETS,
    gateway::{amounts, ledger, settle_dropped},
};

pub(crate) const RESPONSES: &str = "/v1/responses";

/// Returns a request with a text of the user, and more fields.
pub(crate) fn respond(more: Value) -> Value {
    let mut body = json!({ "model": MODEL, "input": "Say hello." });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Returns the events of a stream, whose numbers and names must be right.
fn events(body: &str) -> Vec<Value> {
    let read = |frame: &str| -> Value {
        let (name, data) = frame.split_once('\n').unwrap_or_else(|| panic!("not an event: {frame}"));
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name, format!("event: {}", event["type"].as_str().unwrap()));
        event
    };
    let all: Vec<Value> = body.split("\n\n").filter(|frame| !frame.is_empty()).map(read).collect();
    for (number, event) in all.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    all
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().trim_start_matches("response.")).collect()
}

/// Returns a response without what is its own.
fn without_ids(mut response: Value) -> Value {
    response.as_object_mut().unwrap().remove("id").unwrap();
    for item in response["output"].as_array_mut().unwrap() {
        item.as_object_mut().unwrap().remove("id").unwrap();
    }
    response
}

fn weather_tool() -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    json!([{ "type": "function", "name": "weather", "parameters": parameters }])
}

on_each_database! {
    async fn a_response_has_openais_form_and_its_account_in_headers(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let fields = json!({
            "instructions": "Be brief.", "max_output_tokens": 9, "metadata": { "a": "b" }, "store": false, "top_k": 3,
        });
        let answer = key(&app).post(RESPONSES, respond(fields)).await.expect(200);
        let body = answer.json();
        assert!(body["id"].as_str().unwrap().starts_with("resp_"), "{body}");
        for (name, expected) in [
            ("object", json!("response")),
            ("status", json!("completed")),
            ("model", json!(MODEL)),
            ("error", json!(null)),
            ("incomplete_details", json!(null)),
            ("instructions", json!("Be brief.")),
            ("max_output_tokens", json!(9)),
            ("metadata", json!({ "a": "b" })),
            ("store", json!(false)),
            ("tools", json!([])),
            ("usage", json!({
                "input_tokens": 10, "input_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 0 },
                "output_tokens": 5, "output_tokens_details": { "reasoning_tokens": 1 }, "total_tokens": 15,
            })),
        ] {
            assert_eq!(body[name], expected, "{name}");
        }
        let content = json!([{ "type": "output_text", "text": "Hello world!", "annotations": [], "logprobs": [] }]);
        let message = json!({ "type": "message", "status": "completed", "role": "assistant", "content": content });
        assert_eq!(without_ids(body)["output"], json!([message]));
        assert!(answer.header("x-ai-call").is_some() && answer.header("x-ai-cost-usd").is_some());
        assert_eq!(answer.header("x-ai-provider"), Some("fake"));
        let request = provider.last_request();
        let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
        assert_eq!((roles.as_slice(), request.max_output_tokens), ([Role::System, Role::User].as_slice(), Some(9)));
        assert_eq!(request.extra["top_k"], 3, "unknown fields go to the provider");
    }

    async fn a_stream_has_the_events_of_responses(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        let client = key(&app);
        let whole = client.post(RESPONSES, respond(json!({}))).await.expect(200).json();
        let streamed = client.post(RESPONSES, respond(json!({ "stream": true }))).await.expect(200);
        assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
        assert!(streamed.header("x-ai-call").is_some());
        let all = events(&streamed.text());
        let expected = [
            "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
            "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed",
        ];
        assert_eq!(kinds(&all), expected);
        let begun = &all[0]["response"];
        let state = (&begun["status"], &begun["output"], &begun["usage"]);
        assert_eq!(state, (&json!("in_progress"), &json!([]), &Value::Null));
        let text: String = all.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!((text.as_str(), &all[6]["text"]), ("Hello world!", &json!("Hello world!")));
        assert_eq!(all[2]["item"]["id"], all[4]["item_id"]);
        let completed = &all.last().unwrap()["response"];
        assert_eq!((&completed["id"], &completed["output"][0]), (&begun["id"], &all[8]["item"]));
        assert_eq!(without_ids(completed.clone()), without_ids(whole));
    }

    async fn parallel_calls_of_functions_arrive_whole_and_in_pieces(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let calls = [("c1", r#"{"city":"Rome"}"#), ("c2", r#"{"city":"Oslo"}"#)];
        provider.answer_with(calls.map(|(id, text)| Part::ToolCall(ToolCall::new(id, "weather", text))).into());
        let app = start(database, &provider).await;
        let client = key(&app);
        let ask = |stream: bool| respond(json!({ "tools": weather_tool(), "stream": stream }));
        let body = client.post(RESPONSES, ask(false)).await.expect(200).json();
        let whole = body["output"].as_array().unwrap().clone();
        let of_item = |item: &Value| ["call_id", "arguments"].map(|name| item[name].as_str().unwrap().to_owned());
        assert_eq!(whole.iter().map(of_item).collect::<Vec<_>>(), calls.map(|(id, text)| [id.to_owned(), text.to_owned()]));
        assert!(whole.iter().all(|item| item["type"] == "function_call" && item["name"] == "weather"), "{body}");
        assert!(provider.last_request().tools[0].strict, "functions of Responses are strict");

        let streamed = events(&client.post(RESPONSES, ask(true)).await.expect(200).text());
        let mut arguments: BTreeMap<u64, String> = BTreeMap::new();
        for event in streamed.iter().filter(|event| event["type"] == "response.function_call_arguments.delta") {
            let item = arguments.entry(event["output_index"].as_u64().unwrap()).or_default();
            item.push_str(event["delta"].as_str().unwrap());
        }
        assert_eq!(arguments.into_values().collect::<Vec<_>>(), calls.map(|(_, text)| text.to_owned()));
        let added: Vec<_> = streamed.iter().filter(|event| event["type"] == "response.output_item.added").collect();
        assert!(added.iter().all(|event| event["item"]["arguments"] == ""), "{added:?}");
        assert_eq!(streamed.last().unwrap()["response"]["output"].as_array().unwrap().len(), 2);

        let mut input = vec![json!({ "role": "user", "content": "Weather?" })];
        input.extend(whole);
        input.extend([("c1", "sun"), ("c2", "snow")].map(|(id, text)| {
            json!({ "type": "function_call_output", "call_id": id, "output": text })
        }));
        client.post(RESPONSES, respond(json!({ "input": input, "tools": weather_tool() }))).await.expect(200);
        let messages = provider.last_request().messages;
        let sizes: Vec<_> = messages.iter().map(|message| (message.role, message.parts.len())).collect();
        assert_eq!(sizes, [(Role::User, 1), (Role::Assistant, 2), (Role::Tool, 2)]);
    }

    async fn reasoning_is_an_item_and_a_cut_answer_is_incomplete(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let reasoning = |delta: &str| ChatEvent::Reasoning { index: 0, delta: delta.into() };
        provider.stream_with(vec![
            Ok(ChatEvent::Start { id: "r".into(), model: MODEL.into() }),
            Ok(reasoning("so ")),
            Ok(reasoning("it is")),
            Ok(ChatEvent::ReasoningSignature { index: 0, signature: Some("signed".into()), redacted: None }),
            Ok(ChatEvent::Text { index: 1, delta: "It".into() }),
            Ok(ChatEvent::End(StopReason::new(StopKind::Length, None))),
        ]);
        let app = start(database, &provider).await;
        let client = key(&app);
        let all = events(&client.post(RESPONSES, respond(json!({ "stream": true }))).await.expect(200).text());
        let expected = [
            "created", "in_progress", "output_item.added", "reasoning_summary_part.added",
            "reasoning_summary_text.delta", "reasoning_summary_text.delta", "output_item.added", "content_part.added",
            "output_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
            "output_text.done", "content_part.done", "output_item.done", "incomplete",
        ];
        assert_eq!(kinds(&all), expected);
        let response = &all.last().unwrap()["response"];
        assert_eq!(response["incomplete_details"], json!({ "reason": "max_output_tokens" }));
        assert_eq!((&response["status"], &response["completed_at"]), (&json!("incomplete"), &Value::Null));
        let output = &response["output"];
        assert_eq!(output[0]["summary"], json!([{ "type": "summary_text", "text": "so it is" }]));
        assert_eq!((&output[1]["status"], &output[1]["content"][0]["text"]), (&json!("incomplete"), &json!("It")));

        let input = json!([output[0], output[1], { "role": "user", "content": "Go on." }]);
        client.post(RESPONSES, respond(json!({ "input": input }))).await.expect(200);
        let signed =
            Part::Reasoning { text: "so it is".into(), signature: Some("signed".into()), redacted: None };
        assert_eq!(provider.last_request().messages[0].parts, [signed, Part::text("It")]);
    }

    async fn an_answer_matches_the_schema_or_is_an_error(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let client = key(&app);
        let schema = json!({
            "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"],
            "additionalProperties": false,
        });
        let format = json!({ "type": "json_schema", "name": "place", "schema": schema, "strict": true });
        let ask = |stream: bool| respond(json!({ "text": { "format": format }, "stream": stream }));
        provider.answer_with(vec![Part::text(r#"{"city":"Rome"}"#)]);
        let body = client.post(RESPONSES, ask(false)).await.expect(200).json();
        assert_eq!(body["output"][0]["content"][0]["text"], r#"{"city":"Rome"}"#);
        assert_eq!(body["text"]["format"], format);
        assert!(matches!(provider.last_request().output, OutputFormat::JsonSchema { strict: true, .. }));
        provider.answer_with(vec![Part::text("no")]);
        let failed = client.post(RESPONSES, ask(false)).await.expect(502).json();
        assert_eq!(failed["error"]["code"], "schema_mismatch");
        let all = events(&client.post(RESPONSES, ask(true)).await.expect(200).text());
        let last = all.last().unwrap();
        assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!("schema_mismatch")));
        assert!(!kinds(&all).contains(&"completed"), "{all:?}");
    }

    async fn an_error_after_text_is_the_last_event(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        provider.stream_with(vec![
            Ok(ChatEvent::Start { id: "r".into(), model: MODEL.into() }),
            Ok(ChatEvent::Text { index: 0, delta: "Hel".into() }),
            Err(LlmError::new(LlmErrorKind::Failed, "fake", "it broke")),
        ]);
        let app = start(database, &provider).await;
        let answer = key(&app).post(RESPONSES, respond(json!({ "stream": true }))).await.expect(200);
        let all = events(&answer.text());
        let last = all.last().unwrap();
        // The fields of the event, and the object that OpenAI's clients raise.
        for error in [last, &last["error"]] {
            let found = (&error["message"], &error["code"], &error["param"]);
            assert_eq!(found, (&json!("it broke"), &json!("provider_failed"), &Value::Null), "{last}");
        }
        assert_eq!((&last["type"], &last["error"]["provider"]), (&json!("error"), &json!("fake")));
        assert!(!kinds(&all).contains(&"completed"), "{all:?}");
    }

    async fn what_is_not_supported_is_refused(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let client = key(&app);
        for (fields, param) in [
            (json!({ "previous_response_id": "resp_1" }), "previous_response_id"),
            (json!({ "conversation": { "id": "conv_1" } }), "conversation"),
            (json!({ "background": true }), "background"),
            (json!({ "store": true }), "store"),
            (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
            (json!({ "input": [{ "type": "item_reference", "id": "msg_1" }] }), "input[0].type"),
            (json!({ "max_tokens": 5 }), "max_tokens"),
        ] {
            let error = client.post(RESPONSES, respond(fields.clone())).await.expect(400).json()["error"].clone();
            let found = ["type", "code", "param"].map(|name| error[name].as_str().unwrap());
            assert_eq!(found, ["invalid_request_error", "invalid_request", param], "{fields}");
        }
        client.get(format!("{RESPONSES}/resp_1")).await.expect(404);
        provider.fail_with(LlmError::new(LlmErrorKind::ContentFiltered, "fake", "no"));
        for stream in [false, true] {
            let failed = client.post(RESPONSES, respond(json!({ "stream": stream }))).await.expect(400).json();
            assert_eq!((&failed["error"]["provider"], &failed["error"]["message"]), (&json!("fake"), &json!("no")));
        }
    }

    async fn responses_pass_the_cache_and_the_budgets(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let owner = app.user();
        let id = || Uuid::new_v4();
        let robot = Identity::user(Id::from_uuid(id())).for_tenant(owner.identity().unwrap().tenant.unwrap());
        let robot = robot.with_permissions(Permissions::all()).with_api_key(Id::from_uuid(id())).into_service_account();
        let robot = app.client_as(robot);
        let ask = |fields: Value| robot.post(RESPONSES, respond(fields)).header("x-ai-cache", "exact=60");
        for (stream, is_cached) in [(false, "false"), (false, "true")] {
            let answer = ask(json!({ "stream": stream })).await.expect(200);
            assert_eq!(answer.header("x-ai-cached"), Some(is_cached));
        }
        let replayed = events(&ask(json!({ "stream": true })).await.expect(200).text());
        assert_eq!(replayed.last().unwrap()["response"]["usage"]["total_tokens"], 0, "an answer of the cache is free");
        let budget = json!({ "scope": "tenant", "period": "month", "limits": { "limit_tokens": 30 } });
        owner.post(BUDGETS, budget).await.expect(201);
        for stream in [false, true] {
            let fields = json!({ "max_output_tokens": 100, "input": "More.", "stream": stream });
            let refused = ask(fields).await.expect(402).json();
            assert_eq!(refused["error"]["code"], "ai_budget_exceeded");
        }
    }

    async fn a_client_that_leaves_ends_the_stream_of_the_provider(database: TestDatabase) {
        let fake = FakeLlm::script().reply("Hello world").hang_after(1).reply("Hello world").hang_after(1);
        let provider = fake.clone();
        let app = TestApp::start(database, |app| app.with(Ai::from_env().provider(provider))).await;
        let key = key(&app);
        for (path, body) in [(CHAT, chat(json!({ "stream": true }))), (RESPONSES, respond(json!({ "stream": true })))] {
            let request = http::Request::post(path)
                .header("authorization", format!("Bearer {}", key.token().unwrap()))
                .header("content-type", "application/json")
                .body(Body::from(body.to_string()))
                .unwrap();
            let response = app.app().service().oneshot(request).await.unwrap();
            let mut pieces = response.into_body().into_data_stream();
            let mut seen = String::new();
            while !seen.contains("Hello ") {
                seen.push_str(std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap());
            }
            drop(pieces);
        }
        settle_dropped(&app).await;
        assert_eq!((fake.open_streams(), fake.abandoned_streams()), (0, 2));
        assert_eq!(ledger(&app).await, ["cancelled", "cancelled"]);
        // Both pay for what was produced.
        assert!(amounts(&app).await.iter().all(|(input, output, _)| *input > 0 && *output == 2));
    }
}
