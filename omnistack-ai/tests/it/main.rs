//! Tests of the AI gateway.

mod accounting;
mod app_api;
mod exports;
mod fake;
mod fixes;
mod gateway;
#[cfg(feature = "providers")]
mod http_provider;
#[cfg(feature = "mcp")]
mod mcp;
mod model_names;
mod openai_api;
#[cfg(all(feature = "providers", feature = "mcp"))]
mod peers;
#[cfg(feature = "postgres")]
mod pgvector;
mod prompts;
mod reports;
mod router;
mod vectors;
