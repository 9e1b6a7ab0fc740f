//! Public account routes: registration, email verification, password reset and magic links.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, FieldError, Json},
    module::Api,
    name::is_name_or_empty,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    account::{Accounts, client_info::AccountRequest},
    api_key::remaining::RemainingKeys,
    one_time_tokens::TokenPurpose,
    password::Password,
};

/// Returns the routes, which are public.
pub(crate) fn api() -> Api<Accounts> {
    Api::new()
        .routes(routes!(register))
        .routes(routes!(verify_email))
        .routes(routes!(forgot_password))
        .routes(routes!(reset_password))
        .routes(routes!(magic_link))
}

/// The next step of a registration, or of a change that is confirmed by mail.
#[derive(Serialize, ToSchema)]
#[schema(as = SignInStep)]
pub(crate) struct NextStep {
    /// A message for the user.
    message: &'static str,
}

/// Returns the same 202 response for every email address, so that it doesn't reveal which addresses have an account.
pub(crate) fn check_your_mail() -> (StatusCode, Json<NextStep>) {
    let message = "check your mail: if there is a next step, we have sent you a message that explains it";
    (StatusCode::ACCEPTED, Json(NextStep { message }))
}

/// A registration.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct Registration {
    /// The email address. The verification mail is sent there.
    email: Text<0, 254>,
    /// The password: 15 to 256 characters of any kind.
    password: Password,
    /// The display name. If absent or empty, the part of the email address before the `@`.
    #[serde(default)]
    #[garde(length(chars, max = 100), custom(is_name_or_empty))]
    #[schema(max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f]*$")]
    name: String,
}

/// Register
///
/// Creates an account and sends a mail to verify its email address. The response is the same if the address already has
/// an account; its owner is then informed by mail.
#[utoipa::path(post, path = "/register", operation_id = "register_account", request_body = Registration, responses(
    (status = 202, description = "A mail explains the next step.", body = NextStep),
    (status = 403, description = "Registration is closed: accounts are created by invitation only."),
    (status = 422, description = "The email address is invalid, or the password is too easy to guess."),
    (status = 503, description = "Too many passwords are being checked; `Retry-After` says when to try again.")))]
async fn register(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(Registration { email, password, name }): Json<Registration>,
) -> Result<(StatusCode, Json<NextStep>), Error> {
    accounts.register(&email, &password, &name, &request.client_info).await?;
    Ok(check_your_mail())
}

/// The token of a verification link, with either the password of the registration or a new one.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct AddressConfirmation {
    /// The token from the link.
    token: Text<0, 200>,
    /// The password of the registration.
    password: Option<Password>,
    /// A new password instead: 15 to 256 characters of any kind.
    new_password: Option<Password>,
}

/// Verify an email address
///
/// Verifies the email address of a new account. Since the address may have been registered by another person, the link
/// alone does not activate the password: the request also needs the password of the registration, or a new one that
/// replaces everything the registration had set. The user is not signed in.
#[utoipa::path(post, path = "/verify-email", request_body = AddressConfirmation, responses(
    (status = 204, description = "The email address is verified."),
    (status = 400, description = "The link is not valid, was used or has expired."),
    (status = 422, description = "The password is not that of the registration, or the new one is too easy to guess. The link stays valid."),
    (status = 429, description = "Too many failed attempts; `Retry-After` says how long to wait.")))]
async fn verify_email(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(AddressConfirmation { token, password, new_password }): Json<AddressConfirmation>,
) -> Result<StatusCode, Error> {
    match (password, new_password) {
        (Some(password), None) => accounts.verify_email(&token, &password, &request.client_info).await?,
        (None, Some(new)) => {
            let new = ("new_password", &new);
            accounts.set_password_by_token(TokenPurpose::VerifyEmail, &token, new, false, &request.client_info).await?;
        }
        _ => {
            let message = "is required unless `new_password` is sent";
            return Err(Error::invalid([FieldError::new("password", message)]));
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// An email address.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct EmailAddress {
    /// The email address.
    email: Text<0, 254>,
}

/// Request a password reset
///
/// Sends a link to choose a new password, valid for one hour. The response is the same for an email address without an
/// account.
#[utoipa::path(post, path = "/forgot-password", operation_id = "request_password_reset", request_body = EmailAddress, responses(
    (status = 202, description = "A mail explains the next step.", body = NextStep)))]
async fn forgot_password(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(EmailAddress { email }): Json<EmailAddress>,
) -> Result<(StatusCode, Json<NextStep>), Error> {
    accounts.request_password_reset(&email, &request.client_info).await?;
    Ok(check_your_mail())
}

/// A new password, with the token of a reset link.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewPassword {
    /// The token from the link.
    token: Text<0, 200>,
    /// The new password: at least 15 characters, or 8 for a user with a second factor; at most 256, of any kind.
    password: Password,
    /// Whether to revoke the user's API keys as well.
    #[serde(default)]
    api_keys: bool,
}

/// Choose a new password
///
/// Needs the token of a link that was sent by mail. Ends every session of the user, who then signs in with the new
/// password. API keys stay valid unless they are revoked as well.
#[utoipa::path(post, path = "/reset-password", request_body = NewPassword, responses(
    (status = 200, description = "The password is changed. The body lists the API keys that are still valid.", body = RemainingKeys),
    (status = 400, description = "The link is not valid, was used or has expired."),
    (status = 422, description = "The password is too easy to guess. The link stays valid.")))]
async fn reset_password(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(NewPassword { token, password, api_keys }): Json<NewPassword>,
) -> Result<Json<RemainingKeys>, Error> {
    let password = ("password", &password);
    Ok(Json(
        accounts
            .set_password_by_token(TokenPurpose::ResetPassword, &token, password, api_keys, &request.client_info)
            .await?,
    ))
}

/// Request a magic link
///
/// Sends a link that signs in once and is valid for ten minutes. The response is the same for an email address without
/// an account.
#[utoipa::path(post, path = "/magic-link", operation_id = "request_magic_link", request_body = EmailAddress, responses(
    (status = 202, description = "A mail explains the next step.", body = NextStep)))]
async fn magic_link(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(EmailAddress { email }): Json<EmailAddress>,
) -> Result<(StatusCode, Json<NextStep>), Error> {
    accounts.request_magic_link(&email, &request.client_info).await?;
    Ok(check_your_mail())
}
