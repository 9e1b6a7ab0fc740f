//! The input of a response: the items of a conversation.

use serde_json::Value;

use super::output::signed_content;
use crate::{
    chat::{Message, Part, Role, ToolCall, ToolResult},
    openai_api::{
        content::parse_content,
        fields::{FieldProblem, ObjectFields},
        messages::{MAX_MESSAGES_PER_REQUEST, MAX_NAME_BYTES, thought_signature},
    },
};

/// Largest number of parts of a summary of reasoning.
const MAX_PARTS_PER_SUMMARY: usize = 1_000;
/// The text between two parts of a summary.
const SUMMARY_SEPARATOR: &str = "\n\n";

/// Reads `input`: a text of the user, or items.
pub(super) fn parse_input(input: Option<Value>) -> Result<Vec<Message>, FieldProblem> {
    let items = match input {
        Some(Value::String(text)) => return Ok(vec![Message::user(text)]),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(FieldProblem::new("input", "must be a text or a list of items")),
        None => return Err(FieldProblem::new("input", "is required")),
    };
    if items.is_empty() || items.len() > MAX_MESSAGES_PER_REQUEST {
        return Err(FieldProblem::new("input", format!("must have 1 to {MAX_MESSAGES_PER_REQUEST} items")));
    }
    let mut messages = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        add_item(&mut messages, ObjectFields::of(format!("input[{index}]"), item)?)?;
    }
    if messages.is_empty() {
        return Err(FieldProblem::new("input", "must have an item with content"));
    }
    Ok(messages)
}

fn add_item(messages: &mut Vec<Message>, mut item: ObjectFields) -> Result<(), FieldProblem> {
    let kind = item.text("type", MAX_NAME_BYTES)?;
    let (role, parts) = match kind.as_deref() {
        None | Some("message") => message(&mut item)?,
        Some("function_call") => (Role::Assistant, vec![Part::ToolCall(function_call(&mut item)?)]),
        Some("function_call_output") => (Role::Tool, vec![Part::ToolResult(function_call_output(&mut item)?)]),
        Some("reasoning") => (Role::Assistant, reasoning(&mut item)?.into_iter().collect()),
        Some("item_reference") => {
            return Err(item.problem("type", "can't be `item_reference`, because items are not stored: send the item"));
        }
        Some(_) => {
            let kinds = "must be `message`, `function_call`, `function_call_output` or `reasoning`";
            return Err(item.problem("type", kinds));
        }
    };
    match messages.last_mut() {
        // One turn of the model, and the results of parallel calls, are several items.
        Some(last) if last.role == role && continues(last, &parts) => last.parts.extend(parts),
        _ if parts.is_empty() => {}
        _ => messages.push(Message::new(role, parts)),
    }
    Ok(())
}

/// Returns whether parts of the same role belong to a message: those of a turn of the model, but for a further message,
/// and results.
fn continues(message: &Message, parts: &[Part]) -> bool {
    let is_text = |part: Option<&Part>| matches!(part, Some(Part::Text { .. } | Part::Refusal(_)));
    match message.role {
        Role::Assistant => !(is_text(message.parts.last()) && is_text(parts.first())),
        Role::Tool => true,
        Role::System | Role::User => false,
    }
}

fn message(item: &mut ObjectFields) -> Result<(Role, Vec<Part>), FieldProblem> {
    let role = match item.required_text("role", MAX_NAME_BYTES)?.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return Err(item.problem("role", "must be `system`, `developer`, `user` or `assistant`")),
    };
    Ok((role, required_content(item, "content")?))
}

fn required_content(item: &mut ObjectFields, name: &str) -> Result<Vec<Part>, FieldProblem> {
    let content = item.take(name).ok_or_else(|| item.problem(name, "is required"))?;
    parse_content(&item.path(name), Some(content))
}

fn function_call(item: &mut ObjectFields) -> Result<ToolCall, FieldProblem> {
    Ok(ToolCall {
        id: item.required_text("call_id", MAX_NAME_BYTES)?,
        name: item.required_text("name", MAX_NAME_BYTES)?,
        arguments: item.text("arguments", usize::MAX)?.unwrap_or_default(),
        signature: thought_signature(item)?,
    })
}

fn function_call_output(item: &mut ObjectFields) -> Result<ToolResult, FieldProblem> {
    let call_id = item.required_text("call_id", MAX_NAME_BYTES)?;
    Ok(ToolResult { call_id, name: None, parts: required_content(item, "output")?, is_error: false })
}

/// Reads reasoning. Reasoning without a text and without what its provider verifies is of no use.
fn reasoning(item: &mut ObjectFields) -> Result<Option<Part>, FieldProblem> {
    let (signature, redacted) = signed_content(item)?;
    let summary = texts(item, "summary")?;
    let parts = if summary.is_empty() { texts(item, "content")? } else { summary };
    let text = parts.join(SUMMARY_SEPARATOR);
    let is_useful = !text.is_empty() || signature.is_some() || redacted.is_some();
    Ok(is_useful.then_some(Part::Reasoning { text, signature, redacted }))
}

fn texts(item: &mut ObjectFields, name: &str) -> Result<Vec<String>, FieldProblem> {
    let path = item.path(name);
    let parts = item.list(name, MAX_PARTS_PER_SUMMARY)?.unwrap_or_default();
    let read = |(index, part): (usize, Value)| -> Result<String, FieldProblem> {
        let text = ObjectFields::of(format!("{path}[{index}]"), part)?.text("text", usize::MAX)?;
        Ok(text.unwrap_or_default())
    };
    parts.into_iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{chat::MediaSource, openai_api::responses::output::output_item};

    #[test]
    fn a_text_is_a_message_of_the_user() {
        assert_eq!(parse_input(Some(json!("hi"))).unwrap(), [Message::user("hi")]);
    }

    #[test]
    fn a_conversation_with_functions_is_read() {
        use Role::{Assistant, System, Tool, User};
        let messages = parse_input(Some(json!([
            { "role": "developer", "content": "Be brief." },
            { "type": "message", "role": "user", "content": [
                { "type": "input_text", "text": "Look" },
                { "type": "input_image", "image_url": "https://example.org/a.png", "detail": "low" },
                { "type": "input_image", "file_id": "f1" },
                { "type": "input_file", "file_url": "https://example.org/a.pdf" },
                { "type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk=" },
            ]},
            { "type": "reasoning", "id": "rs_1", "encrypted_content": "enc", "summary": [
                { "type": "summary_text", "text": "One" }, { "type": "summary_text", "text": "Two" },
            ]},
            { "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
                { "type": "output_text", "text": "I look.", "annotations": [], "logprobs": [] },
            ]},
            { "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "a", "arguments": "{}",
              "extra_content": { "google": { "thought_signature": "s" } } },
            { "type": "function_call", "call_id": "c2", "name": "b", "arguments": "{\"x\":1}" },
            { "type": "function_call_output", "call_id": "c1", "output": "1" },
            { "type": "function_call_output", "call_id": "c2", "output": [{ "type": "input_text", "text": "2" }] },
            { "role": "assistant", "content": "Done." },
            { "role": "assistant", "content": [{ "type": "refusal", "refusal": "No more." }] },
            { "role": "user", "content": "And?" },
            { "role": "user", "content": "Well?" },
        ])))
        .unwrap();
        let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [System, User, Assistant, Tool, Assistant, Assistant, User, User]);
        let sources: Vec<_> = messages[1].parts.iter().filter_map(source).collect();
        let url = |url: &str| MediaSource::Url(url.to_owned());
        let bytes = MediaSource::Bytes(b"hi".as_slice().into());
        let (png, pdf) = (url("https://example.org/a.png"), url("https://example.org/a.pdf"));
        assert_eq!(sources, [&png, &MediaSource::FileId("f1".into()), &pdf, &bytes]);
        let reasoning =
            Part::Reasoning { text: "One\n\nTwo".into(), signature: Some("rs_1".into()), redacted: Some("enc".into()) };
        let mut signed = ToolCall::new("c1", "a", "{}");
        signed.signature = Some("s".into());
        let calls = [Part::ToolCall(signed), Part::ToolCall(ToolCall::new("c2", "b", r#"{"x":1}"#))];
        let [first, second] = calls;
        assert_eq!(messages[2].parts, [reasoning, Part::text("I look."), first, second]);
        assert_eq!(messages[3].parts.len(), 2, "the results of parallel calls are one message");
    }

    fn source(part: &Part) -> Option<&MediaSource> {
        match part {
            Part::Image(media) | Part::File(media) => Some(&media.source),
            _ => None,
        }
    }

    /// Reasoning is sent back as it was received, whatever its provider verifies.
    #[test]
    fn reasoning_survives_a_turn() {
        for (text, signature, redacted) in [
            ("so it is", Some("signed"), None),
            ("", None, Some("sealed")),
            ("One\n\nTwo", Some("rs_1"), Some("sealed")),
            ("only a text", None, None),
        ] {
            let part = Part::Reasoning {
                text: text.into(),
                signature: signature.map(Into::into),
                redacted: redacted.map(Into::into),
            };
            let item = output_item("rs_of_the_response", &part).unwrap();
            let messages = parse_input(Some(json!([item, { "role": "user", "content": "Go on." }]))).unwrap();
            assert_eq!(messages[0], Message::new(Role::Assistant, vec![part]));
        }
        let useless = json!([{ "type": "reasoning", "id": "rs_1", "summary": [] }, { "role": "user", "content": "?" }]);
        assert_eq!(parse_input(Some(useless)).unwrap(), [Message::user("?")]);
    }

    #[test]
    fn a_problem_names_the_field() {
        for (item, expected) in [
            (json!("hi"), "input[0]"),
            (json!({}), "input[0].role"),
            (json!({ "type": "web_search_call", "id": "ws_1" }), "input[0].type"),
            (json!({ "type": "item_reference", "id": "msg_1" }), "input[0].type"),
            (json!({ "role": "tool", "content": "x" }), "input[0].role"),
            (json!({ "role": "user" }), "input[0].content"),
            (json!({ "role": "user", "content": [{ "type": "input_image" }] }), "input[0].content[0].image_url"),
            (json!({ "role": "user", "content": [{ "type": "input_file" }] }), "input[0].content[0].file_data"),
            (json!({ "type": "function_call", "name": "a" }), "input[0].call_id"),
            (json!({ "type": "function_call", "call_id": "c" }), "input[0].name"),
            (json!({ "type": "function_call_output", "output": "x" }), "input[0].call_id"),
            (json!({ "type": "function_call_output", "call_id": "c" }), "input[0].output"),
            (json!({ "type": "reasoning", "summary": ["x"] }), "input[0].summary[0]"),
            (json!({ "type": "reasoning", "encrypted_content": "omnistack:x" }), "input[0].encrypted_content"),
        ] {
            assert_eq!(parse_input(Some(json!([item]))).unwrap_err().param, expected, "{item}");
        }
        let without_content =
            json!([{ "role": "user", "content": [] }, { "type": "reasoning", "id": "rs_1", "summary": [] }]);
        for input in [None, Some(json!([])), Some(json!({})), Some(without_content)] {
            assert_eq!(parse_input(input).unwrap_err().param, "input");
        }
    }
}
