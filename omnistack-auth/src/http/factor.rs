//! Second factors: codes of an app, recovery codes, and showing either.

use ::http::StatusCode;
use axum::{extract::State, response::Response};
use garde::Validate;
use omnistack_core::{
    ExposeSecret as _,
    app::Api,
    http::{Error, Json},
    identity::{Identity, Require},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    login::{Mode, TokenBody, may_have_cookies, signed_in},
    visitor::Request,
};
use crate::{
    account::{Accounts, CodeFactor, SignedIn},
    factor::{SecondFactorState, TOTP_CONFIRMATION_TTL},
    session::RECENT,
};

/// For anybody who has a challenge.
pub(crate) fn public() -> Api<Accounts> {
    Api::new().routes(routes!(finish))
}

/// For who is signed in.
pub(crate) fn app() -> Api<Accounts> {
    Api::new()
        .routes(routes!(state))
        .routes(routes!(verify))
        .guarded(Require::recent(RECENT), routes!(begin_totp))
        .routes(routes!(confirm_totp))
        .guarded(Require::recent(RECENT).second_factor(), routes!(remove_totp))
        .guarded(Require::recent(RECENT).second_factor(), routes!(renew_recovery_codes))
}

/// What a sign-in was answered with, and a code.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct SecondFactorSignIn {
    /// As it was given out.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    challenge: String,
    /// Of an app, a recovery code, or of a text message.
    #[garde(length(max = 100))]
    #[schema(max_length = 100)]
    code: String,
    /// How the tokens are handed over.
    #[serde(default)]
    #[garde(skip)]
    #[schema(inline)]
    mode: Mode,
}

/// Sign in with a second factor
///
/// Finishes a sign-in that was answered with a challenge. A wrong code uses the challenge up.
#[utoipa::path(post, path = "/mfa", operation_id = "sign_in_with_second_factor", request_body = SecondFactorSignIn, responses(
    (status = 200, description = "A session has begun.", body = TokenBody),
    (status = 400, description = "The challenge is not valid, was used or has expired."),
    (status = 401, description = "The code is wrong, or was used before: sign in again."),
    (status = 429, description = "Too many were wrong; `Retry-After` says how long to wait.")))]
async fn finish(
    State(accounts): State<Accounts>,
    request: Request,
    Json(SecondFactorSignIn { challenge, code, mode }): Json<SecondFactorSignIn>,
) -> Result<Response, Error> {
    may_have_cookies(&accounts, &request, mode)?;
    let tokens = accounts.finish_with_code(&challenge, &code, &request.visitor).await?;
    signed_in(&accounts, &request, SignedIn::Tokens(tokens), mode).await
}

/// List second factors
#[utoipa::path(get, path = "/", operation_id = "get_second_factors", responses(
    (status = 200, description = "Which the caller has.", body = SecondFactorState)))]
async fn state(State(accounts): State<Accounts>, caller: Identity) -> Result<Json<SecondFactorState>, Error> {
    Ok(Json(accounts.second_factors(&caller).await?))
}

/// A code.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct SecondFactorCode {
    /// Of an app, or, where there is one already, a recovery code or one of a text message.
    #[garde(length(max = 100))]
    #[schema(max_length = 100)]
    code: String,
}

/// Show a second factor
///
/// From now on this session has shown one: for routes that ask for it, or for a recent sign-in.
#[utoipa::path(post, path = "/verify", operation_id = "verify_second_factor", request_body = SecondFactorCode, responses(
    (status = 204, description = "It is noted."),
    (status = 422, description = "The code is wrong, or was used before."),
    (status = 429, description = "Too many were wrong; `Retry-After` says how long to wait.")))]
async fn verify(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
    Json(SecondFactorCode { code }): Json<SecondFactorCode>,
) -> Result<StatusCode, Error> {
    accounts.show_second_factor(&caller, &code, &request.visitor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What goes into an app. It is not shown again.
#[derive(Serialize, ToSchema)]
struct TotpBody {
    /// To be typed: base32.
    secret: String,
    /// To be shown as a QR code.
    url: String,
    /// Seconds within which the first code is to be shown.
    expires_in: u64,
}

/// Add an app for codes
///
/// It counts once its first code was shown.
#[utoipa::path(post, path = "/totp", responses(
    (status = 200, description = "What goes into the app.", body = TotpBody),
    (status = 401, description = "The sign-in is not recent enough, or did not show the second factor that is there."),
    (status = 403, description = "The address is not confirmed."),
    (status = 409, description = "There is one already.")))]
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
/// Ends every session but this one, and tells the user by mail.
#[utoipa::path(post, path = "/totp/confirm", request_body = SecondFactorCode, responses(
    (status = 204, description = "It is a second factor now, and this session has shown it."),
    (status = 409, description = "None waits for its first code."),
    (status = 422, description = "The code is wrong."),
    (status = 429, description = "Too many were wrong; `Retry-After` says how long to wait.")))]
async fn confirm_totp(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
    Json(SecondFactorCode { code }): Json<SecondFactorCode>,
) -> Result<StatusCode, Error> {
    accounts.confirm_factor(&caller, CodeFactor::App, &code, &request.visitor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove the app for codes
///
/// With the recovery codes. Ends every session but this one, and tells the user by mail.
#[utoipa::path(delete, path = "/totp", responses(
    (status = 204, description = "It is gone."),
    (status = 401, description = "No second factor was shown a short while ago."),
    (status = 404, description = "There is none.")))]
async fn remove_totp(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
) -> Result<StatusCode, Error> {
    accounts.remove_factor(&caller, CodeFactor::App, &request.visitor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Recovery codes. They are not shown again.
#[derive(Serialize, ToSchema)]
struct RecoveryCodes {
    /// Each is good once, wherever a code of the app is.
    codes: Vec<String>,
}

/// Make recovery codes
///
/// Ten new ones take the place of those before. Ends every session but this one, and tells the user by mail.
#[utoipa::path(post, path = "/recovery-codes", responses(
    (status = 200, description = "The codes.", body = RecoveryCodes),
    (status = 401, description = "No second factor was shown a short while ago."),
    (status = 409, description = "There is nothing they could stand in for.")))]
async fn renew_recovery_codes(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
) -> Result<Json<RecoveryCodes>, Error> {
    let codes = accounts.renew_recovery_codes(&caller, &request.visitor).await?;
    Ok(Json(RecoveryCodes { codes: codes.iter().map(|code| code.expose_secret().to_owned()).collect() }))
}
