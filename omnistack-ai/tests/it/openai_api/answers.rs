//! Tests of answers, whole and in pieces, of embeddings and of models.

use omnistack_ai::{ChatEvent, LlmError, LlmErrorKind, MediaSource, Part, ToolCall};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{CHAT, MODEL, ScriptedProvider, chat, frames, key, start};

on_each_database! {
    async fn an_answer_has_openais_form_and_its_account_in_headers(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let answer = key(&app).post(CHAT, chat(json!({ "max_tokens": 9, "top_k": 3 }))).await.expect(200);
        let body = answer.json();
        assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!(MODEL)));
        let choice = &body["choices"][0];
        assert_eq!(choice["message"]["content"], "Hello world!");
        assert_eq!((&choice["finish_reason"], &choice["index"]), (&json!("stop"), &json!(0)));
        assert_eq!(body["usage"]["prompt_tokens"], 10);
        assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
        assert_eq!(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 1);
        assert!(answer.header("x-ai-call").is_some() && answer.header("x-request-id").is_some());
        assert_eq!(answer.header("x-ai-provider"), Some("fake"));
        let request = provider.last_request();
        assert_eq!(request.max_output_tokens, Some(9));
        assert_eq!(request.extra["top_k"], 3, "unknown fields go to the provider");
    }

    async fn a_stream_has_openais_frames(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        let client = key(&app);
        for include_usage in [false, true] {
            let options = json!({ "stream": true, "stream_options": { "include_usage": include_usage } });
            let answer = client.post(CHAT, chat(options)).await.expect(200);
            assert_eq!(answer.header("content-type"), Some("text/event-stream"));
            let mut all = frames(&answer.text());
            assert_eq!(all.pop(), Some(json!("[DONE]")));
            if include_usage {
                let last = all.pop().unwrap();
                assert_eq!(last["choices"], json!([]));
                assert_eq!(last["usage"]["total_tokens"], 15);
                assert!(all.iter().all(|chunk| chunk.as_object().unwrap().get("usage") == Some(&Value::Null)));
            } else {
                assert!(all.iter().all(|chunk| chunk.get("usage").is_none()));
            }
            assert_eq!(all[0]["choices"][0]["delta"]["role"], "assistant");
            let text: String =
                all.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
            assert_eq!(text, "Hello world!");
            assert_eq!(all.last().unwrap()["choices"][0]["finish_reason"], "stop");
            assert!(all.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == all[0]["id"]));
        }
    }

    async fn parallel_calls_of_tools_arrive_whole_and_in_pieces(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let calls = [("c1", r#"{"city":"Rome"}"#), ("c2", r#"{"city":"Oslo"}"#)];
        provider.answer_with(calls.map(|(id, text)| Part::ToolCall(ToolCall::new(id, "weather", text))).into());
        let app = start(database, &provider).await;
        let client = key(&app);
        let tools = json!([{ "type": "function", "function": { "name": "weather", "parameters": { "type": "object" } } }]);
        let body = client.post(CHAT, chat(json!({ "tools": tools }))).await.expect(200).json();
        assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(body["choices"][0]["message"]["content"], Value::Null);
        let whole = body["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone();
        assert_eq!(whole.len(), 2);
        let streamed = client.post(CHAT, chat(json!({ "tools": tools, "stream": true }))).await.expect(200);
        let mut arguments = [String::new(), String::new()];
        for chunk in frames(&streamed.text()) {
            for call in chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
                arguments[index].push_str(call["function"]["arguments"].as_str().unwrap());
            }
        }
        assert_eq!(arguments, calls.map(|(_, text)| text.to_owned()));

        let history = json!({ "messages": [
            { "role": "user", "content": "Weather?" },
            body["choices"][0]["message"],
            { "role": "tool", "tool_call_id": "c1", "content": "sun" },
            { "role": "tool", "tool_call_id": "c2", "content": "snow" },
        ] });
        client.post(CHAT, chat(history)).await.expect(200);
        assert_eq!(provider.last_request().messages.len(), 3, "the results of parallel calls are one message");
    }

    async fn images_are_read_from_data_urls(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
        let image = json!({ "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{png}") } });
        let messages = json!([{ "role": "user", "content": [{ "type": "text", "text": "What is it?" }, image] }]);
        key(&app).post(CHAT, chat(json!({ "messages": messages }))).await.expect(200);
        let request = provider.last_request();
        let Part::Image(image) = &request.messages[0].parts[1] else { panic!("{request:?}") };
        assert!(matches!(image.source, MediaSource::Bytes(_)));
        assert_eq!(image.media_type.as_deref(), Some("image/png"));
    }

    async fn an_error_after_text_is_the_last_frame(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        provider.stream_with(vec![
            Ok(ChatEvent::Start { id: "r".into(), model: MODEL.into() }),
            Ok(ChatEvent::Text { index: 0, delta: "Hel".into() }),
            Err(LlmError::new(LlmErrorKind::Failed, "fake", "it broke")),
        ]);
        let app = start(database, &provider).await;
        let answer = key(&app).post(CHAT, chat(json!({ "stream": true }))).await.expect(200);
        let all = frames(&answer.text());
        let error = &all.last().unwrap()["error"];
        assert_eq!((&error["message"], &error["code"]), (&json!("it broke"), &json!("provider_failed")));
        assert!(!answer.text().contains("[DONE]"));
    }

    async fn embeddings_are_floats_or_base64(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        let client = key(&app);
        let body = |format: &str| json!({ "model": "fake-embedding", "input": ["a", "bcd"], "encoding_format": format });
        let floats = client.post("/v1/embeddings", body("float")).await.expect(200).json();
        assert_eq!(floats["data"][1]["embedding"], json!([0.5, -1.25, 3.0]));
        assert_eq!((&floats["data"][1]["index"], &floats["usage"]["prompt_tokens"]), (&json!(1), &json!(7)));
        let base64 = client.post("/v1/embeddings", body("base64")).await.expect(200).json();
        assert_eq!(base64["data"][1]["embedding"], "AAAAPwAAoL8AAEBA");
        let sized = json!({ "model": "fake-embedding", "input": "a", "dimensions": 2 });
        let error = client.post("/v1/embeddings", sized).await.expect(400).json();
        assert_eq!(error["error"]["param"], "dimensions");
    }

    async fn models_are_listed(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        let client = key(&app);
        let models = client.get("/v1/models").await.expect(200).json();
        let model = models["data"].as_array().unwrap().iter().find(|model| model["id"] == MODEL).unwrap();
        assert_eq!((&model["object"], &model["owned_by"]), (&json!("model"), &json!("fake")));
        assert!(model.as_object().unwrap().contains_key("shutdown_date"));
        assert_eq!(client.get(format!("/v1/models/{MODEL}")).await.expect(200).json()["id"], MODEL);
        for unknown in ["/v1/models/none", "/v1/models/no/such"] {
            assert_eq!(client.get(unknown).await.expect(404).json()["error"]["code"], "model_not_found");
        }
    }
}
