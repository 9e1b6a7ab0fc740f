//! The routes of the router for operators: `/api/v1/admin/ai/models` and `/api/v1/admin/ai/providers`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{ErrorEnvelope, Json, Query},
    module::Api,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{AiRouter, health::ModelHealth};
use crate::catalog::{ModelInfo, ModelMode, TokenPrice, TokenPrices, day};

/// Returns the routes.
pub(super) fn api() -> Api<AiRouter> {
    Api::new().routes(routes!(list_models)).routes(routes!(list_providers))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AiModelsQuery {
    /// Only models of the provider with this name.
    #[garde(length(chars, max = 200))]
    #[param(max_length = 200)]
    provider: Option<String>,
    /// Only models of this kind.
    #[garde(skip)]
    mode: Option<ModelMode>,
    /// Only models whose provider the app uses (`true`), or does not use (`false`).
    #[garde(skip)]
    available: Option<bool>,
    /// Only models that end within so many days, or have ended, 0 to 3,650.
    #[garde(range(max = 3_650))]
    #[param(maximum = 3650)]
    ending_within_days: Option<u16>,
}

/// The models that the app knows.
#[derive(Debug, Serialize, ToSchema)]
struct AiModelList {
    /// The models, by provider and name.
    items: Vec<AiModelEntry>,
    /// The names that stand for other models.
    aliases: Vec<AiModelAlias>,
    /// The names of the routes.
    routes: Vec<String>,
}

/// A model that the app knows.
#[derive(Debug, Serialize, ToSchema)]
struct AiModelEntry {
    /// The name of the provider.
    provider: String,
    /// The name of the model at the provider.
    id: String,
    /// The kind of API.
    mode: ModelMode,
    /// The maximum number of tokens of the input; `null` if it is not known.
    #[schema(required)]
    max_input: Option<u64>,
    /// The maximum number of tokens of the output; `null` if it is not known.
    #[schema(required)]
    max_output: Option<u64>,
    /// The prices, in pico-USD per token, which is micro-USD per million tokens. Empty if they are not known.
    prices: Vec<TokenPrice>,
    /// The date from which on the provider does not offer the model; `null` if none is announced.
    #[schema(required, value_type = Option<String>, format = Date)]
    retires_on: Option<String>,
    /// Whether the provider does not offer the model any more.
    retired: bool,
    /// The model at the same provider that takes its place; `null` if it is not known.
    #[schema(required)]
    successor: Option<String>,
    /// The model of which this is a deployment with another name; `null` for others.
    #[schema(required)]
    base_model: Option<String>,
    /// Whether the app uses the provider.
    available: bool,
}

/// A name that stands for other models.
#[derive(Debug, Serialize, ToSchema)]
struct AiModelAlias {
    /// The name.
    name: String,
    /// The models as `provider/model`, in the order in which they are tried.
    targets: Vec<String>,
}

/// List AI models
///
/// The models of all providers with their prices and ends, the aliases and the routes.
#[utoipa::path(get, path = "/models", operation_id = "list_ai_models", params(AiModelsQuery), responses(
    (status = 200, body = AiModelList),
    (status = 422, body = ErrorEnvelope),
))]
async fn list_models(State(router): State<AiRouter>, Query(query): Query<AiModelsQuery>) -> Json<AiModelList> {
    let AiModelsQuery { provider, mode, available, ending_within_days } = query;
    let catalog = router.catalog();
    let today = day(router.now());
    let is_available = |model: &ModelInfo| router.providers().iter().any(|provider| provider.name() == model.provider);
    let models: Vec<&ModelInfo> = match ending_within_days {
        Some(days) => catalog.ending_within(days, router.now()),
        None => catalog.models().iter().collect(),
    };
    let items = models
        .into_iter()
        .filter(|model| provider.as_ref().is_none_or(|provider| *provider == model.provider))
        .filter(|model| mode.is_none_or(|mode| mode == model.mode))
        .filter(|model| available.is_none_or(|available| available == is_available(model)))
        .map(|model| AiModelEntry {
            provider: model.provider.clone(),
            id: model.id.clone(),
            mode: model.mode,
            max_input: model.max_input,
            max_output: model.max_output,
            prices: model.prices.as_ref().map(TokenPrices::rows).unwrap_or_default().to_vec(),
            retires_on: model.retires_on.map(|date| date.to_string()),
            retired: model.is_retired_on(today),
            successor: model.successor.clone(),
            base_model: model.base_model.clone(),
            available: is_available(model),
        });
    let aliases = catalog.aliases().map(|(name, targets)| AiModelAlias {
        name: name.to_owned(),
        targets: targets.iter().map(ToString::to_string).collect(),
    });
    let routes = router.route_names().map(str::to_owned).collect();
    Json(AiModelList { items: items.collect(), aliases: aliases.collect(), routes })
}

/// The providers that the app uses.
#[derive(Debug, Serialize, ToSchema)]
struct AiProviderList {
    /// The providers.
    items: Vec<AiProviderEntry>,
}

/// A provider that the app uses, and its health in the replica that answers.
#[derive(Debug, Serialize, ToSchema)]
struct AiProviderEntry {
    /// The name.
    name: String,
    /// The account whose rate limit counts. Providers with one account share its waiting time.
    account: String,
    /// The time for which the provider asks to wait, in milliseconds; `null` if it can be called.
    #[schema(required)]
    wait_ms: Option<u64>,
    /// Whether it is called last because its account has no money or its credentials are wrong.
    avoided: bool,
    /// The health of the models that were called, by name.
    models: Vec<ModelHealth>,
}

/// List AI providers
///
/// The providers that the app uses, with their health as the replica that answers has measured it.
#[utoipa::path(get, path = "/providers", operation_id = "list_ai_providers", responses(
    (status = 200, body = AiProviderList),
))]
async fn list_providers(State(router): State<AiRouter>) -> Json<AiProviderList> {
    let items = router.providers().iter().map(|provider| {
        let (wait, avoided) = router.health().account(provider.as_ref());
        AiProviderEntry {
            name: provider.name().to_owned(),
            account: provider.account().to_owned(),
            wait_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            avoided,
            models: router.health().models(provider.name()),
        }
    });
    Json(AiProviderList { items: items.collect() })
}
