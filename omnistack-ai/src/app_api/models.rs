//! The models that are available, with their prices.

use axum::extract::State;
use omnistack_core::{http::Json, module::Api};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppApi;
use crate::{
    catalog::{Cost, ModelInfo, ModelMode, TokenPrices},
    openai_api::is_available,
};

/// Tokens that prices of the list are for.
const TOKENS_PER_PRICE: i64 = 1_000_000;

/// Returns the route.
pub(super) fn api() -> Api<AppApi> {
    Api::new().routes(routes!(list))
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
struct AiModel {
    /// The name at the provider.
    id: String,
    /// The provider.
    provider: String,
    /// The kind of API of the model: `chat`, `responses` or `embedding`.
    mode: &'static str,
    /// The price of a million tokens of input, in USD; `null` if it is not known. Long inputs and tokens in the
    /// provider's cache can have other prices.
    #[schema(required)]
    input_price: Option<Cost>,
    /// The price of a million tokens of output, in USD; `null` if it is not known.
    #[schema(required)]
    output_price: Option<Cost>,
    /// The day on which the provider shuts the model down; `null` if it is not known.
    #[schema(required)]
    retires_on: Option<String>,
    /// The model that replaces it; `null` if it is not known.
    #[schema(required)]
    successor: Option<String>,
}

impl From<&ModelInfo> for AiModel {
    fn from(info: &ModelInfo) -> Self {
        let price = |pico: i64| Cost::from_pico(pico.saturating_mul(TOKENS_PER_PRICE));
        Self {
            id: info.id.clone(),
            provider: info.provider.clone(),
            mode: match info.mode {
                ModelMode::Chat => "chat",
                ModelMode::Responses => "responses",
                ModelMode::Embedding => "embedding",
            },
            input_price: info.prices.as_ref().and_then(TokenPrices::standard).map(|prices| price(prices.input)),
            output_price: info.prices.as_ref().and_then(TokenPrices::standard).map(|prices| price(prices.output)),
            retires_on: info.retires_on.map(|day| day.to_string()),
            successor: info.successor.as_ref().map(ToString::to_string),
        }
    }
}

/// The models.
#[derive(Debug, Serialize, ToSchema)]
struct AiModels {
    /// Those of the providers at which the app has an account.
    items: Vec<AiModel>,
}

/// List the models
///
/// Those of the providers at which the app has an account. Needs `ai:read`.
#[utoipa::path(get, path = "/models", operation_id = "list_ai_models", responses((status = 200, body = AiModels)))]
async fn list(State(api): State<AppApi>) -> Json<AiModels> {
    let models = api.gateway.catalog().models().iter().filter(|info| is_available(&api.gateway, info));
    Json(AiModels { items: models.map(Into::into).collect() })
}
