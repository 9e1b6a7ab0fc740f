//! Requests.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The role of the author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions of the app. OpenAI's `developer` is the same.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The results of tools.
    Tool,
}

/// The source of an image or of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaSource {
    /// The bytes themselves.
    Bytes(Bytes),
    /// A URL, which the gateway fetches if the provider does not.
    Url(String),
    /// The id of a file that was uploaded to the provider before.
    FileId(String),
}

/// An image, a sound or a document in a message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(clippy::struct_field_names, reason = "`media_type` is the term of HTTP")]
pub struct Media {
    /// The source.
    pub source: MediaSource,
    /// The media type, such as `image/png`. `None` if it is not known.
    pub media_type: Option<String>,
    /// The name of the file.
    pub name: Option<String>,
    /// The resolution at which the model looks at an image: `low`, `high` or `auto`.
    pub detail: Option<String>,
}

impl Media {
    /// Creates media of bytes.
    pub fn bytes(bytes: impl Into<Bytes>, media_type: impl Into<String>) -> Self {
        Self { source: MediaSource::Bytes(bytes.into()), media_type: Some(media_type.into()), name: None, detail: None }
    }

    /// Creates media at a URL.
    pub fn url(url: impl Into<String>) -> Self {
        Self { source: MediaSource::Url(url.into()), media_type: None, name: None, detail: None }
    }
}

/// A call of a tool that a model asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// The id, which the result repeats.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// The arguments: JSON as the model wrote it, which can be invalid.
    pub arguments: String,
    /// The signature of the reasoning before the call. Gemini requires it in the next request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl ToolCall {
    /// Creates a call.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into(), arguments: arguments.into(), signature: None }
    }
}

/// The result of a tool.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ToolResult {
    /// The id of the call.
    pub call_id: String,
    /// The name of the tool, if it is known. Gemini requires it; the gateway finds it by the id.
    pub name: Option<String>,
    /// The result: text, and images if the provider accepts them.
    pub parts: Vec<Part>,
    /// Whether the tool failed.
    pub is_error: bool,
}

impl ToolResult {
    /// Creates a result of text.
    pub fn text(call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { call_id: call_id.into(), name: None, parts: vec![Part::text(text)], is_error: false }
    }
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// Whether the provider should keep the conversation up to here in its cache, and for how long.
        cache: Option<CacheLifetime>,
    },
    /// An image.
    Image(Media),
    /// A document, such as a PDF.
    File(Media),
    /// A call that the model asked for.
    ToolCall(ToolCall),
    /// The result of a call.
    ToolResult(ToolResult),
    /// The reasoning of the model.
    Reasoning {
        /// The text, which may be a summary.
        text: String,
        /// The signature that the provider verifies in the next request.
        signature: Option<String>,
        /// Encrypted reasoning instead of a text.
        redacted: Option<String>,
    },
    /// The model's refusal to answer.
    Refusal(String),
}

impl Part {
    /// Creates a part of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), cache: None }
    }
}

/// The time for which a provider keeps a prefix of the conversation in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheLifetime {
    /// The provider's shortest time, such as 5 minutes.
    Short,
    /// One hour.
    Hour,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The author.
    pub role: Role,
    /// The content, in order.
    pub parts: Vec<Part>,
    /// The name of the author, which distinguishes users.
    pub name: Option<String>,
}

impl Message {
    /// Creates a message.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, parts, name: None }
    }

    /// Creates instructions for the model.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, vec![Part::text(text)])
    }

    /// Creates a message of the user.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, vec![Part::text(text)])
    }

    /// Creates a message of the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, vec![Part::text(text)])
    }

    /// Creates the message with the results of tools.
    pub fn tool_results(results: impl IntoIterator<Item = ToolResult>) -> Self {
        Self::new(Role::Tool, results.into_iter().map(Part::ToolResult).collect())
    }

    /// Returns the text of the message, without other parts.
    pub fn to_text(&self) -> String {
        text_of(&self.parts)
    }
}

/// Returns the text in parts.
pub(crate) fn text_of(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tool {
    /// The name.
    pub name: String,
    /// The description of the tool, by which the model decides when to call it.
    pub description: String,
    /// The JSON schema of the arguments.
    pub parameters: Value,
    /// Whether the provider guarantees that the arguments match the schema.
    pub strict: bool,
    /// Whether the tool is strict only by default, because its request does not say otherwise. Providers at which a
    /// request can have few strict tools don't get it as one.
    pub(crate) is_strict_by_default: bool,
}

impl Tool {
    /// Creates a tool.
    pub fn new(name: impl Into<String>, description: impl Into<String>, parameters: Value) -> Self {
        let (name, description) = (name.into(), description.into());
        Self { name, description, parameters, strict: false, is_strict_by_default: false }
    }
}

/// Whether the model must call a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// The model calls none.
    None,
    /// The model calls at least one.
    Required,
    /// The model calls this one.
    Named(String),
}

/// The form of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum OutputFormat {
    /// Text.
    #[default]
    Text,
    /// A JSON object of any form.
    JsonObject,
    /// JSON that matches a schema. The gateway translates the schema for the provider and validates the answer.
    JsonSchema {
        /// The name of the schema.
        name: String,
        /// The JSON schema.
        schema: Value,
        /// Whether the provider must guarantee the form.
        strict: bool,
    },
}

/// The effort that the model spends on reasoning before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningEffort {
    /// No reasoning.
    None,
    /// The least that the model offers.
    Minimal,
    /// Little reasoning.
    Low,
    /// The usual reasoning.
    Medium,
    /// Much reasoning.
    High,
    /// The most that the model offers.
    #[serde(rename = "xhigh")]
    Highest,
}

/// A request for an answer in a conversation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The model: the name at the provider, or for the gateway also an alias or a route.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must call one.
    pub tool_choice: ToolChoice,
    /// Whether it may call several at once. `None`: the provider's default.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub output: OutputFormat,
    /// The maximum number of tokens of the answer, reasoning included.
    pub max_output_tokens: Option<u64>,
    /// The randomness of the answer.
    pub temperature: Option<f64>,
    /// The probability mass from which tokens are chosen.
    pub top_p: Option<f64>,
    /// Texts at which the answer ends.
    pub stop: Vec<String>,
    /// The seed of the randomness.
    pub seed: Option<i64>,
    /// The effort of reasoning.
    pub reasoning: Option<ReasoningEffort>,
    /// The service tier to ask for, such as `flex`.
    pub service_tier: Option<String>,
    /// An id of the end user, which the provider uses against abuse.
    pub user: Option<String>,
    /// Further fields in the form of the API through which the request came. They are sent to a provider whose API has
    /// them, and they are part of the key of the cache.
    pub extra: Map<String, Value>,
}

impl ChatRequest {
    /// Creates a request.
    pub fn new(model: impl Into<String>, messages: impl IntoIterator<Item = Message>) -> Self {
        Self {
            model: model.into(),
            messages: messages.into_iter().collect(),
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: None,
            output: OutputFormat::Text,
            max_output_tokens: None,
            temperature: None,
            top_p: None,
            stop: Vec::new(),
            seed: None,
            reasoning: None,
            service_tier: None,
            user: None,
            extra: Map::new(),
        }
    }

    /// Sets the maximum number of tokens of the answer.
    #[must_use]
    pub fn max_output_tokens(mut self, tokens: u64) -> Self {
        self.max_output_tokens = Some(tokens);
        self
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Asks for JSON of a type.
    #[must_use]
    pub fn output_of<T: schemars::JsonSchema>(mut self) -> Self {
        let schema = schemars::schema_for!(T).to_value();
        self.output = OutputFormat::JsonSchema { name: T::schema_name().into_owned(), schema, strict: true };
        self
    }
}

/// The time limits of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTimeouts {
    /// The longest time until the first part of the answer arrives.
    pub first_byte: Duration,
    /// The longest time between two parts.
    pub idle: Duration,
    /// The longest time of the whole call.
    pub total: Duration,
}

impl Default for CallTimeouts {
    fn default() -> Self {
        Self { first_byte: Duration::from_secs(60), idle: Duration::from_secs(30), total: Duration::from_secs(600) }
    }
}
