//! Answers in pieces, as server-sent events.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use omnistack_core::{
    clock::Timestamp,
    http::{ErrorBody, HeaderName, HeaderValue, Response, header},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    error_form::{OpenAiError, openai_error},
    failure::{provider_error, provider_of, public_message},
    render::{finish_reason, reasoning_detail, signature_content, usage},
};
use crate::{
    call::CallSummary,
    chat::ChatEvent,
    error::{LlmError, LlmErrorKind},
    gateway::{GatewayEvent, GatewayStream},
};

/// Initial capacity of an event, in bytes. Most events need no more.
const USUAL_EVENT_BYTES: usize = 256;

/// Returns a server-sent event with a value as its data.
pub(crate) fn sse_data(value: &impl Serialize) -> String {
    const FIELD: &[u8] = b"data: ";
    let mut event = Vec::with_capacity(USUAL_EVENT_BYTES);
    event.extend_from_slice(FIELD);
    if serde_json::to_writer(&mut event, value).is_err() {
        event.truncate(FIELD.len());
        event.extend_from_slice(b"null");
    }
    event.extend_from_slice(b"\n\n");
    // JSON is UTF-8.
    String::from_utf8(event).unwrap_or_default()
}

/// Returns the response of an event stream. Proxies must not store or buffer it.
pub(crate) fn event_stream(events: impl Stream<Item = String> + Send + 'static) -> Response {
    const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
    let frames = events.map(|text| Ok::<_, Infallible>(Bytes::from(text)));
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
    response
}

/// An encoder of the events of an answer in the form of one of OpenAI's APIs. An event can have no frames.
pub(super) trait AnswerEncoder: Send + 'static {
    /// Returns the frames of a piece of the answer.
    fn answer(&mut self, event: &ChatEvent) -> String;

    /// Returns the last frames, after the account of the call is stored.
    fn settled(&mut self, call: &CallSummary) -> String;

    /// Returns the frame of an error, after which there are no frames. After the last frames, an error has none.
    fn failed(&mut self, error: &LlmError) -> String;
}

/// The part of a stream that was sent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Parts of the answer, or nothing.
    Answer,
    /// The reason for which the answer has ended.
    Reason,
    /// An error, after which nothing is sent.
    Error,
    /// The end of the stream.
    End,
}

/// Returns the frames of an answer. Dropping them ends the call.
pub(super) fn answer_frames(
    answer: GatewayStream,
    encoder: impl AnswerEncoder,
) -> impl Stream<Item = String> + Send + 'static {
    stream::unfold(Some((answer.events, encoder)), |open| async move {
        let (mut events, mut encoder) = open?;
        loop {
            let Some(event) = events.next().await else {
                let last = encoder.failed(&interrupted());
                return (!last.is_empty()).then_some((last, None));
            };
            let frames = match event {
                Ok(GatewayEvent::Answer(event)) => encoder.answer(&event),
                Ok(GatewayEvent::Settled(call)) => encoder.settled(&call),
                Err(error) => encoder.failed(&error),
            };
            if !frames.is_empty() {
                return Some((frames, Some((events, encoder))));
            }
        }
    })
}

/// Returns the error of an answer that ends without its end.
fn interrupted() -> LlmError {
    LlmError::new(LlmErrorKind::Interrupted, "gateway", "the answer ended before it was complete; try again")
}

/// Returns an error within a stream, in OpenAI's form.
pub(super) fn stream_error(error: &LlmError, request_id: Option<String>) -> OpenAiError {
    let response = provider_error(error);
    let (code, kind) = (error.code.as_deref(), error.error_type.as_deref());
    let mut details = json!({});
    for (name, value) in [("provider", provider_of(error)), ("provider_code", code), ("provider_type", kind)] {
        if let Some(value) = value {
            details[name] = value.into();
        }
    }
    let body = ErrorBody {
        code: response.code().to_owned(),
        message: public_message(error).into_owned(),
        details: Some(details).filter(|details| details.as_object().is_some_and(|all| !all.is_empty())),
        request_id,
        timestamp: None,
    };
    openai_error(response.status(), body)
}

/// A chunk of an answer in OpenAI's form.
#[derive(Serialize)]
struct ChatChunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [ChunkChoice<'a>],
    /// Always null, because only some providers have it.
    system_fingerprint: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
}

/// The choice in a chunk: a chunk has one, or none with the usage.
#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: ChunkDelta<'a>,
    /// Always null.
    logprobs: (),
    finish_reason: Option<&'static str>,
}

/// The new part of an answer. Most parts are text, which is not copied.
#[derive(Serialize)]
#[serde(untagged)]
enum ChunkDelta<'a> {
    Text { content: &'a str },
    Other(Value),
}

/// An encoder of the chunks of chat completions.
#[derive(Debug)]
pub(super) struct ChunkEncoder {
    id: String,
    model: String,
    created: i64,
    include_usage: bool,
    request_id: Option<String>,
    service_tier: Option<String>,
    /// The parts of the answer that are calls. Clients number calls from 0.
    calls: Vec<usize>,
    /// The parts of the answer that are reasoning, with their texts so far. A provider verifies the signature with the
    /// whole text.
    reasoning: Vec<(usize, String)>,
    progress: Progress,
}

impl ChunkEncoder {
    pub(super) fn new(id: String, include_usage: bool, request_id: Option<String>, now: Timestamp) -> Self {
        Self {
            id,
            model: String::new(),
            created: now.as_seconds(),
            include_usage,
            request_id,
            service_tier: None,
            calls: Vec::new(),
            reasoning: Vec::new(),
            progress: Progress::Answer,
        }
    }

    fn call(&mut self, part: usize, mut call: Value) -> String {
        let position = self.calls.iter().position(|known| *known == part);
        let number = position.unwrap_or_else(|| {
            self.calls.push(part);
            self.calls.len() - 1
        });
        call["index"] = json!(number);
        self.delta(ChunkDelta::Other(json!({ "tool_calls": [call] })))
    }

    fn delta(&self, delta: ChunkDelta<'_>) -> String {
        self.chunk(&[ChunkChoice { index: 0, delta, logprobs: (), finish_reason: None }], None)
    }

    fn chunk(&self, choices: &[ChunkChoice<'_>], usage: Option<Value>) -> String {
        sse_data(&ChatChunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            choices,
            system_fingerprint: (),
            usage: self.include_usage.then(|| usage.unwrap_or_default()),
            service_tier: self.service_tier.as_deref(),
        })
    }
}

impl AnswerEncoder for ChunkEncoder {
    fn answer(&mut self, event: &ChatEvent) -> String {
        match event {
            ChatEvent::Start { id, model } => {
                if !id.is_empty() {
                    self.id.clone_from(id);
                }
                self.model.clone_from(model);
                self.delta(ChunkDelta::Other(json!({ "role": "assistant", "content": "", "refusal": null })))
            }
            ChatEvent::Text { delta, .. } => self.delta(ChunkDelta::Text { content: delta }),
            ChatEvent::Reasoning { index, delta } => {
                match self.reasoning.iter_mut().find(|(part, _)| part == index) {
                    Some((_, text)) => text.push_str(delta),
                    None => self.reasoning.push((*index, delta.clone())),
                }
                self.delta(ChunkDelta::Other(json!({ "reasoning_content": delta })))
            }
            ChatEvent::ReasoningSignature { index, signature, redacted } => {
                let text = self.reasoning.iter().find(|(part, _)| part == index).map_or("", |(_, text)| text.as_str());
                let detail = reasoning_detail(text, signature.as_deref(), redacted.as_deref());
                self.delta(ChunkDelta::Other(json!({ "reasoning_details": [detail] })))
            }
            ChatEvent::Refusal { delta, .. } => self.delta(ChunkDelta::Other(json!({ "refusal": delta }))),
            ChatEvent::ToolCallStart { index, id, name } => {
                let function = json!({ "name": name, "arguments": "" });
                self.call(*index, json!({ "id": id, "type": "function", "function": function }))
            }
            ChatEvent::ToolCallArguments { index, delta } => {
                self.call(*index, json!({ "function": { "arguments": delta } }))
            }
            ChatEvent::ToolCallSignature { index, signature } => {
                self.call(*index, json!({ "extra_content": signature_content(signature) }))
            }
            ChatEvent::ServiceTier(tier) => {
                self.service_tier = Some(tier.clone());
                String::new()
            }
            ChatEvent::End(stop) => {
                self.progress = Progress::Reason;
                let (delta, finish_reason) = (ChunkDelta::Other(json!({})), Some(finish_reason(stop.unified)));
                self.chunk(&[ChunkChoice { index: 0, delta, logprobs: (), finish_reason }], None)
            }
            // The tokens are sent when they are settled.
            ChatEvent::Usage { .. } | ChatEvent::Warning(_) => String::new(),
        }
    }

    fn settled(&mut self, call: &CallSummary) -> String {
        if self.progress != Progress::Reason {
            return String::new();
        }
        self.progress = Progress::End;
        let tokens = if self.include_usage { self.chunk(&[], Some(usage(&call.usage))) } else { String::new() };
        format!("{tokens}data: [DONE]\n\n")
    }

    fn failed(&mut self, error: &LlmError) -> String {
        if matches!(self.progress, Progress::Error | Progress::End) {
            return String::new();
        }
        self.progress = Progress::Error;
        sse_data(&stream_error(error, self.request_id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{StopKind, StopReason};

    fn encoder() -> ChunkEncoder {
        ChunkEncoder::new("chatcmpl-1".into(), false, None, Timestamp::default())
    }

    fn value(frame: &str) -> Value {
        serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap()
    }

    #[test]
    fn calls_are_numbered_from_zero() {
        let mut encoder = encoder();
        let start = |index| ChatEvent::ToolCallStart { index, id: format!("c{index}"), name: "f".into() };
        let first = value(&encoder.answer(&start(3)));
        assert_eq!(first["choices"][0]["delta"]["tool_calls"][0]["index"], 0);
        let second = value(&encoder.answer(&start(5)));
        assert_eq!(second["choices"][0]["delta"]["tool_calls"][0]["index"], 1);
        let more = encoder.answer(&ChatEvent::ToolCallArguments { index: 3, delta: "{}".into() });
        let call = value(&more)["choices"][0]["delta"]["tool_calls"][0].clone();
        assert_eq!(call, json!({ "index": 0, "function": { "arguments": "{}" } }));
    }

    #[test]
    fn a_signature_arrives_with_the_text_that_it_signs() {
        let mut encoder = encoder();
        for delta in ["so ", "it is"] {
            encoder.answer(&ChatEvent::Reasoning { index: 0, delta: delta.into() });
        }
        let signed = ChatEvent::ReasoningSignature { index: 0, signature: Some("z".into()), redacted: None };
        let delta = value(&encoder.answer(&signed))["choices"][0]["delta"].clone();
        let detail = json!({ "type": "reasoning.text", "text": "so it is", "signature": "z" });
        assert_eq!(delta, json!({ "reasoning_details": [detail] }));
    }

    #[test]
    fn an_error_is_the_last_frame() {
        let mut encoder = encoder();
        encoder.answer(&ChatEvent::Text { index: 0, delta: "a".into() });
        let mut error = LlmError::new(LlmErrorKind::Overloaded, "p", "busy");
        error.code = Some("overloaded".into());
        let frame = value(&encoder.failed(&error));
        assert_eq!(frame["error"]["code"], "overloaded");
        assert_eq!(frame["error"]["provider"], "p");
        assert_eq!(encoder.failed(&error), "");
        assert_eq!(encoder.failed(&interrupted()), "");
    }

    #[test]
    fn an_answer_without_an_end_is_an_error() {
        let mut encoder = encoder();
        encoder.answer(&ChatEvent::Text { index: 0, delta: "a".into() });
        let cut = value(&encoder.failed(&interrupted()))["error"].clone();
        assert_eq!((&cut["code"], cut.get("provider")), (&json!("answer_interrupted"), None), "{cut}");
        let mut complete = self::encoder();
        let frame = value(&complete.answer(&ChatEvent::End(StopReason::new(StopKind::Stop, None))));
        assert_eq!(frame["choices"][0]["finish_reason"], "stop");
        assert_eq!(frame.get("usage"), None);
    }
}
