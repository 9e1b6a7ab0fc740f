//! Routes of SMS codes: adding a phone number as a second factor, and sending a code to it.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, Json},
    identity::{Identity, Require},
    module::Api,
    text::Text,
};
use omnistack_messaging::sms::PhoneNumber;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    account::{Accounts, CodeKind, client_info::AccountRequest},
    mfa::sms_codes::SMS_CODE_TTL,
    session::MAX_FRESH_SIGN_IN_AGE,
};

/// Returns the route for a sign-in that needs a second factor.
pub(crate) fn second_factor() -> Api<Accounts> {
    Api::new().routes(routes!(send_for_challenge))
}

/// Returns the routes for signed-in users.
pub(crate) fn app() -> Api<Accounts> {
    Api::new()
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(begin))
        .routes(routes!(confirm))
        .routes(routes!(send))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE).second_factor(), routes!(remove))
}

/// A code that was sent by SMS.
#[derive(Serialize, ToSchema)]
struct CodeSent {
    /// The phone number with its middle hidden: `+49•••••67`.
    phone: String,
    /// The seconds until the code expires.
    expires_in: u64,
}

fn code_sent(phone: String) -> (StatusCode, Json<CodeSent>) {
    (StatusCode::ACCEPTED, Json(CodeSent { phone, expires_in: SMS_CODE_TTL.as_secs() }))
}

/// The challenge of a sign-in.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct SmsChallenge {
    /// The challenge as it was returned. It stays valid.
    challenge: Text<0, 200>,
}

/// Send a code at sign-in
///
/// For a sign-in whose response was a challenge with `sms` among its `methods`. Send the code with the challenge, as
/// the code of an app. A code that was sent earlier is no longer valid.
#[utoipa::path(post, path = "/", operation_id = "send_sign_in_sms_code", request_body = SmsChallenge, responses(
    (status = 202, description = "The code was sent.", body = CodeSent),
    (status = 400, description = "The challenge is not valid, was used or has expired."),
    (status = 409, description = "The user has no phone number for codes."),
    (status = 429, description = "Too many codes were sent; `Retry-After` says how long to wait.")))]
async fn send_for_challenge(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(SmsChallenge { challenge }): Json<SmsChallenge>,
) -> Result<(StatusCode, Json<CodeSent>), Error> {
    Ok(code_sent(accounts.send_code_for_challenge(&challenge, &request.client_info).await?))
}

/// A phone number to add.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPhone {
    /// The phone number in international form: `+`, the country code, and digits.
    #[garde(length(chars, max = 40), custom(is_phone_number))]
    #[schema(max_length = 40, example = "+491701234567")]
    phone: String,
}

/// Fails if the text is not a phone number. The message does not contain the text.
fn is_phone_number(text: &str, (): &()) -> garde::Result {
    match text.parse::<PhoneNumber>() {
        Ok(_) => Ok(()),
        Err(error) => Err(garde::Error::new(format!("is not a phone number that messages can be sent to: {error}"))),
    }
}

/// Add a number for codes
///
/// Sends a code to the number, which becomes a second factor when that code is confirmed. Needs a sign-in within the
/// last ten minutes, and the second factor if the user has one.
#[utoipa::path(post, path = "/", operation_id = "begin_sms_codes", request_body = NewPhone, responses(
    (status = 202, description = "The code was sent.", body = CodeSent),
    (status = 401, description = "The sign-in is older than 10 minutes, or was without the second factor."),
    (status = 403, description = "The email address is not verified."),
    (status = 409, description = "The user has a phone number already."),
    (status = 422, description = "The phone number is invalid."),
    (status = 429, description = "Too many codes were sent; `Retry-After` says how long to wait.")))]
async fn begin(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
    Json(NewPhone { phone }): Json<NewPhone>,
) -> Result<(StatusCode, Json<CodeSent>), Error> {
    // The validation has parsed it before.
    let number: PhoneNumber = phone.parse().map_err(Error::internal)?;
    Ok(code_sent(accounts.add_phone(&caller, &number, &request.client_info).await?))
}

/// The code of an SMS.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct SmsCode {
    /// The code from the message.
    code: Text<0, 100>,
}

/// Confirm a number for codes
///
/// Ends every other session and informs the user by mail.
#[utoipa::path(post, path = "/confirm", operation_id = "confirm_sms_codes", request_body = SmsCode, responses(
    (status = 204, description = "The second factor is active, and this session has verified it."),
    (status = 409, description = "No phone number waits for its code, or the code has expired."),
    (status = 422, description = "The code is wrong."),
    (status = 429, description = "Too many failed attempts; `Retry-After` says how long to wait.")))]
async fn confirm(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
    Json(SmsCode { code }): Json<SmsCode>,
) -> Result<StatusCode, Error> {
    accounts.confirm_factor(&caller, CodeKind::Sms, &code, &request.client_info).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send a code
///
/// For a session in progress, before a route that needs a second factor or a fresh sign-in. Verify the code as the code
/// of an app.
#[utoipa::path(post, path = "/send", operation_id = "send_sms_code", responses(
    (status = 202, description = "The code was sent.", body = CodeSent),
    (status = 409, description = "The caller has no phone number for codes."),
    (status = 429, description = "Too many codes were sent; `Retry-After` says how long to wait.")))]
async fn send(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
) -> Result<(StatusCode, Json<CodeSent>), Error> {
    Ok(code_sent(accounts.send_code_for_session(&caller, &request.client_info).await?))
}

/// Remove the number for codes
///
/// Ends every other session and informs the user by mail.
#[utoipa::path(delete, path = "/", operation_id = "remove_sms_codes", responses(
    (status = 204, description = "Removed."),
    (status = 401, description = "The session has not verified a second factor within the last 10 minutes."),
    (status = 404, description = "The user has no phone number for codes.")))]
async fn remove(
    State(accounts): State<Accounts>,
    caller: Identity,
    request: AccountRequest,
) -> Result<StatusCode, Error> {
    accounts.remove_factor(&caller, CodeKind::Sms, &request.client_info).await?;
    Ok(StatusCode::NO_CONTENT)
}
