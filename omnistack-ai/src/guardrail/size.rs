//! Limits of the size of requests.

use async_trait::async_trait;

use super::{Guardrail, Refusal};
use crate::{
    call::AiCaller,
    chat::{ChatRequest, MediaSource, OutputFormat, Part},
};

/// Largest number of tools in a request.
const MAX_TOOLS_PER_REQUEST: usize = 512;
/// Largest number of parts in a message.
const MAX_PARTS_PER_MESSAGE: usize = 1_000;

/// The guardrail `size`, which every call passes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SizeLimits {
    /// Largest number of bytes of text, schemas and further fields.
    pub(crate) text_bytes: u64,
    /// Largest number of bytes of images and files.
    pub(crate) media_bytes: u64,
    /// Largest number of messages.
    pub(crate) messages: usize,
}

#[async_trait]
impl Guardrail for SizeLimits {
    fn name(&self) -> &'static str {
        "size"
    }

    async fn check_input(&self, _: &AiCaller, request: &mut ChatRequest) -> Result<(), Refusal> {
        if request.messages.len() > self.messages {
            return Err(Refusal::new(format!("it has more than {} messages; shorten it", self.messages)));
        }
        if request.tools.len() > MAX_TOOLS_PER_REQUEST {
            return Err(Refusal::new(format!("it has more than {MAX_TOOLS_PER_REQUEST} tools; remove some")));
        }
        if request.messages.iter().any(|message| message.parts.len() > MAX_PARTS_PER_MESSAGE) {
            let reason = format!("a message has more than {MAX_PARTS_PER_MESSAGE} parts; join them");
            return Err(Refusal::new(reason));
        }
        let size = RequestSize::of(request);
        if size.text > self.text_bytes {
            return Err(Refusal::new(format!("its text is larger than {} bytes; shorten it", self.text_bytes)));
        }
        if size.media > self.media_bytes {
            let reason = format!("its images and files are larger than {} bytes; make them smaller", self.media_bytes);
            return Err(Refusal::new(reason));
        }
        Ok(())
    }
}

/// The bytes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestSize {
    /// Bytes of text, schemas and further fields.
    pub(crate) text: u64,
    /// Bytes of images and files.
    pub(crate) media: u64,
    /// The number of images and files.
    pub(crate) media_count: u64,
}

impl RequestSize {
    pub(crate) fn of(request: &ChatRequest) -> Self {
        let mut size = Self::default();
        for message in &request.messages {
            size.add_text(message.name.as_deref().unwrap_or_default());
            size.add_parts(&message.parts);
        }
        for tool in &request.tools {
            size.add_text(&tool.name);
            size.add_text(&tool.description);
            size.text += json_bytes(&tool.parameters);
        }
        if let OutputFormat::JsonSchema { schema, .. } = &request.output {
            size.text += json_bytes(schema);
        }
        size.text += request.extra.iter().map(|(name, value)| bytes(name) + json_bytes(value)).sum::<u64>();
        size.text += request.stop.iter().map(|stop| bytes(stop)).sum::<u64>();
        size
    }

    fn add_parts(&mut self, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Text { text, .. } | Part::Refusal(text) => self.add_text(text),
                Part::Reasoning { text, signature, redacted } => {
                    self.add_text(text);
                    self.add_text(signature.as_deref().unwrap_or_default());
                    self.add_text(redacted.as_deref().unwrap_or_default());
                }
                Part::ToolCall(call) => {
                    self.add_text(&call.id);
                    self.add_text(&call.name);
                    self.add_text(&call.arguments);
                    self.add_text(call.signature.as_deref().unwrap_or_default());
                }
                Part::ToolResult(result) => self.add_parts(&result.parts),
                Part::Image(media) | Part::File(media) => {
                    self.media_count += 1;
                    match &media.source {
                        MediaSource::Bytes(content) => {
                            self.media += u64::try_from(content.len()).unwrap_or(u64::MAX);
                        }
                        MediaSource::Url(text) | MediaSource::FileId(text) => self.add_text(text),
                    }
                }
            }
        }
    }

    fn add_text(&mut self, text: &str) {
        self.text += bytes(text);
    }
}

fn bytes(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// Returns the bytes of the strings, names and punctuation of JSON, as close as an estimate needs.
fn json_bytes(value: &serde_json::Value) -> u64 {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => bytes(text) + 2,
        Value::Array(items) => items.iter().map(|item| json_bytes(item) + 1).sum::<u64>() + 2,
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| bytes(name) + json_bytes(field) + 4).sum::<u64>() + 2
        }
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::{clock::Clock, id::Id};
    use serde_json::json;

    use super::*;
    use crate::chat::{Media, Message, Role, Tool};

    #[tokio::test]
    async fn requests_beyond_a_limit_are_refused() {
        let caller = AiCaller::of_tenant(Id::new(Clock::system().now()));
        let limits = SizeLimits { text_bytes: 100, media_bytes: 10, messages: 2 };
        let text = |length: usize| ChatRequest::new("m", [Message::user("x".repeat(length))]);
        let image = |length: usize| {
            let media = Media::bytes(vec![0; length], "image/png");
            ChatRequest::new("m", [Message::new(Role::User, vec![Part::Image(media)])])
        };
        for (mut request, refused) in [
            (text(100), false),
            (text(101), true),
            (image(10), false),
            (image(11), true),
            (ChatRequest::new("m", (0..2).map(|_| Message::user(""))), false),
            (ChatRequest::new("m", (0..3).map(|_| Message::user(""))), true),
            (text(50).tool(Tool::new("t", "d".repeat(60), json!({}))), true),
        ] {
            assert_eq!(limits.check_input(&caller, &mut request).await.is_err(), refused, "{request:?}");
        }
    }
}
