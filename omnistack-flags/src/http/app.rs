//! `/api/v1/app/feature-flags`: flags evaluated for the caller.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{CallerFlags, Evaluation, FlagReason, Flags, Payload};
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json, Path},
    module::Api,
};

pub(super) fn api() -> Api<Flags> {
    Api::new().routes(routes!(list)).routes(routes!(get))
}

/// A flag evaluated for the caller.
#[derive(Serialize, ToSchema)]
struct CallerFlag {
    /// Key of the flag.
    key: String,
    /// Whether the flag is on.
    enabled: bool,
    /// Variant that the caller gets; `null` if the flag is off or has no variants.
    #[schema(required)]
    variant: Option<CallerVariant>,
    /// Reason why the flag is on or off.
    reason: FlagReason,
}

/// Variant that the caller gets.
#[derive(Serialize, ToSchema)]
struct CallerVariant {
    /// Name of the variant.
    name: String,
    /// Value that comes with the variant; `null` if it has none.
    #[schema(required)]
    payload: Option<Payload>,
}

/// Flags evaluated for the caller.
#[derive(Serialize, ToSchema)]
struct CallerFlagList {
    /// All flags that are not `server_only`, sorted by key.
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

/// List feature flags
///
/// Evaluates every flag for the caller. Flags that are `server_only` are left out.
#[utoipa::path(get, path = "/", operation_id = "list_feature_flags", responses((status = 200, body = CallerFlagList)))]
async fn list(flags: CallerFlags) -> Json<CallerFlagList> {
    let items = flags.all().into_iter().map(|(key, evaluation)| CallerFlag::new(key, &evaluation)).collect();
    Json(CallerFlagList { items })
}

/// Get a feature flag
///
/// Evaluates the flag for the caller.
#[utoipa::path(get, path = "/{key}", operation_id = "get_feature_flag", params(("key" = String, Path)), responses(
    (status = 200, body = CallerFlag),
    (status = 404, body = ErrorEnvelope),
))]
async fn get(flags: CallerFlags, Path(key): Path<String>) -> Result<Json<CallerFlag>, Error> {
    if !flags.is_visible(&key) {
        return Err(Error::not_found("the flag"));
    }
    let evaluation = flags.evaluate(&key);
    Ok(Json(CallerFlag::new(key, &evaluation)))
}
