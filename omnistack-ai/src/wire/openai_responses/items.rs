//! The conversation as items of Responses.

use std::mem;

use serde_json::{Value, json};

use crate::{
    chat::{ChatRequest, Media, MediaSource, Message, Part, Role, ToolResult},
    error::LlmError,
    wire::openai_chat::{data_url, file_name, inexpressible},
};

/// The beginning of the ids of reasoning, which tells it from the reasoning of other providers.
const REASONING_ID_PREFIX: &str = "rs_";

/// Encodes the conversation. Fails with [`LlmErrorKind::InvalidRequest`](crate::LlmErrorKind::InvalidRequest) if a
/// message has a part that its role can't have.
pub(super) fn encode_input(provider: &str, request: &ChatRequest) -> Result<Value, LlmError> {
    let mut items = Vec::new();
    for message in &request.messages {
        encode_message(provider, message, &mut items)?;
    }
    Ok(items.into())
}

/// Encodes a message as items in the order of its parts. Texts and media between other items are one item.
fn encode_message(provider: &str, message: &Message, items: &mut Vec<Value>) -> Result<(), LlmError> {
    let role = match message.role {
        Role::System => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    let is_assistant = message.role == Role::Assistant;
    let mut content = Vec::new();
    for part in &message.parts {
        let item = match part {
            Part::Text { text, .. } if is_assistant => {
                content.push(json!({"type": "output_text", "text": text}));
                continue;
            }
            Part::Refusal(refusal) if is_assistant => {
                content.push(json!({"type": "refusal", "refusal": refusal}));
                continue;
            }
            Part::Text { .. } | Part::Image(_) | Part::File(_) if !is_assistant => {
                content.push(encode_content(provider, part)?);
                continue;
            }
            Part::ToolCall(call) if is_assistant => {
                let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                let (id, name) = (&call.id, &call.name);
                Some(json!({"type": "function_call", "call_id": id, "name": name, "arguments": arguments}))
            }
            Part::ToolResult(result) => Some(encode_result(provider, result)?),
            // Only reasoning of this API can be sent back to it.
            Part::Reasoning { text, signature, redacted } if is_assistant => {
                encode_reasoning(text, signature.as_deref(), redacted.as_deref())
            }
            _ => return Err(inexpressible(provider, "a message has a part that its author can't write")),
        };
        if let Some(item) = item {
            flush(role, &mut content, items);
            items.push(item);
        }
    }
    flush(role, &mut content, items);
    Ok(())
}

fn flush(role: &str, content: &mut Vec<Value>, items: &mut Vec<Value>) {
    if !content.is_empty() {
        items.push(json!({"type": "message", "role": role, "content": mem::take(content)}));
    }
}

fn encode_content(provider: &str, part: &Part) -> Result<Value, LlmError> {
    match part {
        Part::Text { text, .. } => Ok(json!({"type": "input_text", "text": text})),
        Part::Image(media) => Ok(encode_image(media)),
        Part::File(media) => Ok(encode_file(media)),
        _ => Err(inexpressible(provider, "the result of a tool has a part that is no text, image or file")),
    }
}

fn encode_image(media: &Media) -> Value {
    let detail = media.detail.as_deref().unwrap_or("auto");
    match &media.source {
        MediaSource::Bytes(bytes) => {
            json!({"type": "input_image", "image_url": data_url(media, bytes), "detail": detail})
        }
        MediaSource::Url(url) => json!({"type": "input_image", "image_url": url, "detail": detail}),
        MediaSource::FileId(id) => json!({"type": "input_image", "file_id": id, "detail": detail}),
    }
}

fn encode_file(media: &Media) -> Value {
    match &media.source {
        MediaSource::Bytes(bytes) => {
            json!({"type": "input_file", "filename": file_name(media), "file_data": data_url(media, bytes)})
        }
        MediaSource::Url(url) => json!({"type": "input_file", "file_url": url}),
        MediaSource::FileId(id) => json!({"type": "input_file", "file_id": id}),
    }
}

fn encode_result(provider: &str, result: &ToolResult) -> Result<Value, LlmError> {
    let is_text = result.parts.iter().all(|part| matches!(part, Part::Text { .. }));
    let output = if is_text {
        let texts = result.parts.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        Value::String(texts.collect())
    } else {
        result.parts.iter().map(|part| encode_content(provider, part)).collect::<Result<_, _>>()?
    };
    Ok(json!({"type": "function_call_output", "call_id": result.call_id, "output": output}))
}

fn encode_reasoning(text: &str, signature: Option<&str>, redacted: Option<&str>) -> Option<Value> {
    let id = signature.filter(|id| id.starts_with(REASONING_ID_PREFIX))?;
    let encrypted = redacted?;
    let summary = if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) };
    Some(json!({"type": "reasoning", "id": id, "summary": summary, "encrypted_content": encrypted}))
}
