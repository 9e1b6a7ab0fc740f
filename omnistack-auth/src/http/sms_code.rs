//! Codes by text message: a number as a second factor, and having a code sent to it.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    app::Api,
    http::{Error, Json},
    identity::{Identity, Require},
    sms::PhoneNumber,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::visitor::Request;
use crate::{
    account::{Accounts, CodeFactor},
    session::RECENT,
    sms_code::SMS_CODE_TTL,
};

/// For anybody who has a challenge.
pub(crate) fn second_factor() -> Api<Accounts> {
    Api::new().routes(routes!(send_for_challenge))
}

/// For who is signed in.
pub(crate) fn app() -> Api<Accounts> {
    Api::new()
        .guarded(Require::recent(RECENT), routes!(begin))
        .routes(routes!(confirm))
        .routes(routes!(send))
        .guarded(Require::recent(RECENT).second_factor(), routes!(remove))
}

/// A code is on its way.
#[derive(Serialize, ToSchema)]
struct CodeSent {
    /// The number it goes to, by its beginning and its end: `+49•••••67`.
    phone: String,
    /// Seconds the code is good for.
    expires_in: u64,
}

fn sent(phone: String) -> (StatusCode, Json<CodeSent>) {
    (StatusCode::ACCEPTED, Json(CodeSent { phone, expires_in: SMS_CODE_TTL.as_secs() }))
}

/// What a sign-in was answered with.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct SmsChallenge {
    /// As it was given out. It stays good.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    challenge: String,
}

/// Have a code sent at sign-in
///
/// For a sign-in that was answered with a challenge whose `methods` name `sms`. The code goes, with the challenge, where a
/// code of an app does; one that was sent before is not good any more.
#[utoipa::path(post, path = "/", operation_id = "send_sign_in_sms_code", request_body = SmsChallenge, responses(
    (status = 202, description = "A code is on its way.", body = CodeSent),
    (status = 400, description = "The challenge is not valid, was used or has expired."),
    (status = 409, description = "The user has no number for codes."),
    (status = 429, description = "Too many were sent; `Retry-After` says how long to wait.")))]
async fn send_for_challenge(
    State(accounts): State<Accounts>,
    request: Request,
    Json(SmsChallenge { challenge }): Json<SmsChallenge>,
) -> Result<(StatusCode, Json<CodeSent>), Error> {
    Ok(sent(accounts.text_for_challenge(&challenge, &request.visitor).await?))
}

/// A number.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPhone {
    /// As the whole world writes it: `+`, the country's code, and digits.
    #[garde(length(max = 40), custom(number))]
    #[schema(max_length = 40, example = "+491701234567")]
    phone: String,
}

/// The message of what is wrong; what was typed is not in it.
fn number(text: &str, (): &()) -> garde::Result {
    match text.parse::<PhoneNumber>() {
        Ok(_) => Ok(()),
        Err(error) => Err(garde::Error::new(format!("is no number a message can be sent to: {error}"))),
    }
}

/// Add a number for codes
///
/// Sends a code to it. It counts once that code was shown. For who has signed in within ten minutes; who has a second factor,
/// with that.
#[utoipa::path(post, path = "/", operation_id = "begin_sms_codes", request_body = NewPhone, responses(
    (status = 202, description = "A code is on its way.", body = CodeSent),
    (status = 401, description = "The sign-in is too long ago, or was without the second factor."),
    (status = 403, description = "The address is not confirmed."),
    (status = 409, description = "There is a number already."),
    (status = 422, description = "That is no telephone number."),
    (status = 429, description = "Too many were sent; `Retry-After` says how long to wait.")))]
async fn begin(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
    Json(NewPhone { phone }): Json<NewPhone>,
) -> Result<(StatusCode, Json<CodeSent>), Error> {
    // It was read before.
    let number: PhoneNumber = phone.parse().map_err(Error::internal)?;
    Ok(sent(accounts.begin_phone(&caller, &number, &request.visitor).await?))
}

/// A code.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct SmsCode {
    /// Of the message.
    #[garde(length(max = 100))]
    #[schema(max_length = 100)]
    code: String,
}

/// Confirm a number for codes
///
/// Ends every session but this one, and tells the user by mail.
#[utoipa::path(post, path = "/confirm", operation_id = "confirm_sms_codes", request_body = SmsCode, responses(
    (status = 204, description = "It is a second factor now, and this session has shown it."),
    (status = 409, description = "No number waits for its code, or the code is good no more."),
    (status = 422, description = "The code is wrong."),
    (status = 429, description = "Too many were wrong; `Retry-After` says how long to wait.")))]
async fn confirm(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
    Json(SmsCode { code }): Json<SmsCode>,
) -> Result<StatusCode, Error> {
    accounts.confirm_factor(&caller, CodeFactor::Phone, &code, &request.visitor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Have a code sent
///
/// For a session that goes on, where a route asks for a second factor or for a recent sign-in: the code is shown as one of an
/// app is.
#[utoipa::path(post, path = "/send", operation_id = "send_sms_code", responses(
    (status = 202, description = "A code is on its way.", body = CodeSent),
    (status = 409, description = "The caller has no number for codes."),
    (status = 429, description = "Too many were sent; `Retry-After` says how long to wait.")))]
async fn send(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: Request,
) -> Result<(StatusCode, Json<CodeSent>), Error> {
    Ok(sent(accounts.text_for_session(&caller, &request.visitor).await?))
}

/// Remove the number for codes
///
/// Ends every session but this one, and tells the user by mail.
#[utoipa::path(delete, path = "/", operation_id = "remove_sms_codes", responses(
    (status = 204, description = "It is gone."),
    (status = 401, description = "No second factor was shown a short while ago."),
    (status = 404, description = "There is none.")))]
async fn remove(State(accounts): State<Accounts>, caller: Identity, request: Request) -> Result<StatusCode, Error> {
    accounts.remove_factor(&caller, CodeFactor::Phone, &request.visitor).await?;
    Ok(StatusCode::NO_CONTENT)
}
