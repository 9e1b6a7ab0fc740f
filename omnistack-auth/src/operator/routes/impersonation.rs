//! Operator routes that start and stop an impersonation.

use std::time::Duration;

use ::http::{HeaderMap, StatusCode};
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, Json},
    identity::{Identity, Require, TenantId, UserId},
    module::Api,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::users::MAX_SIGN_IN_AGE;
use crate::{
    account::{client_info::user_agent, routes::sign_in::SessionTokens},
    model::Device,
    operator::{Impersonation, Operators},
};

pub(crate) fn api() -> Api<Operators> {
    Api::new().require(Require::fresh_sign_in(MAX_SIGN_IN_AGE), routes!(start))
}

/// Returns the route for an operator who impersonates a user and therefore has no operator rights in that session.
pub(crate) fn stopping() -> Api<Operators> {
    Api::new().routes(routes!(stop))
}

/// An impersonation to start.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewImpersonation)]
struct StartImpersonation {
    /// The user to impersonate.
    #[garde(skip)]
    #[schema(value_type = String, format = Uuid)]
    user_id: UserId,
    /// The tenant, one of the user's. If absent, the first the user joined.
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = Uuid)]
    tenant_id: Option<TenantId>,
    /// The reason, for the audit log, which the tenant's members can read: 10 to 1000 characters.
    #[garde(length(chars, min = 10, max = 1000), custom(has_reason))]
    #[schema(min_length = 10, max_length = 1000, pattern = "^[^\\x00]*$")]
    reason: String,
    /// The duration in minutes: at most 60, by default 15.
    #[garde(inner(range(min = 1, max = 60)))]
    #[schema(minimum = 1, maximum = 60)]
    minutes: Option<u32>,
}

fn has_reason(reason: &str, (): &()) -> garde::Result {
    let letters = reason.trim().chars().count();
    if letters < 10 { Err(garde::Error::new("must have at least 10 characters")) } else { Ok(()) }
}

/// Impersonate a user
///
/// Returns the tokens of a session as that user, which ends after its duration. Its access tokens name the operator in
/// `act`, and actions with them are recorded under both names. Needs a sign-in within the last 15 minutes.
#[utoipa::path(post, path = "/", operation_id = "start_impersonation", request_body = StartImpersonation, responses(
    (status = 201, description = "The tokens.", body = SessionTokens),
    (status = 403, description = "`IMPERSONATION_REFUSED`: operators can't be impersonated.")))]
async fn start(
    State(operators): State<Operators>,
    caller: Identity,
    headers: HeaderMap,
    Json(start): Json<StartImpersonation>,
) -> Result<(StatusCode, Json<SessionTokens>), Error> {
    let device =
        Device { user_agent: user_agent(&headers), address: caller.origin.address.map(|address| address.to_string()) };
    let lifetime = Duration::from_secs(u64::from(start.minutes.unwrap_or(15)) * 60);
    let StartImpersonation { user_id: user, tenant_id: tenant, reason, .. } = start;
    let tokens = operators.impersonate(&caller, Impersonation { user, tenant, reason, lifetime, device }).await?;
    Ok((StatusCode::CREATED, Json(tokens.into())))
}

/// Stop impersonating a user
#[utoipa::path(delete, path = "/", operation_id = "stop_impersonation", responses(
    (status = 204, description = "The impersonation is ended; its tokens are refused."),
    (status = 409, description = "`NOT_IMPERSONATING`: the caller does not impersonate a user.")))]
async fn stop(State(operators): State<Operators>, caller: Identity) -> Result<StatusCode, Error> {
    operators.stop_impersonation(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
