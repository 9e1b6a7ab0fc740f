//! Providers over HTTP, against byte-exact responses.

#![cfg(test)]

mod failures;
mod limits;
mod requests;
mod streams;

use futures_util::StreamExt as _;
use omnistack_ai::{
    Call, ChatEvent, ChatRequest, ChatResponse, ChatStream, HttpProvider, LlmError, LlmErrorKind, LlmProvider, Message,
    StreamAssembler,
};
use omnistack_core::http::client::{Client, ClientSettings};
use omnistack_testkit::llm::{Scripted, ScriptedUpstream, ScriptedUsage};
use serde_json::json;

const USAGE: ScriptedUsage = ScriptedUsage::new(10, 3);

fn client() -> Client {
    ClientSettings::default().client().unwrap()
}

fn openai(upstream: &ScriptedUpstream) -> HttpProvider {
    HttpProvider::openai(client(), "sk-secret".to_owned().into()).with_base_url(format!("{}/v1", upstream.url()))
}

/// Returns a provider of each wire format, with a stream of the texts in it.
fn each_format(upstream: &ScriptedUpstream, texts: &[&'static str]) -> Vec<(HttpProvider, Scripted)> {
    let texts = || texts.iter().copied();
    let key = || "key".to_owned().into();
    let anthropic = HttpProvider::anthropic(client(), key()).with_base_url(upstream.url());
    let gemini = HttpProvider::gemini(client(), key()).with_base_url(upstream.url());
    vec![
        (openai(upstream), Scripted::openai_chat_stream(texts(), USAGE)),
        (openai(upstream).responses(), Scripted::openai_responses_stream(texts(), USAGE)),
        (anthropic, Scripted::anthropic_stream(texts(), USAGE)),
        (gemini, Scripted::gemini_stream(texts(), USAGE)),
    ]
}

/// Returns the data of an event of OpenAI's chat completions with this text.
fn text_chunk(text: &str) -> String {
    let choice = json!({ "index": 0, "delta": { "content": text }, "finish_reason": null });
    json!({ "id": "chatcmpl-1", "model": "m", "choices": [choice] }).to_string()
}

fn request() -> ChatRequest {
    ChatRequest::new("scripted-model", [Message::user("Say hello.")])
}

async fn stream(provider: &HttpProvider) -> ChatStream {
    provider.stream(&request(), &Call::default()).await.unwrap()
}

/// Returns the answer of a stream so far, and the error at its end.
async fn assemble(mut events: ChatStream) -> (ChatResponse, Option<LlmError>) {
    let mut assembler = StreamAssembler::default();
    let mut failure = None;
    while let Some(event) = events.next().await {
        assert!(failure.is_none(), "an item follows an error");
        match event {
            Ok(event) => assembler.push(&event),
            Err(error) => failure = Some(error),
        }
    }
    (assembler.finish(), failure)
}

/// Reads a stream until its first text.
async fn first_text(events: &mut ChatStream) -> String {
    loop {
        if let ChatEvent::Text { delta, .. } = events.next().await.unwrap().unwrap()
            && !delta.is_empty()
        {
            return delta;
        }
    }
}

/// Returns the kind of the error of a stream, whether it comes at once or as an item.
async fn stream_error(provider: &HttpProvider, call: &Call) -> (String, LlmErrorKind) {
    match provider.stream(&request(), call).await {
        Ok(events) => {
            let (response, error) = assemble(events).await;
            (response.text(), error.unwrap().kind)
        }
        Err(error) => (String::new(), error.kind),
    }
}
