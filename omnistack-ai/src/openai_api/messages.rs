//! The messages of a conversation, in the form of OpenAI's API.

use serde_json::Value;

use super::{
    content::parse_content,
    fields::{FieldProblem, ObjectFields},
};
use crate::chat::{Message, Part, Role, ToolCall, ToolResult};

/// Largest number of messages of a request.
pub(super) const MAX_MESSAGES_PER_REQUEST: usize = 10_000;
/// Largest number of tool calls of a message.
const MAX_TOOL_CALLS_PER_MESSAGE: usize = 1_000;
/// Longest id, name and other short text of a message, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 512;
/// Longest signature of reasoning, in bytes.
pub(super) const MAX_SIGNATURE_BYTES: usize = 1024 * 1024;

/// Reads the messages at a path.
pub(crate) fn parse_messages(path: &str, messages: Option<Value>) -> Result<Vec<Message>, FieldProblem> {
    let messages = match messages {
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err(FieldProblem::new(path, "must be a list of messages")),
        None => return Err(FieldProblem::new(path, "is required")),
    };
    if messages.is_empty() || messages.len() > MAX_MESSAGES_PER_REQUEST {
        let message = format!("must have 1 to {MAX_MESSAGES_PER_REQUEST} messages");
        return Err(FieldProblem::new(path, message));
    }
    let mut all: Vec<Message> = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let message = parse_message(format!("{path}[{index}]"), message)?;
        // The results of parallel calls belong together.
        match all.last_mut() {
            Some(last) if last.role == Role::Tool && message.role == Role::Tool => last.parts.extend(message.parts),
            _ => all.push(message),
        }
    }
    Ok(all)
}

fn parse_message(path: String, message: Value) -> Result<Message, FieldProblem> {
    let mut message = ObjectFields::of(path, message)?;
    let role = message.required_text("role", MAX_NAME_BYTES)?;
    let name = message.text("name", MAX_NAME_BYTES)?.filter(|name| !name.is_empty());
    let content_path = message.path("content");
    let content = message.take("content");
    let parse = |content: Option<Value>| {
        let content = content.ok_or_else(|| FieldProblem::new(content_path.as_str(), "is required"))?;
        parse_content(&content_path, Some(content))
    };
    let (role, parts) = match role.as_str() {
        "system" | "developer" => (Role::System, parse(content)?),
        "user" => (Role::User, parse(content)?),
        "tool" => {
            let call_id = message.required_text("tool_call_id", MAX_NAME_BYTES)?;
            let parts = parse(content)?;
            let result = ToolResult { call_id, name: name.clone(), parts, is_error: false };
            (Role::Tool, vec![Part::ToolResult(result)])
        }
        "assistant" => {
            let mut parts = reasoning(&mut message)?;
            parts.extend(parse_content(&content_path, content)?);
            if let Some(refusal) = message.text("refusal", usize::MAX)? {
                parts.push(Part::Refusal(refusal));
            }
            parts.extend(tool_calls(&mut message)?);
            if parts.is_empty() {
                return Err(message.problem("content", "is required, or `tool_calls`"));
            }
            (Role::Assistant, parts)
        }
        _ => {
            let roles = "must be `system`, `developer`, `user`, `assistant` or `tool`";
            return Err(message.problem("role", roles));
        }
    };
    let name = name.filter(|_| role != Role::Tool);
    Ok(Message { role, parts, name })
}

/// Reads the reasoning of an earlier answer: `reasoning_details`, as this API sends it, with the signatures that
/// providers verify. Reasoning without a signature is of no use to a provider.
fn reasoning(message: &mut ObjectFields) -> Result<Vec<Part>, FieldProblem> {
    _ = message.take("reasoning_content");
    let path = message.path("reasoning_details");
    let details = message.list("reasoning_details", MAX_TOOL_CALLS_PER_MESSAGE)?.unwrap_or_default();
    let read = |(index, detail): (usize, Value)| -> Result<Part, FieldProblem> {
        let mut detail = ObjectFields::of(format!("{path}[{index}]"), detail)?;
        Ok(Part::Reasoning {
            text: detail.text("text", usize::MAX)?.unwrap_or_default(),
            signature: detail.text("signature", MAX_SIGNATURE_BYTES)?,
            redacted: detail.text("data", MAX_SIGNATURE_BYTES)?,
        })
    };
    details.into_iter().enumerate().map(read).collect()
}

fn tool_calls(message: &mut ObjectFields) -> Result<Vec<Part>, FieldProblem> {
    let path = message.path("tool_calls");
    let calls = message.list("tool_calls", MAX_TOOL_CALLS_PER_MESSAGE)?.unwrap_or_default();
    let read = |(index, call): (usize, Value)| -> Result<Part, FieldProblem> {
        let mut call = ObjectFields::of(format!("{path}[{index}]"), call)?;
        let id = call.required_text("id", MAX_NAME_BYTES)?;
        let mut function = call.required_object("function")?;
        let name = function.required_text("name", MAX_NAME_BYTES)?;
        let arguments = function.text("arguments", usize::MAX)?.unwrap_or_default();
        let signature = thought_signature(&mut call)?;
        Ok(Part::ToolCall(ToolCall { id, name, arguments, signature }))
    };
    calls.into_iter().enumerate().map(read).collect()
}

/// Reads the signature of the reasoning before a call, where Google's own API of this form has it.
pub(super) fn thought_signature(call: &mut ObjectFields) -> Result<Option<String>, FieldProblem> {
    let Some(mut extra) = call.object("extra_content")? else { return Ok(None) };
    let Some(mut google) = extra.object("google")? else { return Ok(None) };
    google.text("thought_signature", MAX_SIGNATURE_BYTES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::MediaSource;

    fn problem(message: Value) -> String {
        parse_messages("messages", Some(json!([message]))).unwrap_err().param
    }

    #[test]
    fn a_conversation_with_tools_is_read() {
        let messages = parse_messages(
            "messages",
            Some(json!([
                { "role": "developer", "content": "Be brief." },
                { "role": "user", "name": "ada", "content": [
                    { "type": "text", "text": "Look", "cache_control": { "type": "ephemeral", "ttl": "1h" } },
                    { "type": "image_url", "image_url": { "url": "https://example.org/a.png", "detail": "low" } },
                    { "type": "file", "file": { "file_id": "f1" } },
                ]},
                { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "c1", "type": "function", "function": { "name": "a", "arguments": "{}" },
                      "extra_content": { "google": { "thought_signature": "s" } } },
                    { "id": "c2", "type": "function", "function": { "name": "b", "arguments": "{\"x\":1}" } },
                ]},
                { "role": "tool", "tool_call_id": "c1", "content": "1" },
                { "role": "tool", "tool_call_id": "c2", "content": [{ "type": "text", "text": "2" }] },
                { "role": "assistant", "reasoning_details": [{ "type": "reasoning.text", "text": "hm", "signature": "z" }],
                  "content": "Done." },
            ])),
        )
        .unwrap();
        let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Assistant]);
        assert_eq!(messages[1].name.as_deref(), Some("ada"));
        let Part::Image(image) = &messages[1].parts[1] else { panic!("{:?}", messages[1]) };
        assert_eq!(image.source, MediaSource::Url("https://example.org/a.png".into()));
        assert_eq!(image.detail.as_deref(), Some("low"));
        let Part::ToolCall(call) = &messages[2].parts[0] else { panic!("{:?}", messages[2]) };
        assert_eq!((call.id.as_str(), call.signature.as_deref()), ("c1", Some("s")));
        assert_eq!(messages[3].parts.len(), 2, "results of parallel calls are one message");
        assert_eq!(messages[4].parts.len(), 2);
    }

    #[test]
    fn a_problem_names_the_field() {
        for (message, expected) in [
            (json!("hi"), "messages[0]"),
            (json!({}), "messages[0].role"),
            (json!({ "role": "robot", "content": "" }), "messages[0].role"),
            (json!({ "role": 7, "content": "" }), "messages[0].role"),
            (json!({ "role": "user" }), "messages[0].content"),
            (json!({ "role": "user", "content": 1 }), "messages[0].content"),
            (json!({ "role": "user", "content": [1] }), "messages[0].content[0]"),
            (json!({ "role": "user", "content": [{ "type": "video" }] }), "messages[0].content[0].type"),
            (json!({ "role": "user", "content": [{ "type": "text" }] }), "messages[0].content[0].text"),
            (
                json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "file:///etc/passwd" } }] }),
                "messages[0].content[0].image_url.url",
            ),
            (
                json!({ "role": "user", "content": [{ "type": "input_audio", "input_audio": { "data": "?", "format": "wav" } }] }),
                "messages[0].content[0].input_audio.data",
            ),
            (json!({ "role": "tool", "content": "x" }), "messages[0].tool_call_id"),
            (json!({ "role": "assistant" }), "messages[0].content"),
            (json!({ "role": "assistant", "tool_calls": [{ "id": "a" }] }), "messages[0].tool_calls[0].function"),
        ] {
            assert_eq!(problem(message.clone()), expected, "{message}");
        }
        for messages in [None, Some(json!([])), Some(json!({}))] {
            assert_eq!(parse_messages("messages", messages).unwrap_err().param, "messages");
        }
    }
}
