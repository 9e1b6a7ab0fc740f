//! Accounts, for who is not signed in: registering, confirming, forgetting.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    app::Api,
    http::{Error, FieldProblem, Json},
    name::is_name_or_empty,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::visitor::Request;
use crate::{account::Accounts, api_key::left::KeysLeft, one_time::Purpose, password::Password};

pub(crate) fn api() -> Api<Accounts> {
    Api::new()
        .routes(routes!(register))
        .routes(routes!(verify_email))
        .routes(routes!(forgot_password))
        .routes(routes!(reset_password))
        .routes(routes!(magic_link))
}

/// What happens next.
#[derive(Serialize, ToSchema)]
#[schema(as = SignInStep)]
pub(super) struct NextStep {
    /// For people.
    message: &'static str,
}

/// The same to everybody.
pub(super) fn look_into_your_mail() -> (StatusCode, Json<NextStep>) {
    let message = "if there is something to do, you get a mail that says how to go on";
    (StatusCode::ACCEPTED, Json(NextStep { message }))
}

/// Somebody new.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct Registration {
    /// The address; mails go there.
    #[garde(length(max = 254))]
    #[schema(max_length = 254)]
    email: String,
    /// At least 15 characters, at most 256, of any kind.
    #[garde(skip)]
    password: Password,
    /// What to call them; the part of the address before the `@` when absent.
    #[serde(default)]
    #[garde(length(chars, max = 100), custom(is_name_or_empty))]
    #[schema(max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f]*$")]
    name: String,
}

/// Register
///
/// Makes an account, whose address is confirmed by mail. An address that has an account already is answered alike, and its
/// owner is told by mail.
#[utoipa::path(post, path = "/register", operation_id = "register_account", request_body = Registration, responses(
    (status = 202, description = "A mail says how to go on.", body = NextStep),
    (status = 403, description = "Accounts are made by invitation only."),
    (status = 422, description = "The address is none, or the password would be guessed."),
    (status = 503, description = "Too many are signing in; `Retry-After` says when to try again.")))]
async fn register(
    State(accounts): State<Accounts>,
    request: Request,
    Json(Registration { email, password, name }): Json<Registration>,
) -> Result<(StatusCode, Json<NextStep>), Error> {
    accounts.register(&email, &password, &name, &request.visitor).await?;
    Ok(look_into_your_mail())
}

/// The token of a link, and one of two passwords.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct AddressConfirmation {
    /// As it is in the link.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    token: String,
    /// The password of the registration.
    #[garde(skip)]
    password: Option<Password>,
    /// In its place, a new one: at least 15 characters, at most 256, of any kind.
    #[garde(skip)]
    new_password: Option<Password>,
}

/// Confirm an address
///
/// Of a new account. Anybody may have registered it, so the link alone makes no password good: it goes with the password of
/// the registration, or with a new one, and then what the registration had set is forgotten. It signs nobody in.
#[utoipa::path(post, path = "/verify-email", request_body = AddressConfirmation, responses(
    (status = 204, description = "The address is confirmed."),
    (status = 400, description = "The link is not valid, was used or has expired."),
    (status = 422, description = "It is not the password of the registration, or the new one would be guessed; the link stays good."),
    (status = 429, description = "Too many were wrong; `Retry-After` says how long to wait.")))]
async fn verify_email(
    State(accounts): State<Accounts>,
    request: Request,
    Json(AddressConfirmation { token, password, new_password }): Json<AddressConfirmation>,
) -> Result<StatusCode, Error> {
    match (password, new_password) {
        (Some(password), None) => accounts.verify_email(&token, &password, &request.visitor).await?,
        (None, Some(new)) => {
            let new = ("new_password", &new);
            accounts.choose_password(Purpose::VerifyEmail, &token, new, false, &request.visitor).await?;
        }
        _ => {
            let message = "is required, or `new_password` in its place";
            return Err(Error::invalid([FieldProblem::new("password", message)]));
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// An address.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct EmailAddress {
    /// The address.
    #[garde(length(max = 254))]
    #[schema(max_length = 254)]
    email: String,
}

/// Forget a password
///
/// Sends a link to choose a new one, good for an hour. An address without an account is answered alike.
#[utoipa::path(post, path = "/forgot-password", operation_id = "request_password_reset", request_body = EmailAddress, responses(
    (status = 202, description = "A mail says how to go on.", body = NextStep)))]
async fn forgot_password(
    State(accounts): State<Accounts>,
    request: Request,
    Json(EmailAddress { email }): Json<EmailAddress>,
) -> Result<(StatusCode, Json<NextStep>), Error> {
    accounts.forgot_password(&email, &request.visitor).await?;
    Ok(look_into_your_mail())
}

/// A new password.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// As it is in the link.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    token: String,
    /// At least 15 characters, 8 of a user with a second factor; at most 256, of any kind.
    #[garde(skip)]
    password: Password,
    /// Whether to revoke the user's API keys as well.
    #[serde(default)]
    #[garde(skip)]
    api_keys: bool,
}

/// Choose a new password
///
/// With the token of a link that was sent by mail. Ends every session; sign in with the new password after that. API keys go
/// on, unless they are to be revoked as well.
#[utoipa::path(post, path = "/reset-password", request_body = NewPassword, responses(
    (status = 200, description = "It is the password now. The API keys that are left.", body = KeysLeft),
    (status = 400, description = "The link is not valid, was used or has expired."),
    (status = 422, description = "The password would be guessed; the link stays good.")))]
async fn reset_password(
    State(accounts): State<Accounts>,
    request: Request,
    Json(NewPassword { token, password, api_keys }): Json<NewPassword>,
) -> Result<Json<KeysLeft>, Error> {
    let password = ("password", &password);
    Ok(Json(accounts.choose_password(Purpose::ResetPassword, &token, password, api_keys, &request.visitor).await?))
}

/// Ask for a link that signs in
///
/// Good once, for ten minutes. An address without an account is answered alike.
#[utoipa::path(post, path = "/magic-link", operation_id = "request_magic_link", request_body = EmailAddress, responses(
    (status = 202, description = "A mail says how to go on.", body = NextStep)))]
async fn magic_link(
    State(accounts): State<Accounts>,
    request: Request,
    Json(EmailAddress { email }): Json<EmailAddress>,
) -> Result<(StatusCode, Json<NextStep>), Error> {
    accounts.ask_for_link(&email, &request.visitor).await?;
    Ok(look_into_your_mail())
}
