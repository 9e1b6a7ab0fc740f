//! The providers that are available.

use axum::extract::State;
use omnistack_core::{http::Json, module::Api};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::AppApi;

/// Returns the route.
pub(super) fn api() -> Api<AppApi> {
    Api::new().routes(routes!(status))
}

/// The providers that are available.
#[derive(Debug, Serialize, ToSchema)]
struct AiStatus {
    /// Whether any provider is available.
    is_ai_available: bool,
    /// The providers at which the app has an account.
    available_providers: Vec<String>,
    /// The model of requests that name none.
    default_model: String,
}

/// Get the providers that are available
///
/// Needs `ai:read`.
#[utoipa::path(get, path = "/status", operation_id = "get_ai_status", responses((status = 200, body = AiStatus)))]
async fn status(State(api): State<AppApi>) -> Json<AiStatus> {
    let available_providers: Vec<String> =
        api.gateway.providers().iter().map(|provider| provider.name().to_owned()).collect();
    Json(AiStatus {
        is_ai_available: !available_providers.is_empty(),
        available_providers,
        default_model: api.settings.default_model.clone(),
    })
}
