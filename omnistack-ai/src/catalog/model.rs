//! Models.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Cost, TokenPrices};
use crate::{chat::TokenUsage, provider::ModelCapabilities};

/// The kind of API that a model is called by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelMode {
    /// Conversations.
    #[default]
    Chat,
    /// Conversations, by OpenAI's Responses API only.
    Responses,
    /// Embeddings.
    Embedding,
}

/// A model at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelTarget {
    /// The name of the provider.
    pub provider: String,
    /// The name of the model at the provider.
    pub model: String,
}

impl ModelTarget {
    /// Creates a target.
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self { provider: provider.into(), model: model.into() }
    }

    /// Reads a target of the form `provider/model`. The model may contain further slashes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (provider, model) = text.split_once('/')?;
        (!provider.is_empty() && !model.is_empty()).then(|| Self::new(provider, model))
    }
}

impl fmt::Display for ModelTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// The facts about a model: its limits, its prices, and how long its provider offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The name of the provider.
    pub provider: String,
    /// The name of the model at the provider.
    pub id: String,
    /// The kind of API.
    pub mode: ModelMode,
    /// The maximum number of tokens of the input.
    pub max_input: Option<u64>,
    /// The maximum number of tokens of the output.
    pub max_output: Option<u64>,
    /// The prices. `None` if they are not known.
    pub prices: Option<TokenPrices>,
    /// The date from which on the provider does not offer the model, in UTC.
    pub retires_on: Option<Date>,
    /// The model at the same provider that takes its place.
    pub successor: Option<String>,
    /// The capabilities.
    pub capabilities: ModelCapabilities,
    /// The model of which this is a deployment with another name. Prices and limits that the deployment does not state
    /// are those of this model, and so are the mode and the capabilities if it states neither.
    pub base_model: Option<String>,
}

impl ModelInfo {
    /// Returns the model as a target.
    pub fn target(&self) -> ModelTarget {
        ModelTarget::new(&self.provider, &self.id)
    }

    /// Returns whether the provider does not offer the model any more on a day.
    pub fn is_retired_on(&self, day: Date) -> bool {
        self.retires_on.is_some_and(|date| date <= day)
    }

    /// Returns the cost of tokens in a service tier. Returns `None` if the price is not known.
    pub fn cost(&self, usage: &TokenUsage, service_tier: Option<&str>) -> Option<Cost> {
        self.prices.as_ref()?.cost(usage, service_tier)
    }

    /// Returns the cost of a call whose input is new and whose output has the maximum length, at the standard price.
    /// Returns `None` if the price is not known.
    pub fn estimate(&self, input_tokens: u64, max_output: u64) -> Option<Cost> {
        self.cost(&TokenUsage { input: input_tokens, output: max_output, ..TokenUsage::default() }, None)
    }
}
