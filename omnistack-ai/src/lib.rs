//! The AI gateway: one door to the models of all providers, with budgets, routing and exact costs.
//!
//! The module [`Ai`] answers at the API of OpenAI (`/v1/chat/completions` and `/v1/responses`, with API keys of the app)
//! and at the app's own routes. Handlers and jobs call models through [`AiGateway`]:
//!
//! ```
//! use omnistack_ai::{Ai, AiCaller, AiGateway, CallOptions, ChatRequest, Message};
//! use omnistack_core::{app::App, config::Config, identity::TenantId};
//!
//! async fn summary(gateway: &AiGateway, tenant: TenantId, text: &str) -> Result<String, omnistack_ai::AiError> {
//!     let messages = [Message::system("Summarise in one sentence."), Message::user(text)];
//!     let request = ChatRequest::new("smart", messages).max_output_tokens(200);
//!     let answer = gateway.complete(AiCaller::of_tenant(tenant), request, CallOptions::default()).await?;
//!     Ok(answer.response.text())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> omnistack_core::Result<()> {
//! # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
//! // Without credentials of a provider in the settings, the built-in fake answers.
//! let app = App::builder(config).with(Ai::from_env()).build()?;
//! let gateway: AiGateway = app.context().get().unwrap();
//! # let _ = (gateway, summary);
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a call
//!
//! | step | effect |
//! |---|---|
//! | guardrails | check the request, and may change or refuse it |
//! | budgets | what the call can use at most is reserved for the tenant, the user and the API key |
//! | cache | an equal request may return the stored answer |
//! | router | puts the models of the route in order: by price, health, complexity, weight |
//! | attempts | the next model is asked while no part of an answer was passed on |
//! | settlement | replaces the reservation by what was used, and records the usage, in one transaction |
//!
//! A call is settled whatever becomes of it: after an error, if the caller leaves, and after the process was killed.
//!
//! # Providers and models
//!
//! An [`LlmProvider`] makes one call. `HttpProvider` (feature `providers`) speaks the APIs of OpenAI, Anthropic, Gemini
//! and Groq, and any other URL with the API of OpenAI; [`FakeLlm`] is the built-in fake. Models and their prices are data
//! ([`ModelCatalog`]): no name of a model is in the code.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod accounting;
mod app_api;
mod cache;
mod call;
mod catalog;
mod chat;
mod embedding;
mod error;
mod export;
mod fake;
mod fix;
#[cfg(feature = "providers")]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod guardrail;
#[cfg(feature = "providers")]
mod http_provider;
mod json_schema;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(not(feature = "mcp"))]
#[path = "mcp/settings.rs"]
mod mcp;
mod media;
mod module;
mod openai_api;
mod prompt;
mod provider;
mod provider_settings;
mod reports;
mod router;
mod vector;
#[cfg(feature = "providers")]
mod wire;

pub use accounting::{
    Accounting, AiBudgetMarker, AiBudgetThresholdReached, BudgetId, BudgetPeriod, BudgetScope, CallOutcome, CallStart,
    CallStatus, OpenCall,
};
pub use call::{AiCallMarker, AiCaller, AttemptSummary, CachePolicy, CallId, CallOptions, CallSummary};
pub use catalog::{
    CatalogError, Cost, InvalidCost, ModelCatalog, ModelInfo, ModelMode, ModelTarget, Resolved, TokenPrice, TokenPrices,
};
pub use chat::*;
pub use embedding::{EmbeddingRequest, Embeddings};
pub use error::{LlmError, LlmErrorKind, TimeoutPhase};
pub use fake::FakeLlm;
#[cfg(feature = "github")]
pub use fix::GitHub;
pub use fix::{
    CodeBranch, CodeChange, CodeFile, CodeHost, CodeHostError, CodeHostErrorKind, FakeCodeHost, FakePullRequest,
    NewPullRequest, PullRequest,
};
pub use gateway::{AiError, AiGateway, GatewayAnswer, GatewayEmbeddings, GatewayEvent, GatewayStream};
pub use guardrail::{ContentModeration, Guardrail, PiiRedactor, PromptInjectionCheck, Refusal, TextClassifier};
#[cfg(feature = "providers")]
pub use http_provider::HttpProvider;
pub use module::Ai;
pub use prompt::{
    PromptAccess, PromptContent, PromptMessage, PromptRole, PromptSelection, PromptVariable, Prompts, RenderedPrompt,
    WeightedVersion,
};
pub use provider::{Call, LlmProvider, ModelCapabilities, ProviderModel, RateLimitLevel, RateLimitLevels};
pub use router::{
    AiRouter, Complexity, EmbeddingRouteQuery, EndingModel, ModelHealth, ModelRoutes, ProviderHealth, RouteQuery,
    RouteStrategy, RouteTarget, RoutesError, complexity_of,
};
#[cfg(feature = "qdrant")]
pub use vector::QdrantIndex;
pub use vector::{
    DatabaseVectorIndex, DocumentStatus, EmbeddedTexts, MAX_POINTS_PER_CALL, MAX_VECTOR_DIMENSIONS, MAX_VECTOR_RESULTS,
    MetadataFilter, NewVectorCollection, NewVectorDocument, NewVectorPoint, TextEmbedder, VectorCollection,
    VectorCollectionId, VectorCollectionMarker, VectorDocument, VectorError, VectorIndex, VectorMatch, VectorPoint,
    VectorQuery, VectorSearch, VectorSearchMode, VectorSpace, Vectors,
};
