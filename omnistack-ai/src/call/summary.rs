//! The account of a call.

use std::{borrow::Cow, time::Duration};

use omnistack_core::id::Id;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{catalog::Cost, chat::TokenUsage};

/// Marker type of call ids: see [`CallId`].
#[derive(Clone, Copy, Debug)]
pub enum AiCallMarker {}

/// The id of a call in the ledger.
pub type CallId = Id<AiCallMarker>;

/// One attempt to get an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct AttemptSummary {
    /// The provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The reason for the choice, such as `cheapest of smart`.
    pub reason: String,
    /// The error, if the attempt failed: the name of its kind, such as `rate_limited`.
    #[schema(required)]
    pub error: Option<Cow<'static, str>>,
    /// The time from the request to the first byte of the answer, or to the error, in milliseconds.
    pub duration_ms: u64,
}

/// The account of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct CallSummary {
    /// The id of the call in the ledger.
    #[schema(value_type = String, format = Uuid)]
    pub id: CallId,
    /// The provider that answered.
    pub provider: String,
    /// The name that the caller asked for.
    pub asked_model: String,
    /// The model that answered.
    pub model: String,
    /// The route and the variant that the caller has in an experiment, such as `support@new`. `None` without an
    /// experiment.
    #[schema(required)]
    pub variant: Option<String>,
    /// The tokens.
    pub usage: TokenUsage,
    /// Whether the tokens are estimated because the provider did not say them.
    pub usage_is_estimated: bool,
    /// The cost. `None` if the price of the model is not known.
    #[schema(required)]
    pub cost: Option<Cost>,
    /// Whether the answer is from the cache.
    pub cached: bool,
    /// All attempts, the one that answered last.
    pub attempts: Vec<AttemptSummary>,
    /// The time of the whole call.
    #[serde(skip)]
    pub duration: Duration,
}
