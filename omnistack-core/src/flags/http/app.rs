//! `/api/v1/app/feature-flags`: what is on for the caller.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::super::{CallerFlags, Evaluation, Flags, Payload, Reason};
use crate::{
    app::Api,
    http::{Error, ErrorEnvelope, Json, Path},
};

pub(super) fn api() -> Api<Flags> {
    Api::new().routes(routes!(list)).routes(routes!(get))
}

/// A flag, as it is for the caller.
#[derive(Serialize, ToSchema)]
struct CallerFlag {
    /// Its name in code.
    key: String,
    /// Whether it is on.
    enabled: bool,
    /// What the caller gets.
    #[schema(required)]
    variant: Option<CallerVariant>,
    /// Why.
    reason: Reason,
}

/// What the caller gets.
#[derive(Serialize, ToSchema)]
struct CallerVariant {
    /// Its name.
    name: String,
    /// What to do with it.
    #[schema(required)]
    payload: Option<Payload>,
}

/// Every flag.
#[derive(Serialize, ToSchema)]
struct CallerFlagList {
    /// In the order of their keys.
    items: Vec<CallerFlag>,
}

impl CallerFlag {
    fn new(key: String, evaluation: &Evaluation) -> Self {
        let variant = evaluation
            .variant
            .as_ref()
            .map(|variant| CallerVariant { name: variant.name.clone(), payload: variant.payload.clone() });
        Self { key, enabled: evaluation.enabled, variant, reason: evaluation.reason }
    }
}

/// Evaluates every flag for the caller.
#[utoipa::path(get, path = "/", operation_id = "list_feature_flags", responses((status = 200, body = CallerFlagList)))]
async fn list(flags: CallerFlags) -> Json<CallerFlagList> {
    let items = flags.all().into_iter().map(|(key, evaluation)| CallerFlag::new(key, &evaluation)).collect();
    Json(CallerFlagList { items })
}

/// Evaluates a flag for the caller.
#[utoipa::path(get, path = "/{key}", operation_id = "get_feature_flag", params(("key" = String, Path)), responses(
    (status = 200, body = CallerFlag),
    (status = 404, body = ErrorEnvelope),
))]
async fn get(flags: CallerFlags, Path(key): Path<String>) -> Result<Json<CallerFlag>, Error> {
    if !flags.is_told(&key) {
        return Err(Error::not_found("the flag"));
    }
    let evaluation = flags.evaluate(&key);
    Ok(Json(CallerFlag::new(key, &evaluation)))
}
