//! Answers that arrive in pieces.

use std::pin::Pin;

use futures_util::Stream;
use serde_json::Value;

use super::{
    answer::{ChatResponse, StopKind, StopReason, TokenUsage},
    request::{Part, ToolCall},
};
use crate::error::LlmError;

/// A piece of an answer. The events of one `index` belong to one part of the answer, whose pieces can alternate with
/// those of others.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ChatEvent {
    /// The answer begins.
    Start {
        /// The provider's id of the answer.
        id: String,
        /// The model that answers.
        model: String,
    },
    /// Text.
    Text {
        /// The part.
        index: usize,
        /// The piece.
        delta: String,
    },
    /// Reasoning.
    Reasoning {
        /// The part.
        index: usize,
        /// The piece.
        delta: String,
    },
    /// The signature of reasoning, or encrypted reasoning.
    ReasoningSignature {
        /// The part.
        index: usize,
        /// The signature.
        signature: Option<String>,
        /// The encrypted reasoning.
        redacted: Option<String>,
    },
    /// A refusal.
    Refusal {
        /// The part.
        index: usize,
        /// The piece.
        delta: String,
    },
    /// The model begins a call of a tool.
    ToolCallStart {
        /// The part.
        index: usize,
        /// The id of the call.
        id: String,
        /// The name of the tool.
        name: String,
    },
    /// Arguments of a call.
    ToolCallArguments {
        /// The part.
        index: usize,
        /// The piece.
        delta: String,
    },
    /// The signature of the reasoning before a call.
    ToolCallSignature {
        /// The part.
        index: usize,
        /// The signature.
        signature: String,
    },
    /// The tokens so far. The last one counts; they are not added.
    Usage {
        /// The tokens.
        usage: TokenUsage,
        /// The usage as the provider sent it.
        raw: Value,
    },
    /// The service tier that answers.
    ServiceTier(String),
    /// A remark, such as a parameter that the provider does not have.
    Warning(String),
    /// The answer is complete. It is the last event; a stream without it was interrupted.
    End(StopReason),
}

/// An answer that arrives in pieces. After an error or [`ChatEvent::End`], nothing follows.
pub type ChatStream = Pin<Box<dyn Stream<Item = Result<ChatEvent, LlmError>> + Send>>;

/// A builder of an answer from its pieces.
#[derive(Clone, Debug, Default)]
pub struct StreamAssembler {
    id: String,
    model: String,
    parts: Vec<(usize, Part)>,
    stop: Option<StopReason>,
    usage: Option<TokenUsage>,
    raw_usage: Option<Value>,
    service_tier: Option<String>,
    warnings: Vec<String>,
}

impl StreamAssembler {
    /// Adds a piece. A piece of arguments without a call is ignored.
    pub fn push(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Start { id, model } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            ChatEvent::Text { index, delta } => {
                if let Part::Text { text, .. } = self.part(*index, || Part::text("")) {
                    text.push_str(delta);
                }
            }
            ChatEvent::Reasoning { index, delta } => {
                if let Part::Reasoning { text, .. } = self.part(*index, empty_reasoning) {
                    text.push_str(delta);
                }
            }
            ChatEvent::ReasoningSignature { index, signature, redacted } => {
                if let Part::Reasoning { signature: known, redacted: hidden, .. } = self.part(*index, empty_reasoning) {
                    if signature.is_some() {
                        known.clone_from(signature);
                    }
                    if redacted.is_some() {
                        hidden.clone_from(redacted);
                    }
                }
            }
            ChatEvent::Refusal { index, delta } => {
                if let Part::Refusal(text) = self.part(*index, || Part::Refusal(String::new())) {
                    text.push_str(delta);
                }
            }
            ChatEvent::ToolCallStart { index, id, name } => {
                self.part(*index, || Part::ToolCall(ToolCall::new(id, name, "")));
            }
            ChatEvent::ToolCallArguments { index, delta } => {
                if let Some(call) = self.tool_call(*index) {
                    call.arguments.push_str(delta);
                }
            }
            ChatEvent::ToolCallSignature { index, signature } => {
                if let Some(call) = self.tool_call(*index) {
                    call.signature = Some(signature.clone());
                }
            }
            ChatEvent::Usage { usage, raw } => {
                self.usage = Some(*usage);
                self.raw_usage = Some(raw.clone());
            }
            ChatEvent::ServiceTier(tier) => self.service_tier = Some(tier.clone()),
            ChatEvent::Warning(warning) => self.warnings.push(warning.clone()),
            ChatEvent::End(stop) => self.stop = Some(stop.clone()),
        }
    }

    /// Returns the answer so far. Without [`ChatEvent::End`] it is [`StopKind::Interrupted`].
    pub fn finish(self) -> ChatResponse {
        let mut parts = self.parts;
        parts.sort_by_key(|(index, _)| *index);
        ChatResponse {
            id: self.id,
            model: self.model,
            parts: parts.into_iter().map(|(_, part)| part).collect(),
            stop: self.stop.unwrap_or_else(|| StopReason::new(StopKind::Interrupted, None)),
            usage: self.usage,
            raw_usage: self.raw_usage,
            service_tier: self.service_tier,
            warnings: self.warnings,
        }
    }

    /// Returns the last usage.
    pub const fn usage(&self) -> Option<&TokenUsage> {
        self.usage.as_ref()
    }

    /// Returns the bytes of text, reasoning and arguments so far, by which tokens are estimated.
    pub fn output_bytes(&self) -> usize {
        let bytes = self.parts.iter().map(|(_, part)| match part {
            Part::Text { text, .. } | Part::Reasoning { text, .. } | Part::Refusal(text) => text.len(),
            Part::ToolCall(call) => call.name.len() + call.arguments.len(),
            _ => 0,
        });
        bytes.sum()
    }

    fn part(&mut self, index: usize, create: impl FnOnce() -> Part) -> &mut Part {
        let position = self.parts.iter().position(|(at, _)| *at == index);
        let position = position.unwrap_or_else(|| {
            self.parts.push((index, create()));
            self.parts.len() - 1
        });
        &mut self.parts[position].1
    }

    fn tool_call(&mut self, index: usize) -> Option<&mut ToolCall> {
        self.parts.iter_mut().find(|(at, _)| *at == index).and_then(|(_, part)| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }
}

fn empty_reasoning() -> Part {
    Part::Reasoning { text: String::new(), signature: None, redacted: None }
}
