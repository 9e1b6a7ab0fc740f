//! Conversations with models, in the terms that all providers share.

mod answer;
mod replay;
mod request;
mod stream;

pub use answer::{ChatResponse, StopKind, StopReason, TokenUsage};
pub use request::{
    CacheLifetime, CallTimeouts, ChatRequest, Media, MediaSource, Message, OutputFormat, Part, ReasoningEffort, Role, Tool, ToolCall, ToolChoice,
    ToolResult,
};
pub(crate) use replay::events_of;
pub use stream::{ChatEvent, ChatStream, StreamAssembler};
