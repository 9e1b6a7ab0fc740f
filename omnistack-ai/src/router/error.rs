//! The errors of the router.

use std::time::Duration;

use omnistack_core::{
    http::{Error, StatusCode},
    identity::Plan,
};

use crate::catalog::{MAX_MODEL_NAME_BYTES, ModelTarget};

/// Returns a name of a caller as messages show it.
fn shown(name: &str) -> String {
    let end = name.floor_char_boundary(MAX_MODEL_NAME_BYTES);
    name[..end].escape_debug().to_string()
}

/// Returns 404 `MODEL_NOT_FOUND`.
pub(super) fn unknown_model(asked: &str) -> Error {
    let asked = shown(asked);
    let message = format!(
        "the model `{asked}` is not known; ask for a model of the list of models, or write `provider/model` for another \
         one of a provider that the app uses"
    );
    Error::new(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND", message).with_detail("model", asked)
}

/// Returns 404 `MODEL_NOT_FOUND` for a model of a provider that the app does not use.
pub(super) fn not_set_up(asked: &str, provider: &str) -> Error {
    let (asked, provider) = (shown(asked), shown(provider));
    let message = format!(
        "the app does not use the provider `{provider}` of the model `{asked}`; ask for another model, or let the operator \
         of the app set the credentials of the provider"
    );
    let error = Error::new(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND", message);
    error.with_detail("model", asked).with_detail("provider", provider)
}

/// Returns 404 `AI_PROVIDER_NOT_FOUND`.
pub(super) fn unknown_provider(provider: &str) -> Error {
    let provider = shown(provider);
    let message = format!("the app does not use the provider `{provider}`; ask for another one, or name none");
    Error::new(StatusCode::NOT_FOUND, "AI_PROVIDER_NOT_FOUND", message).with_detail("provider", provider)
}

/// Returns 410 `MODEL_RETIRED`.
pub(super) fn retired(asked: &str, successor: Option<&ModelTarget>) -> Error {
    let asked = shown(asked);
    let hint = successor.map_or_else(
        || "ask for another model".to_owned(),
        |successor| format!("ask for its successor `{}`", successor.model),
    );
    let message = format!("the provider of the model `{asked}` does not offer it any more; {hint}");
    Error::new(StatusCode::GONE, "MODEL_RETIRED", message)
        .with_detail("model", asked)
        .with_detail("successor", successor.map(|successor| successor.model.as_str()))
}

/// Returns 403 `MODEL_NOT_ALLOWED`.
pub(super) fn not_allowed(asked: &str, plan: &Plan) -> Error {
    let asked = shown(asked);
    let message = format!(
        "the plan `{}` does not include the model `{asked}`; ask for another model, or change the plan",
        plan.key
    );
    let error = Error::new(StatusCode::FORBIDDEN, "MODEL_NOT_ALLOWED", message);
    error.with_detail("model", asked).with_detail("plan", &plan.key)
}

/// Returns 422 `MODEL_NOT_SUITABLE`.
pub(super) fn not_suitable(asked: &str, needs: &[&'static str]) -> Error {
    let asked = shown(asked);
    let message = format!("the model `{asked}` does not support {}; ask for another model", needs.join(" and "));
    let error = Error::new(StatusCode::UNPROCESSABLE_ENTITY, "MODEL_NOT_SUITABLE", message);
    error.with_detail("model", asked).with_detail("needs", needs)
}

/// Returns 422 `MODEL_PRICE_UNKNOWN`.
pub(super) fn price_unknown(asked: &str) -> Error {
    let asked = shown(asked);
    let message = format!(
        "the price of the model `{asked}` is not known, and the app refuses such models; ask for another model, or let the \
         operator of the app add its price to AI_MODELS_FILE"
    );
    Error::new(StatusCode::UNPROCESSABLE_ENTITY, "MODEL_PRICE_UNKNOWN", message).with_detail("model", asked)
}

/// Returns 429 `PROVIDER_RATE_LIMITED`, with the time after which a provider accepts calls again.
pub(super) fn all_wait(wait: Duration) -> Error {
    // Rounded up: a caller that comes back at the time is not refused again.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let message = format!("all providers of the model ask to wait; try again in {seconds} s");
    Error::new(StatusCode::TOO_MANY_REQUESTS, "PROVIDER_RATE_LIMITED", message)
        .with_detail("retry_after_ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
        .with_header(http::header::RETRY_AFTER, http::HeaderValue::from(seconds))
}
