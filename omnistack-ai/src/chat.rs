//! Conversations with models, in the terms that all providers share.

mod answer;
mod replay;
mod request;
mod stream;

pub use answer::{ChatResponse, StopKind, StopReason, TokenUsage};
pub(crate) use replay::events_of;
pub use request::{
    CacheLifetime, CallTimeouts, ChatRequest, Media, MediaSource, Message, OutputFormat, Part, ReasoningEffort, Role,
    Tool, ToolCall, ToolChoice, ToolResult,
};
pub use stream::{ChatEvent, ChatStream, StreamAssembler};
