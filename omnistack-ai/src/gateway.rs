//! The gateway: one door to all models.

mod answer;
mod request;

pub use answer::{AiError, AttemptSummary, CallSummary, GatewayAnswer, GatewayEmbeddings, GatewayEvent, GatewayStream};
pub use request::{AiCaller, CachePolicy, CallOptions};
