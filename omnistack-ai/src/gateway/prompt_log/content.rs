//! The content of a call that is logged.

use serde_json::{Value, json};

use crate::chat::{ChatRequest, ChatResponse, Part};

/// Largest text of a part that is logged, in bytes. Longer ones are cut.
const MAX_LOGGED_TEXT_BYTES: usize = 64 * 1024;
/// Largest size of all messages that are logged, in bytes of JSON. The oldest are left out.
const MAX_LOGGED_REQUEST_BYTES: usize = 1024 * 1024;

/// The messages of a request, as JSON.
#[derive(Clone)]
pub(crate) struct LoggedRequest(pub(super) String);

impl LoggedRequest {
    pub(crate) fn of(request: &ChatRequest) -> Self {
        let (mut messages, mut size) = (Vec::new(), 2);
        for message in request.messages.iter().rev() {
            let parts = message.parts.iter().map(describe).collect::<Vec<_>>();
            let text = json!({ "role": message.role, "name": message.name, "parts": parts }).to_string();
            size += text.len() + 1;
            if size > MAX_LOGGED_REQUEST_BYTES {
                break;
            }
            messages.push(text);
        }
        messages.reverse();
        Self(format!("[{}]", messages.join(",")))
    }
}

impl std::fmt::Debug for LoggedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoggedRequest")
    }
}

/// Returns an answer as JSON.
pub(super) fn describe_response(response: &ChatResponse) -> Value {
    let parts = response.parts.iter().map(describe).collect::<Vec<_>>();
    json!({ "parts": parts, "stop": response.stop })
}

fn describe(part: &Part) -> Value {
    match part {
        Part::Text { text, .. } => json!({ "type": "text", "text": cut(text) }),
        Part::Image(media) => json!({ "type": "image", "media_type": media.media_type }),
        Part::File(media) => json!({ "type": "file", "media_type": media.media_type, "name": media.name }),
        Part::ToolCall(call) => {
            json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": cut(&call.arguments) })
        }
        Part::ToolResult(result) => {
            let parts = result.parts.iter().map(describe).collect::<Vec<_>>();
            json!({ "type": "tool_result", "id": result.call_id, "parts": parts, "is_error": result.is_error })
        }
        Part::Reasoning { text, .. } => json!({ "type": "reasoning", "text": cut(text) }),
        Part::Refusal(text) => json!({ "type": "refusal", "text": cut(text) }),
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LOGGED_TEXT_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Media, Message, Role};

    #[test]
    fn contents_of_media_are_left_out_and_long_texts_are_cut() {
        let image = Part::Image(Media::bytes(vec![1, 2, 3], "image/png"));
        let long = format!("{}é", "x".repeat(MAX_LOGGED_TEXT_BYTES - 1));
        let request = ChatRequest::new("m", [Message::new(Role::User, vec![image, Part::text(long)])]);
        let logged: Value = serde_json::from_str(&LoggedRequest::of(&request).0).unwrap();
        assert_eq!(logged[0]["parts"][0], json!({ "type": "image", "media_type": "image/png" }));
        assert_eq!(logged[0]["parts"][1]["text"].as_str().map(str::len), Some(MAX_LOGGED_TEXT_BYTES - 1));
    }

    #[test]
    fn the_oldest_messages_of_a_long_conversation_are_left_out() {
        let texts = (0..20).map(|number| Message::user(format!("{number}{}", "x".repeat(MAX_LOGGED_TEXT_BYTES))));
        let logged: Value = serde_json::from_str(&LoggedRequest::of(&ChatRequest::new("m", texts)).0).unwrap();
        let logged = logged.as_array().unwrap();
        assert!(logged.len() > 10 && logged.len() < 20);
        assert!(logged.last().unwrap()["parts"][0]["text"].as_str().unwrap().starts_with("19x"));
    }
}
