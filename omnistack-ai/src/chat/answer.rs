//! Answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::request::{Part, ToolCall, text_of};

/// The kind of reason for which an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopKind {
    /// The answer is complete.
    Stop,
    /// The maximum number of tokens is reached.
    Length,
    /// The model asks for tools.
    ToolCalls,
    /// A content filter ended the answer.
    ContentFilter,
    /// The model refused to answer.
    Refusal,
    /// The provider paused the turn. The request continues if it is sent again with the answer.
    Paused,
    /// The answer ended before it was complete.
    Interrupted,
    /// Another reason.
    Other,
}

/// The reason for which an answer ended. It is corrected by the content: an answer with tool calls has
/// [`StopKind::ToolCalls`], whatever the provider says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StopReason {
    /// The kind.
    pub unified: StopKind,
    /// The provider's own text, such as `end_turn`.
    #[schema(required)]
    pub raw: Option<String>,
}

impl StopReason {
    /// Creates a reason.
    pub fn new(unified: StopKind, raw: impl Into<Option<String>>) -> Self {
        Self { unified, raw: raw.into() }
    }
}

/// The tokens that a call used. The parts are contained in the totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenUsage {
    /// All tokens of the input: new ones, those read from the provider's cache and those written to it.
    pub input: u64,
    /// Tokens of the input that were read from the provider's cache.
    pub cached: u64,
    /// Tokens of the input that were written to the provider's cache, for its shortest time.
    pub cache_write: u64,
    /// Tokens of the input that were written to the provider's cache for an hour or longer.
    pub cache_write_long: u64,
    /// All tokens of the output, reasoning included.
    pub output: u64,
    /// Tokens of the output that are reasoning.
    pub reasoning: u64,
}

impl TokenUsage {
    /// Returns all tokens.
    pub const fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChatResponse {
    /// The provider's id of the answer.
    pub id: String,
    /// The model that answered, which can differ from the one that was asked.
    pub model: String,
    /// The content.
    pub parts: Vec<Part>,
    /// The reason for which the answer ended.
    pub stop: StopReason,
    /// The tokens. `None` if the provider did not say.
    pub usage: Option<TokenUsage>,
    /// The usage as the provider sent it.
    pub raw_usage: Option<Value>,
    /// The service tier that answered, which decides the price.
    pub service_tier: Option<String>,
    /// Parameters of the request that the provider does not have, and other remarks.
    pub warnings: Vec<String>,
}

impl ChatResponse {
    /// Creates an answer.
    pub fn new(id: impl Into<String>, model: impl Into<String>, parts: Vec<Part>, stop: StopReason) -> Self {
        Self {
            id: id.into(),
            model: model.into(),
            parts,
            stop,
            usage: None,
            raw_usage: None,
            service_tier: None,
            warnings: Vec::new(),
        }
    }

    /// Returns the text of the answer.
    pub fn text(&self) -> String {
        text_of(&self.parts)
    }

    /// Returns the calls of tools that the model asks for.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }
}
