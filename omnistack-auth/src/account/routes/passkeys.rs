//! Routes that add passkeys, sign in with them, and use them as a second factor.

use std::sync::Arc;

use ::http::StatusCode;
use axum::{extract::State, response::Response};
use garde::Validate;
use omnistack_core::{
    ExposeSecret as _,
    http::{Error, Json, Path},
    identity::{Identity, Require},
    module::Api,
    name::is_name,
    text::{Name, Text},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

use super::sign_in::{SessionCredentials, TokenMode, require_own_page_for_cookies, sign_in_response};
use crate::{
    account::{Accounts, SignInOutcome, client_info::AccountRequest, passkeys::SignedCredential},
    one_time_tokens::TokenPurpose,
    passkey::{Ceremony, Passkey, PasskeyId},
    session::MAX_FRESH_SIGN_IN_AGE,
};

/// Returns whether users can sign in with the identity provider that has this issuer.
pub(crate) type SignInIssuers = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The state of the routes: the accounts, and the identity providers with which users can sign in.
pub(crate) type Passkeys = (Accounts, SignInIssuers);

/// Returns the public routes.
pub(crate) fn public() -> Api<Accounts> {
    Api::new().routes(routes!(begin_sign_in)).routes(routes!(sign_in))
}

/// Returns the routes for a sign-in that needs a second factor.
pub(crate) fn second_factor() -> Api<Accounts> {
    Api::new().routes(routes!(begin_second_factor)).routes(routes!(finish_with_passkey))
}

/// Returns the routes for signed-in users.
pub(crate) fn app() -> Api<Passkeys> {
    Api::new()
        .routes(routes!(list))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(begin_registration))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(add))
        .routes(routes!(rename))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(remove))
        .routes(routes!(begin_verification))
        .routes(routes!(verify))
}

/// A WebAuthn ceremony, with the options for the browser.
#[derive(Serialize, ToSchema)]
struct CeremonyBody {
    /// The id of the ceremony. Send it back with the browser's credential, once.
    ceremony: String,
    /// The options for `PublicKeyCredential.parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`.
    #[schema(value_type = Object)]
    options: Value,
    /// The seconds until the ceremony expires.
    expires_in: u64,
}

impl From<Ceremony> for Json<CeremonyBody> {
    fn from(ceremony: Ceremony) -> Self {
        Self(CeremonyBody {
            ceremony: ceremony.token.expose_secret().to_owned(),
            options: ceremony.options,
            expires_in: TokenPurpose::PasskeySignIn.lifetime().as_secs(),
        })
    }
}

/// Begin to sign in with a passkey
///
/// Needs no user name: the passkey names the user. The options are for `navigator.credentials.get`.
#[utoipa::path(post, path = "/start", operation_id = "begin_passkey_sign_in", responses(
    (status = 200, description = "The ceremony, with the options for the browser.", body = CeremonyBody)))]
async fn begin_sign_in(State(accounts): State<Accounts>) -> Result<Json<CeremonyBody>, Error> {
    Ok(accounts.start_passkey_sign_in().await?.into())
}

/// The browser's response to a sign-in ceremony.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct PasskeySignIn {
    /// The ceremony as it was returned.
    ceremony: Text<0, 200>,
    /// The browser's `PublicKeyCredential`, serialised by its `toJSON`.
    #[schema(value_type = Object)]
    credential: PublicKeyCredential,
    /// The way the tokens are returned.
    #[serde(default)]
    #[schema(inline)]
    mode: TokenMode,
}

/// Sign in with a passkey
///
/// Begins a session that counts as signed in with a second factor, since a passkey is two factors in one. Every failure
/// of the passkey gets the same response.
#[utoipa::path(post, path = "/finish", operation_id = "sign_in_with_passkey", request_body = PasskeySignIn, responses(
    (status = 200, description = "A session has begun.", body = SessionCredentials),
    (status = 400, description = "The ceremony is unknown, was used or has expired."),
    (status = 401, description = "The passkey is not accepted."),
    (status = 403, description = "The passkey is correct, but the account is disabled.")))]
async fn sign_in(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(PasskeySignIn { ceremony, credential, mode }): Json<PasskeySignIn>,
) -> Result<Response, Error> {
    require_own_page_for_cookies(&accounts, &request, mode)?;
    let shown = SignedCredential { ceremony: ceremony.into(), credential };
    let tokens = accounts.sign_in_with_passkey(&shown, &request.client_info).await?;
    sign_in_response(&accounts, &request, SignInOutcome::Authenticated(tokens), mode).await
}

/// The challenge of a sign-in.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct PasskeyChallenge {
    /// The challenge as it was returned. It stays valid.
    challenge: Text<0, 200>,
}

/// Begin to use a passkey as a second factor
///
/// For a sign-in whose response was a challenge with `passkey` among its `methods`.
#[utoipa::path(post, path = "/start", operation_id = "begin_passkey_second_factor", request_body = PasskeyChallenge, responses(
    (status = 200, description = "The ceremony, with the options for the browser.", body = CeremonyBody),
    (status = 400, description = "The challenge is not valid, was used or has expired."),
    (status = 409, description = "The user has no passkey.")))]
async fn begin_second_factor(
    State(accounts): State<Accounts>,
    Json(PasskeyChallenge { challenge }): Json<PasskeyChallenge>,
) -> Result<Json<CeremonyBody>, Error> {
    Ok(accounts.start_passkey_mfa(&challenge).await?.into())
}

/// The challenge of a sign-in, and the browser's response to a ceremony.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct PasskeySecondFactor {
    /// The challenge of the sign-in as it was returned.
    challenge: Text<0, 200>,
    /// The ceremony as it was returned.
    ceremony: Text<0, 200>,
    /// The browser's `PublicKeyCredential`, serialised by its `toJSON`.
    #[schema(value_type = Object)]
    credential: PublicKeyCredential,
    /// The way the tokens are returned.
    #[serde(default)]
    #[schema(inline)]
    mode: TokenMode,
}

/// Sign in with a passkey as a second factor
///
/// Completes a sign-in whose response was a challenge. The challenge is used up whether it succeeds or fails.
#[utoipa::path(post, path = "/finish", operation_id = "finish_passkey_second_factor", request_body = PasskeySecondFactor, responses(
    (status = 200, description = "A session has begun.", body = SessionCredentials),
    (status = 400, description = "The challenge is not valid, was used or has expired."),
    (status = 401, description = "The passkey does not belong to the user. Sign in again.")))]
async fn finish_with_passkey(
    State(accounts): State<Accounts>,
    request: AccountRequest,
    Json(PasskeySecondFactor { challenge, ceremony, credential, mode }): Json<PasskeySecondFactor>,
) -> Result<Response, Error> {
    require_own_page_for_cookies(&accounts, &request, mode)?;
    let shown = SignedCredential { ceremony: ceremony.into(), credential };
    let tokens = accounts.complete_mfa_with_passkey(&challenge, &shown, &request.client_info).await?;
    sign_in_response(&accounts, &request, SignInOutcome::Authenticated(tokens), mode).await
}

/// The caller's passkeys.
#[derive(Serialize, ToSchema)]
struct PasskeyList {
    /// The passkeys, oldest first.
    items: Vec<Passkey>,
}

/// List passkeys
#[utoipa::path(get, path = "/", operation_id = "list_passkeys",
    responses((status = 200, description = "The list.", body = PasskeyList)))]
async fn list(State(state): State<Passkeys>, caller: Identity) -> Result<Json<PasskeyList>, Error> {
    Ok(Json(PasskeyList { items: state.0.passkeys(&caller).await? }))
}

/// Begin to add a passkey
///
/// Needs a sign-in within the last ten minutes, and the second factor if the user has one. The options are for
/// `navigator.credentials.create`.
#[utoipa::path(post, path = "/start", operation_id = "begin_passkey_registration", responses(
    (status = 200, description = "The ceremony, with the options for the browser.", body = CeremonyBody),
    (status = 401, description = "The sign-in is older than 10 minutes, or was without the second factor."),
    (status = 403, description = "The email address is not verified.")))]
async fn begin_registration(State(state): State<Passkeys>, caller: Identity) -> Result<Json<CeremonyBody>, Error> {
    Ok(state.0.begin_passkey(&caller).await?.into())
}

/// The browser's response to a registration ceremony.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewPasskey {
    /// The ceremony as it was returned.
    ceremony: Text<0, 200>,
    /// The browser's `PublicKeyCredential`, serialised by its `toJSON`.
    #[schema(value_type = Object)]
    credential: RegisterPublicKeyCredential,
    /// The name of the passkey, such as the place where it is stored.
    #[serde(default = "default_name")]
    #[garde(length(chars, min = 1, max = 100), custom(is_name))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f]*\\S[^\\x00-\\x1f\\x7f]*$")]
    name: String,
}

fn default_name() -> String {
    "Passkey".to_owned()
}

/// Add a passkey
///
/// The passkey can sign in from now on. The user is informed by mail.
#[utoipa::path(post, path = "/finish", operation_id = "register_passkey", request_body = NewPasskey, responses(
    (status = 201, description = "The passkey.", body = Passkey),
    (status = 400, description = "The ceremony was not begun by the caller, was used or has expired."),
    (status = 401, description = "The sign-in is older than 10 minutes, or was without the second factor."),
    (status = 409, description = "The passkey is registered already, or the user has too many."),
    (status = 422, description = "The passkey was not created for this site and this ceremony, or the device did not verify its user.")))]
async fn add(
    State(state): State<Passkeys>,
    caller: Identity,
    request: AccountRequest,
    Json(NewPasskey { ceremony, credential, name }): Json<NewPasskey>,
) -> Result<(StatusCode, Json<Passkey>), Error> {
    let name = name.trim().to_owned();
    let passkey = state.0.add_passkey(&caller, &ceremony, &credential, name, &request.client_info).await?;
    Ok((StatusCode::CREATED, Json(passkey)))
}

/// A passkey's new name.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct PasskeyName {
    /// The new name.
    name: Name<100>,
}

/// Rename a passkey
#[utoipa::path(patch, path = "/{id}", operation_id = "update_passkey", request_body = PasskeyName,
    params(("id" = String, Path, format = Uuid, description = "The passkey.")), responses(
    (status = 200, description = "The passkey.", body = Passkey),
    (status = 404, description = "The caller has no such passkey.")))]
async fn rename(
    State(state): State<Passkeys>,
    caller: Identity,
    Path(id): Path<PasskeyId>,
    request: AccountRequest,
    Json(PasskeyName { name }): Json<PasskeyName>,
) -> Result<Json<Passkey>, Error> {
    Ok(Json(state.0.rename_passkey(&caller, id, name.trim(), &request.client_info).await?))
}

/// Remove a passkey
///
/// Needs a sign-in within the last ten minutes. Ends every other session and informs the user by mail. Fails if the
/// passkey is the last sign-in method.
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_passkey",
    params(("id" = String, Path, format = Uuid, description = "The passkey.")), responses(
    (status = 204, description = "Removed."),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is older than 10 minutes."),
    (status = 404, description = "The caller has no such passkey."),
    (status = 409, description = "`LAST_SIGN_IN_METHOD`: it is the user's last sign-in method.")))]
async fn remove(
    State(state): State<Passkeys>,
    caller: Identity,
    Path(id): Path<PasskeyId>,
    request: AccountRequest,
) -> Result<StatusCode, Error> {
    state.0.remove_passkey(&caller, id, &*state.1, &request.client_info).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin to verify a passkey
///
/// For a session in progress: before a route that needs a second factor or a fresh sign-in.
#[utoipa::path(post, path = "/verify/start", operation_id = "begin_passkey_verification", responses(
    (status = 200, description = "The ceremony, with the options for the browser.", body = CeremonyBody),
    (status = 409, description = "The caller has no passkey.")))]
async fn begin_verification(State(state): State<Passkeys>, caller: Identity) -> Result<Json<CeremonyBody>, Error> {
    Ok(state.0.start_passkey_step_up(&caller).await?.into())
}

/// The browser's response to a verification ceremony.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct PasskeyVerification {
    /// The ceremony as it was returned.
    ceremony: Text<0, 200>,
    /// The browser's `PublicKeyCredential`, serialised by its `toJSON`.
    #[schema(value_type = Object)]
    credential: PublicKeyCredential,
}

/// Verify a passkey
///
/// From now on the session counts as signed in with a second factor.
#[utoipa::path(post, path = "/verify/finish", operation_id = "verify_passkey", request_body = PasskeyVerification, responses(
    (status = 204, description = "Verified."),
    (status = 400, description = "The ceremony was not begun by the caller, was used or has expired."),
    (status = 422, description = "The passkey does not belong to the caller.")))]
async fn verify(
    State(state): State<Passkeys>,
    caller: Identity,
    request: AccountRequest,
    Json(PasskeyVerification { ceremony, credential }): Json<PasskeyVerification>,
) -> Result<StatusCode, Error> {
    let shown = SignedCredential { ceremony: ceremony.into(), credential };
    state.0.step_up_with_passkey(&caller, &shown, &request.client_info).await?;
    Ok(StatusCode::NO_CONTENT)
}
