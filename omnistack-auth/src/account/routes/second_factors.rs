//! Routes of second factors: TOTP apps, recovery codes, and their verification.

use ::http::StatusCode;
use axum::{extract::State, response::Response};
use garde::Validate;
use omnistack_core::{
    ExposeSecret as _,
    http::{Error, Json},
    identity::{Identity, Require},
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::sign_in::{SessionCredentials, TokenMode, require_own_page_for_cookies, sign_in_response};
use crate::{
    account::{Accounts, CodeKind, SignInOutcome, client_info::AccountRequest},
    mfa::{SecondFactorState, TOTP_CONFIRMATION_TTL},
    session::MAX_FRESH_SIGN_IN_AGE,
};

/// Returns the route for a sign-in that needs a second factor.
pub(crate) fn public() -> Api<Accounts> {
    Api::new().routes(routes!(finish))
}

/// Returns the routes for signed-in users.
pub(crate) fn app() -> Api<Accounts> {
    Api::new()
        .routes(routes!(state))
        .routes(routes!(verify))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(begin_totp))
        .routes(routes!(confirm_totp))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE).second_factor(), routes!(remove_totp))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE).second_factor(), routes!(renew_recovery_codes))
}

/// The challenge of a sign-in, and a code.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct SecondFactorSignIn {
    /// The challenge as it was returned.
    challenge: Text<0, 200>,
    /// The code of a TOTP app or of an SMS, or a recovery code.
    code: Text<0, 100>,
    /// The way the tokens are returned.
    #[serde(default)]
    #[schema(inline)]
    mode: TokenMode,
}

/// Sign in with a second factor
///
/// Completes a sign-in whose response was a challenge. A wrong code uses up the challenge.
#[utoipa::path(post, path = "/mfa", operation_id = "sign_in_with_second_factor", request_body = SecondFactorSignIn, responses(
    (status = 200, description = "A session has begun.", body = SessionCredentials),
    (status = 400, description = "The challenge is not valid, was used or has expired."),
    (status = 401, description = "The code is wrong, or was used before. Sign in again."),
    (status = 429, description = "Too many failed attempts; `Retry-After` says how long to wait.")))]
async fn finish(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(SecondFactorSignIn { challenge, code, mode }): Json<SecondFactorSignIn>,
) -> Result<Response, Error> {
    require_own_page_for_cookies(&accounts, &request, mode)?;
    let tokens = accounts.complete_mfa_with_code(&challenge, &code, &request.client_info).await?;
    sign_in_response(&accounts, &request, SignInOutcome::Authenticated(tokens), mode).await
}

/// List second factors
#[utoipa::path(get, path = "/", operation_id = "get_second_factors", responses(
    (status = 200, description = "The caller's second factors.", body = SecondFactorState)))]
async fn state(State(accounts): State<Accounts>, caller: Identity) -> Result<Json<SecondFactorState>, Error> {
    Ok(Json(accounts.second_factors(&caller).await?))
}

/// A code of a second factor.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct SecondFactorCode {
    /// The code of a TOTP app; if the user has a second factor already, also a recovery code or the code of an SMS.
    code: Text<0, 100>,
}

/// Verify a second factor
///
/// From now on the session counts as signed in with a second factor, for routes that need one or a fresh sign-in.
#[utoipa::path(post, path = "/verify", operation_id = "verify_second_factor", request_body = SecondFactorCode, responses(
    (status = 204, description = "Verified."),
    (status = 422, description = "The code is wrong, or was used before."),
    (status = 429, description = "Too many failed attempts; `Retry-After` says how long to wait.")))]
async fn verify(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
    Json(SecondFactorCode { code }): Json<SecondFactorCode>,
) -> Result<StatusCode, Error> {
    accounts.step_up(&caller, &code, &request.client_info).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The secret for a TOTP app. It is not shown again.
#[derive(Serialize, ToSchema)]
struct TotpBody {
    /// The secret in base32, to type.
    secret: String,
    /// The `otpauth` URL, to show as a QR code.
    url: String,
    /// The seconds within which the first code must be confirmed.
    expires_in: u64,
}

/// Add an app for codes
///
/// The app becomes a second factor when its first code is confirmed.
#[utoipa::path(post, path = "/totp", responses(
    (status = 200, description = "The secret for the app.", body = TotpBody),
    (status = 401, description = "The sign-in is older than 10 minutes, or was without the second factor."),
    (status = 403, description = "The email address is not verified."),
    (status = 409, description = "The user has an app for codes already.")))]
async fn begin_totp(State(accounts): State<Accounts>, caller: Identity) -> Result<Json<TotpBody>, Error> {
    let totp = accounts.begin_totp(&caller).await?;
    Ok(Json(TotpBody {
        secret: totp.secret.expose_secret().to_owned(),
        url: totp.url.expose_secret().to_owned(),
        expires_in: TOTP_CONFIRMATION_TTL.as_secs(),
    }))
}

/// Confirm an app for codes
///
/// Ends every other session and informs the user by mail.
#[utoipa::path(post, path = "/totp/confirm", request_body = SecondFactorCode, responses(
    (status = 204, description = "The second factor is active, and this session has verified it."),
    (status = 409, description = "No app waits for its first code."),
    (status = 422, description = "The code is wrong."),
    (status = 429, description = "Too many failed attempts; `Retry-After` says how long to wait.")))]
async fn confirm_totp(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
    Json(SecondFactorCode { code }): Json<SecondFactorCode>,
) -> Result<StatusCode, Error> {
    accounts.confirm_factor(&caller, CodeKind::Totp, &code, &request.client_info).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove the app for codes
///
/// Also removes the recovery codes. Ends every other session and informs the user by mail.
#[utoipa::path(delete, path = "/totp", responses(
    (status = 204, description = "Removed."),
    (status = 401, description = "The session has not verified a second factor within the last 10 minutes."),
    (status = 404, description = "The user has no app for codes.")))]
async fn remove_totp(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
) -> Result<StatusCode, Error> {
    accounts.remove_factor(&caller, CodeKind::Totp, &request.client_info).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Recovery codes. They are not shown again.
#[derive(Serialize, ToSchema)]
struct RecoveryCodes {
    /// The codes. Each is valid once, wherever a code of the app is.
    codes: Vec<String>,
}

/// Create recovery codes
///
/// Creates ten codes, which replace the previous ones. Ends every other session and informs the user by mail.
#[utoipa::path(post, path = "/recovery-codes", responses(
    (status = 200, description = "The codes.", body = RecoveryCodes),
    (status = 401, description = "The session has not verified a second factor within the last 10 minutes."),
    (status = 409, description = "The user has no app for codes that the recovery codes could replace.")))]
async fn renew_recovery_codes(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
) -> Result<Json<RecoveryCodes>, Error> {
    let codes = accounts.renew_recovery_codes(&caller, &request.client_info).await?;
    Ok(Json(RecoveryCodes { codes: codes.iter().map(|code| code.expose_secret().to_owned()).collect() }))
}
