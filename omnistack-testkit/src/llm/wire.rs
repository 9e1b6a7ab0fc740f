//! Responses in the wire formats of providers.

use serde_json::{Value, json};

use super::response::Scripted;

/// The model in the responses. [`Scripted::model`] replaces it.
pub(super) const MODEL: &str = "scripted-model";

/// The tokens that a response states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptedUsage {
    /// All tokens of the input.
    pub input: u64,
    /// Tokens of the input that were read from the cache.
    pub cached: u64,
    /// Tokens of the input that were written to the cache.
    pub cache_write: u64,
    /// All tokens of the output.
    pub output: u64,
}

impl ScriptedUsage {
    /// Creates a usage without a cache.
    #[must_use]
    pub const fn new(input: u64, output: u64) -> Self {
        Self { input, cached: 0, cache_write: 0, output }
    }

    fn openai_chat(self) -> Value {
        json!({
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "total_tokens": self.input + self.output,
            "prompt_tokens_details": { "cached_tokens": self.cached, "cache_write_tokens": self.cache_write },
        })
    }

    fn openai_responses(self) -> Value {
        json!({
            "input_tokens": self.input,
            "input_tokens_details": { "cached_tokens": self.cached, "cache_write_tokens": self.cache_write },
            "output_tokens": self.output,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": self.input + self.output,
        })
    }

    /// Anthropic's `input_tokens` do not contain the cache.
    fn anthropic(self, output: u64) -> Value {
        json!({
            "input_tokens": self.input.saturating_sub(self.cached + self.cache_write),
            "cache_read_input_tokens": self.cached,
            "cache_creation_input_tokens": self.cache_write,
            "output_tokens": output,
        })
    }

    fn gemini(self) -> Value {
        json!({
            "promptTokenCount": self.input,
            "cachedContentTokenCount": self.cached,
            "candidatesTokenCount": self.output,
            "totalTokenCount": self.input + self.output,
        })
    }
}

/// OpenAI's chat completions, and the APIs in their form.
impl Scripted {
    /// Creates an answer of OpenAI's chat completions.
    pub fn openai_chat(text: &str, usage: impl Into<Option<ScriptedUsage>>) -> Self {
        let message = json!({ "role": "assistant", "content": text, "refusal": null });
        openai_completion(&message, "stop", usage.into())
    }

    /// Creates an answer of OpenAI's chat completions that calls tools: ids, names and arguments.
    pub fn openai_chat_tools(calls: &[(&str, &str, &str)], usage: impl Into<Option<ScriptedUsage>>) -> Self {
        let calls = calls.iter().map(|(id, name, arguments)| openai_call(id, name, arguments));
        let calls: Vec<Value> = calls.collect();
        let message = json!({ "role": "assistant", "content": null, "tool_calls": calls });
        openai_completion(&message, "tool_calls", usage.into())
    }

    /// Creates a stream of OpenAI's chat completions: a chunk for each text, the usage in a chunk of its own, and
    /// `[DONE]`.
    pub fn openai_chat_stream<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        usage: impl Into<Option<ScriptedUsage>>,
    ) -> Self {
        let mut stream = Self::event_stream();
        stream = stream.event(&openai_chunk(&json!({ "role": "assistant", "content": "" }), None));
        for text in texts {
            stream = stream.event(&openai_chunk(&json!({ "content": text }), None));
        }
        stream.event(&openai_chunk(&json!({}), Some("stop"))).openai_usage_and_done(usage.into())
    }

    /// Creates a stream of OpenAI's chat completions that calls tools: ids, names, and the pieces of the arguments. The
    /// pieces of the calls alternate.
    pub fn openai_chat_tools_stream(calls: &[(&str, &str, &[&str])], usage: impl Into<Option<ScriptedUsage>>) -> Self {
        let mut stream = Self::event_stream();
        stream = stream.event(&openai_chunk(&json!({ "role": "assistant", "content": null }), None));
        for (index, (id, name, _)) in calls.iter().enumerate() {
            let mut call = openai_call(id, name, "");
            call["index"] = json!(index);
            stream = stream.event(&openai_chunk(&json!({ "tool_calls": [call] }), None));
        }
        let longest = calls.iter().map(|(_, _, pieces)| pieces.len()).max().unwrap_or(0);
        for piece in 0..longest {
            for (index, (_, _, pieces)) in calls.iter().enumerate() {
                if let Some(arguments) = pieces.get(piece) {
                    let call = json!({ "index": index, "function": { "arguments": arguments } });
                    stream = stream.event(&openai_chunk(&json!({ "tool_calls": [call] }), None));
                }
            }
        }
        stream.event(&openai_chunk(&json!({}), Some("tool_calls"))).openai_usage_and_done(usage.into())
    }

    /// Creates embeddings in the form of OpenAI, as numbers.
    pub fn openai_embeddings(vectors: &[Vec<f32>], usage: impl Into<Option<ScriptedUsage>>) -> Self {
        let data = vectors
            .iter()
            .enumerate()
            .map(|(index, vector)| json!({ "object": "embedding", "index": index, "embedding": vector }));
        let data: Vec<Value> = data.collect();
        let mut body = json!({ "object": "list", "model": MODEL, "data": data });
        if let Some(usage) = usage.into() {
            body["usage"] = json!({ "prompt_tokens": usage.input, "total_tokens": usage.input });
        }
        Self::json(200, body.to_string())
    }

    /// Creates an error in the form of OpenAI, such as `429`, `insufficient_quota`, `insufficient_quota`.
    #[track_caller]
    pub fn openai_error(status: u16, error_type: &str, code: &str, message: &str) -> Self {
        let error = json!({ "message": message, "type": error_type, "param": null, "code": code });
        Self::json(status, json!({ "error": error }).to_string())
    }

    fn openai_usage_and_done(self, usage: Option<ScriptedUsage>) -> Self {
        let stream = match usage {
            Some(usage) => {
                let mut chunk = openai_chunk_head();
                chunk["choices"] = json!([]);
                chunk["usage"] = usage.openai_chat();
                self.event(&chunk.to_string())
            }
            None => self,
        };
        stream.event("[DONE]")
    }
}

/// OpenAI's Responses.
impl Scripted {
    /// Creates an answer of OpenAI's Responses API.
    pub fn openai_responses(text: &str, usage: impl Into<Option<ScriptedUsage>>) -> Self {
        Self::json(200, responses_object("completed", Some(text), usage.into()).to_string())
    }

    /// Creates a stream of OpenAI's Responses API: an event for each text, and `response.completed`.
    pub fn openai_responses_stream<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        usage: impl Into<Option<ScriptedUsage>>,
    ) -> Self {
        let mut sequence = 0_u64;
        let mut stream = Self::event_stream();
        let mut send = |stream: Self, kind: &str, mut event: Value| {
            event["type"] = json!(kind);
            event["sequence_number"] = json!(sequence);
            sequence += 1;
            stream.named_event(kind, &event.to_string())
        };
        let begun = json!({ "response": responses_object("in_progress", None, None) });
        stream = send(stream, "response.created", begun.clone());
        stream = send(stream, "response.in_progress", begun);
        let item =
            json!({ "id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": [] });
        stream = send(stream, "response.output_item.added", json!({ "output_index": 0, "item": item }));
        let place = json!({ "item_id": "msg_1", "output_index": 0, "content_index": 0 });
        let with = |field: &str, value: Value| {
            let mut event = place.clone();
            event[field] = value;
            event
        };
        stream = send(stream, "response.content_part.added", with("part", responses_text("")));
        let mut whole = String::new();
        for text in texts {
            whole.push_str(text);
            stream = send(stream, "response.output_text.delta", with("delta", json!(text)));
        }
        stream = send(stream, "response.output_text.done", with("text", json!(whole)));
        stream = send(stream, "response.content_part.done", with("part", responses_text(&whole)));
        let done = json!({ "output_index": 0, "item": responses_message(&whole) });
        stream = send(stream, "response.output_item.done", done);
        let completed = json!({ "response": responses_object("completed", Some(&whole), usage.into()) });
        send(stream, "response.completed", completed)
    }
}

/// Anthropic's Messages.
impl Scripted {
    /// Creates an answer of Anthropic's Messages API.
    pub fn anthropic(text: &str, usage: impl Into<Option<ScriptedUsage>>) -> Self {
        let usage = usage.into().unwrap_or_default();
        let mut message = anthropic_message();
        message["content"] = json!([{ "type": "text", "text": text }]);
        message["stop_reason"] = json!("end_turn");
        message["usage"] = usage.anthropic(usage.output);
        Self::json(200, message.to_string())
    }

    /// Creates a stream of Anthropic's Messages API: an event for each text, and `message_stop`.
    pub fn anthropic_stream<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        usage: impl Into<Option<ScriptedUsage>>,
    ) -> Self {
        let usage = usage.into().unwrap_or_default();
        let mut message = anthropic_message();
        message["usage"] = usage.anthropic(1);
        let mut stream = Self::event_stream()
            .anthropic_event("message_start", json!({ "message": message }))
            .anthropic_event("content_block_start", json!({ "index": 0, "content_block": anthropic_text("") }))
            .anthropic_event("ping", json!({}));
        for text in texts {
            let delta = json!({ "type": "text_delta", "text": text });
            stream = stream.anthropic_event("content_block_delta", json!({ "index": 0, "delta": delta }));
        }
        let end = json!({
            "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "usage": usage.anthropic(usage.output),
        });
        stream
            .anthropic_event("content_block_stop", json!({ "index": 0 }))
            .anthropic_event("message_delta", end)
            .anthropic_event("message_stop", json!({}))
    }

    /// Creates an error in the form of Anthropic, such as `529`, `overloaded_error`.
    #[track_caller]
    pub fn anthropic_error(status: u16, error_type: &str, message: &str) -> Self {
        Self::json(status, anthropic_error(error_type, message).to_string())
    }

    /// Adds an error event of Anthropic to a stream.
    pub fn anthropic_error_event(self, error_type: &str, message: &str) -> Self {
        self.named_event("error", &anthropic_error(error_type, message).to_string())
    }

    fn anthropic_event(self, name: &str, mut event: Value) -> Self {
        event["type"] = json!(name);
        self.named_event(name, &event.to_string())
    }
}

/// Gemini's `generateContent`.
impl Scripted {
    /// Creates an answer of Gemini.
    pub fn gemini(text: &str, usage: impl Into<Option<ScriptedUsage>>) -> Self {
        Self::json(200, gemini_response(text, Some("STOP"), usage.into()).to_string())
    }

    /// Creates a stream of Gemini: an event for each text, of which the last has the reason of the end. Each event has
    /// the usage.
    pub fn gemini_stream<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        usage: impl Into<Option<ScriptedUsage>>,
    ) -> Self {
        let usage = usage.into();
        let texts: Vec<&str> = texts.into_iter().collect();
        let mut stream = Self::event_stream();
        for (index, text) in texts.iter().enumerate() {
            let end = (index + 1 == texts.len()).then_some("STOP");
            stream = stream.event(&gemini_response(text, end, usage).to_string());
        }
        stream
    }

    /// Creates an error in the form of Gemini, such as `429`, `RESOURCE_EXHAUSTED`.
    #[track_caller]
    pub fn gemini_error(status: u16, name: &str, message: &str) -> Self {
        Self::json(status, gemini_error(status, name, message).to_string())
    }

    /// Creates an error in the form of Gemini, in an array as its streams send it.
    #[track_caller]
    pub fn gemini_array_error(status: u16, name: &str, message: &str) -> Self {
        Self::json(status, json!([gemini_error(status, name, message)]).to_string())
    }
}

fn openai_completion(message: &Value, finish_reason: &str, usage: Option<ScriptedUsage>) -> Scripted {
    let mut body = json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_767_225_600,
        "model": MODEL,
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason }],
        "service_tier": "default",
    });
    if let Some(usage) = usage {
        body["usage"] = usage.openai_chat();
    }
    Scripted::json(200, body.to_string())
}

fn openai_call(id: &str, name: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

fn openai_chunk_head() -> Value {
    json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_767_225_600, "model": MODEL })
}

fn openai_chunk(delta: &Value, finish_reason: Option<&str>) -> String {
    let mut chunk = openai_chunk_head();
    chunk["choices"] = json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }]);
    chunk.to_string()
}

fn responses_object(status: &str, text: Option<&str>, usage: Option<ScriptedUsage>) -> Value {
    let output: Vec<Value> = text.map(responses_message).into_iter().collect();
    json!({
        "id": "resp_1",
        "object": "response",
        "created_at": 1_767_225_600,
        "status": status,
        "error": null,
        "incomplete_details": null,
        "model": MODEL,
        "output": output,
        "service_tier": "default",
        "usage": usage.map(ScriptedUsage::openai_responses),
    })
}

fn responses_message(text: &str) -> Value {
    let content = [responses_text(text)];
    json!({ "id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": content })
}

fn responses_text(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [] })
}

fn anthropic_message() -> Value {
    json!({
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
    })
}

fn anthropic_text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn anthropic_error(error_type: &str, message: &str) -> Value {
    json!({ "type": "error", "error": { "type": error_type, "message": message }, "request_id": "req_1" })
}

fn gemini_response(text: &str, finish_reason: Option<&str>, usage: Option<ScriptedUsage>) -> Value {
    let mut candidate = json!({ "content": { "role": "model", "parts": [{ "text": text }] }, "index": 0 });
    if let Some(reason) = finish_reason {
        candidate["finishReason"] = json!(reason);
    }
    let mut body = json!({ "candidates": [candidate], "modelVersion": MODEL, "responseId": "gemini-1" });
    if let Some(usage) = usage {
        body["usageMetadata"] = usage.gemini();
    }
    body
}

fn gemini_error(status: u16, name: &str, message: &str) -> Value {
    json!({ "error": { "code": status, "message": message, "status": name } })
}
