//! The items of a response's output: messages, calls of functions and reasoning.

use serde_json::{Value, json};

use crate::{
    call::CallId,
    chat::{Part, ToolCall},
    openai_api::{
        fields::{FieldProblem, ObjectFields},
        messages::{MAX_NAME_BYTES, MAX_SIGNATURE_BYTES},
        render::signature_content,
    },
};

/// The beginning of `encrypted_content` in reasoning that this API has sent. The rest is JSON: the signature, and the
/// encrypted reasoning of the provider.
const SIGNATURE_PREFIX: &str = "omnistack:";

/// Returns the items of an answer whose response has a status. Empty texts are no items.
pub(super) fn output_items<'a>(
    call: CallId,
    parts: impl IntoIterator<Item = &'a Part>,
    status: &'static str,
) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    for part in parts.into_iter().filter(|part| has_content(part)) {
        items.extend(output_item(&item_id(call, items.len(), part), part));
    }
    // What is cut is the end of the answer.
    if let Some(known) = items.last_mut().and_then(|item| item.get_mut("status")) {
        *known = json!(status);
    }
    items
}

/// Returns the id of an item.
pub(super) fn item_id(call: CallId, position: usize, part: &Part) -> String {
    let prefix = match part {
        Part::ToolCall(_) => "fc",
        Part::Reasoning { .. } => "rs",
        _ => "msg",
    };
    format!("{prefix}_{call}_{position}")
}

/// Returns a complete item. `None` for a part that no model answers with.
pub(super) fn output_item(id: &str, part: &Part) -> Option<Value> {
    Some(match part {
        Part::Text { .. } | Part::Refusal(_) => json!({
            "id": id,
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": content_part(part).into_iter().collect::<Vec<_>>(),
        }),
        Part::Reasoning { text, signature, redacted } => {
            let summary: Vec<_> = (!text.is_empty()).then(|| summary_part(text)).into_iter().collect();
            let encrypted = encrypted_content(signature.as_deref(), redacted.as_deref());
            json!({ "id": id, "type": "reasoning", "summary": summary, "encrypted_content": encrypted })
        }
        Part::ToolCall(ToolCall { id: call_id, name, arguments, signature }) => {
            let mut item = json!({
                "id": id,
                "type": "function_call",
                "status": "completed",
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
            });
            if let Some(signature) = signature {
                item["extra_content"] = signature_content(signature);
            }
            item
        }
        Part::Image(_) | Part::File(_) | Part::ToolResult(_) => return None,
    })
}

/// Returns the content of a message that consists of a part. `None` for a part of no message.
pub(super) fn content_part(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text, .. } => {
            Some(json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }))
        }
        Part::Refusal(text) => Some(json!({ "type": "refusal", "refusal": text })),
        _ => None,
    }
}

/// Returns the part of a summary of reasoning.
pub(super) fn summary_part(text: &str) -> Value {
    json!({ "type": "summary_text", "text": text })
}

fn has_content(part: &Part) -> bool {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => !text.is_empty(),
        Part::Reasoning { text, signature, redacted } => !text.is_empty() || signature.is_some() || redacted.is_some(),
        _ => true,
    }
}

/// Returns what the provider of reasoning verifies in the next request. Clients keep this field, whatever it contains.
fn encrypted_content(signature: Option<&str>, redacted: Option<&str>) -> Option<String> {
    let is_signed = signature.is_some() || redacted.is_some();
    is_signed.then(|| format!("{SIGNATURE_PREFIX}{}", json!([signature, redacted])))
}

/// Reads the signature and the encrypted content of reasoning that is sent back: reasoning of this API, or of OpenAI
/// itself.
pub(super) fn signed_content(item: &mut ObjectFields) -> Result<(Option<String>, Option<String>), FieldProblem> {
    let id = item.text("id", MAX_NAME_BYTES)?;
    // The JSON of a signature is a little longer than the signature.
    let Some(encrypted) = item.text("encrypted_content", 2 * MAX_SIGNATURE_BYTES)? else { return Ok((None, None)) };
    match encrypted.strip_prefix(SIGNATURE_PREFIX) {
        Some(own) => {
            serde_json::from_str(own).map_err(|_| item.problem("encrypted_content", "must be as this API has sent it"))
        }
        None => Ok((id, Some(encrypted))),
    }
}
