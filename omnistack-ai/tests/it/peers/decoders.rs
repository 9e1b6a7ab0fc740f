//! The providers' own clients for Python, which read the same bytes as the codecs.

use omnistack_ai::{ChatRequest, ChatResponse, HttpProvider, LlmErrorKind, Message};
use omnistack_testkit::llm::{Scripted, ScriptedUpstream, ScriptedUsage};
use serde_json::{Value, json};

use super::{LineProgram, answer, each_format, python};

const USAGE: ScriptedUsage = ScriptedUsage { input: 12, cached: 5, cache_write: 0, output: 7 };
const TEXTS: [&str; 3] = ["Grüße, ", "世界", "!\n"];

/// Recorded answers of a wire format: whole ones, and streams.
fn recorded(format: &str) -> (Vec<Scripted>, Vec<Scripted>) {
    let calls: [(&str, &str, &[&str]); 2] = [("c1", "weather", &["{\"city\":", "\"Köln\"}"]), ("c2", "time", &["{}"])];
    match format {
        "openai" | "groq" => (
            vec![
                Scripted::openai_chat(&TEXTS.concat(), USAGE),
                Scripted::openai_chat_tools(&[("c1", "weather", "{\"city\":\"Köln\"}"), ("c2", "time", "{}")], USAGE),
                seed(include_bytes!("../../../fuzz/seeds/openai_chat/whole"), false),
            ],
            vec![
                Scripted::openai_chat_stream(TEXTS, USAGE),
                Scripted::openai_chat_tools_stream(&calls, USAGE),
                seed(include_bytes!("../../../fuzz/seeds/openai_chat/stream"), true),
            ],
        ),
        "anthropic" => (
            vec![
                Scripted::anthropic(&TEXTS.concat(), USAGE),
                seed(include_bytes!("../../../fuzz/seeds/anthropic/whole"), false),
            ],
            vec![
                Scripted::anthropic_stream(TEXTS, USAGE),
                seed(include_bytes!("../../../fuzz/seeds/anthropic/stream"), true),
            ],
        ),
        _ => (
            vec![
                Scripted::gemini(&TEXTS.concat(), USAGE),
                seed(include_bytes!("../../../fuzz/seeds/gemini/whole"), false),
            ],
            vec![
                Scripted::gemini_stream(TEXTS, USAGE),
                // Google's client decodes signatures, so this one must be base64.
                seed(include_bytes!("../../../fuzz/seeds/gemini/stream"), true).replace("\"s\"", "\"c2ln\""),
            ],
        ),
    }
}

/// Returns the response in the seed of a fuzz target. Its first byte is no part of it.
fn seed(bytes: &[u8], streams: bool) -> Scripted {
    let (_, body) = bytes.split_first().unwrap();
    if streams { Scripted::event_stream().body(body) } else { Scripted::json(200, body) }
}

/// Returns what an answer says, in the form of the script.
fn read_by_us(answer: &ChatResponse) -> Value {
    let calls: Vec<_> = answer.tool_calls().map(|call| json!([call.id, call.name, call.arguments])).collect();
    let usage = answer.usage.unwrap();
    json!({
        "id": answer.id,
        "text": answer.text(),
        "calls": calls,
        "stop": answer.stop.raw,
        "usage": { "input": usage.input, "cached": usage.cached, "output": usage.output },
    })
}

/// Replaces the arguments of calls by their meaning. Gemini's calls have no ids.
fn normalized(mut read: Value, has_ids: bool) -> Value {
    for call in read["calls"].as_array_mut().into_iter().flatten() {
        call[2] = call[2].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if !has_ids {
            call[0] = Value::Null;
        }
    }
    read
}

fn request() -> ChatRequest {
    ChatRequest::new("scripted-model", [Message::user("Say hello.")]).max_output_tokens(100)
}

/// Returns the programs that read as each provider's client does.
fn readers(upstream: &ScriptedUpstream) -> Vec<(&'static str, HttpProvider, LineProgram)> {
    let reader = |name| {
        let mut command = python("decoders.py");
        command.args([name, upstream.url()]);
        LineProgram::start(command)
    };
    each_format(upstream.url()).map(|(name, provider)| (name, provider, reader(name))).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_providers_clients_read_the_same() {
    let upstream = ScriptedUpstream::start().await;
    for (name, provider, mut reader) in readers(&upstream) {
        let (whole, streams) = recorded(name);
        for (responses, streams) in [(whole, false), (streams, true)] {
            for response in responses {
                upstream.respond(response.clone()).respond(response);
                let ours = answer(&provider, &request(), streams).await.unwrap();
                let theirs = reader.ask(if streams { "stream" } else { "whole" }).await;
                let has_ids = name != "gemini";
                let (ours, theirs) = (normalized(read_by_us(&ours), has_ids), normalized(theirs, has_ids));
                assert_eq!(ours, theirs, "{name}, streams: {streams}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_providers_clients_raise_the_same_errors() {
    let upstream = ScriptedUpstream::start().await;
    for (name, provider, mut reader) in readers(&upstream) {
        let openai = |status, code| Scripted::openai_error(status, "error", code, "no");
        let anthropic = |status, error_type| Scripted::anthropic_error(status, error_type, "no");
        let gemini = |status, name| Scripted::gemini_error(status, name, "no");
        let cases = match name {
            "openai" | "groq" => vec![
                (openai(429, "rate_limit_exceeded"), LlmErrorKind::RateLimited, "RateLimitError"),
                (openai(401, "invalid_api_key"), LlmErrorKind::Unauthorized, "AuthenticationError"),
                (openai(400, "invalid_value"), LlmErrorKind::InvalidRequest, "BadRequestError"),
                (openai(500, "server_error"), LlmErrorKind::Failed, "InternalServerError"),
            ],
            "anthropic" => vec![
                (anthropic(529, "overloaded_error"), LlmErrorKind::Overloaded, "OverloadedError"),
                (anthropic(429, "rate_limit_error"), LlmErrorKind::RateLimited, "RateLimitError"),
                (anthropic(400, "invalid_request_error"), LlmErrorKind::InvalidRequest, "BadRequestError"),
            ],
            _ => vec![
                (gemini(429, "RESOURCE_EXHAUSTED"), LlmErrorKind::RateLimited, "ClientError"),
                (gemini(400, "INVALID_ARGUMENT"), LlmErrorKind::InvalidRequest, "ClientError"),
                (gemini(500, "INTERNAL"), LlmErrorKind::Failed, "ServerError"),
            ],
        };
        for (response, kind, class) in cases {
            for streams in [false, true] {
                upstream.respond(response.clone()).respond(response.clone());
                let ours = answer(&provider, &request(), streams).await.unwrap_err();
                let theirs = reader.ask(if streams { "stream" } else { "whole" }).await;
                assert_eq!((ours.kind, &theirs["failure"]), (kind, &json!(class)), "{name}: {ours} {theirs}");
            }
        }
    }
}
