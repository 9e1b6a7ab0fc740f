//! Calls of models: for whom and how they are made, and what they used.

mod options;
mod summary;

pub use options::{AiCaller, CachePolicy, CallOptions};
pub use summary::{AiCallMarker, AttemptSummary, CallId, CallSummary};
