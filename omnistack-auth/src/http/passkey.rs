//! Passkeys: adding one, signing in with it, and showing it as a second factor.

use ::http::StatusCode;
use axum::{extract::State, response::Response};
use garde::Validate;
use omnistack_core::{
    ExposeSecret as _,
    app::Api,
    http::{Error, Json, Path},
    identity::{Identity, Require},
    name::is_name,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

use super::{
    login::{Mode, TokenBody, may_have_cookies, signed_in},
    visitor::Request,
};
use crate::{
    account::{Accounts, SignedIn, passkey::Shown},
    one_time::Purpose,
    passkey::{Ceremony, Passkey, PasskeyId},
    session::RECENT,
    social::Social,
};

/// The accounts, and the providers there are.
pub(crate) type Passkeys = (Accounts, Option<Social>);

/// For anybody.
pub(crate) fn public() -> Api<Accounts> {
    Api::new().routes(routes!(ask)).routes(routes!(sign_in))
}

/// For anybody who has a challenge.
pub(crate) fn second_factor() -> Api<Accounts> {
    Api::new().routes(routes!(ask_for_second_factor)).routes(routes!(finish_with_passkey))
}

/// For who is signed in.
pub(crate) fn app() -> Api<Passkeys> {
    Api::new()
        .routes(routes!(list))
        .guarded(Require::recent(RECENT), routes!(begin))
        .guarded(Require::recent(RECENT), routes!(add))
        .routes(routes!(rename))
        .guarded(Require::recent(RECENT), routes!(remove))
        .routes(routes!(ask_caller))
        .routes(routes!(show))
}

/// What a page hands to the browser.
#[derive(Serialize, ToSchema)]
struct CeremonyBody {
    /// Goes back with what the device has signed, once.
    ceremony: String,
    /// For `PublicKeyCredential.parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`.
    #[schema(value_type = Object)]
    options: Value,
    /// Seconds within which it is to come back.
    expires_in: u64,
}

impl From<Ceremony> for Json<CeremonyBody> {
    fn from(ceremony: Ceremony) -> Self {
        Self(CeremonyBody {
            ceremony: ceremony.token.expose_secret().to_owned(),
            options: ceremony.options,
            expires_in: Purpose::Passkey.lifetime().as_secs(),
        })
    }
}

/// Begin to sign in with a passkey
///
/// Nobody has to say who they are: the device knows. The options are for `navigator.credentials.get`.
#[utoipa::path(post, path = "/start", operation_id = "begin_passkey_sign_in", responses(
    (status = 200, description = "What the browser takes.", body = CeremonyBody)))]
async fn ask(State(accounts): State<Accounts>) -> Result<Json<CeremonyBody>, Error> {
    Ok(accounts.ask_for_passkey().await?.into())
}

/// What a device has signed.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasskeySignIn {
    /// As it was given out.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    ceremony: String,
    /// The browser's `PublicKeyCredential`, by its `toJSON`.
    #[garde(skip)]
    #[schema(value_type = Object)]
    credential: PublicKeyCredential,
    /// How the tokens are handed over.
    #[serde(default)]
    #[garde(skip)]
    #[schema(inline)]
    mode: Mode,
}

/// Sign in with a passkey
///
/// Begins a session that has shown a second factor: a passkey is two in one. Whatever is wrong is answered alike.
#[utoipa::path(post, path = "/finish", operation_id = "sign_in_with_passkey", request_body = PasskeySignIn, responses(
    (status = 200, description = "A session has begun.", body = TokenBody),
    (status = 400, description = "It was not begun here, was used or has expired."),
    (status = 401, description = "The passkey does not sign in here."),
    (status = 403, description = "The passkey is right, but the account is locked.")))]
async fn sign_in(
    State(accounts): State<Accounts>,
    request: Request,
    Json(PasskeySignIn { ceremony, credential, mode }): Json<PasskeySignIn>,
) -> Result<Response, Error> {
    may_have_cookies(&accounts, &request, mode)?;
    let tokens = accounts.sign_in_by_passkey(&Shown { ceremony, credential }, &request.visitor).await?;
    signed_in(&accounts, &request, SignedIn::Tokens(tokens), mode).await
}

/// What a sign-in was answered with.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasskeyChallenge {
    /// As it was given out. It stays good.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    challenge: String,
}

/// Begin to show a passkey as a second factor
///
/// For a sign-in that was answered with a challenge whose `methods` name `passkey`.
#[utoipa::path(post, path = "/start", operation_id = "begin_passkey_second_factor", request_body = PasskeyChallenge, responses(
    (status = 200, description = "What the browser takes.", body = CeremonyBody),
    (status = 400, description = "The challenge is not valid, was used or has expired."),
    (status = 409, description = "The user has no passkey.")))]
async fn ask_for_second_factor(
    State(accounts): State<Accounts>,
    Json(PasskeyChallenge { challenge }): Json<PasskeyChallenge>,
) -> Result<Json<CeremonyBody>, Error> {
    Ok(accounts.ask_for_second_factor(&challenge).await?.into())
}

/// A challenge, and what a device has signed.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasskeySecondFactor {
    /// Of the sign-in, as it was given out.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    challenge: String,
    /// As it was given out.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    ceremony: String,
    /// The browser's `PublicKeyCredential`, by its `toJSON`.
    #[garde(skip)]
    #[schema(value_type = Object)]
    credential: PublicKeyCredential,
    /// How the tokens are handed over.
    #[serde(default)]
    #[garde(skip)]
    #[schema(inline)]
    mode: Mode,
}

/// Sign in with a passkey as a second factor
///
/// Finishes a sign-in that was answered with a challenge. Whatever comes of it, the challenge is used up.
#[utoipa::path(post, path = "/finish", operation_id = "finish_passkey_second_factor", request_body = PasskeySecondFactor, responses(
    (status = 200, description = "A session has begun.", body = TokenBody),
    (status = 400, description = "The challenge is not valid, was used or has expired."),
    (status = 401, description = "The passkey is not this user's: sign in again.")))]
async fn finish_with_passkey(
    State(accounts): State<Accounts>,
    request: Request,
    Json(PasskeySecondFactor { challenge, ceremony, credential, mode }): Json<PasskeySecondFactor>,
) -> Result<Response, Error> {
    may_have_cookies(&accounts, &request, mode)?;
    let shown = Shown { ceremony, credential };
    let tokens = accounts.finish_with_passkey(&challenge, &shown, &request.visitor).await?;
    signed_in(&accounts, &request, SignedIn::Tokens(tokens), mode).await
}

/// The caller's passkeys.
#[derive(Serialize, ToSchema)]
struct PasskeyList {
    /// The oldest first.
    items: Vec<Passkey>,
}

/// List passkeys
#[utoipa::path(get, path = "/", operation_id = "list_passkeys",
    responses((status = 200, description = "The caller's.", body = PasskeyList)))]
async fn list(State(state): State<Passkeys>, caller: Identity) -> Result<Json<PasskeyList>, Error> {
    Ok(Json(PasskeyList { items: state.0.passkeys(&caller).await? }))
}

/// Begin to add a passkey
///
/// For who has signed in within ten minutes; who has a second factor, with that. The options are for
/// `navigator.credentials.create`.
#[utoipa::path(post, path = "/start", operation_id = "begin_passkey_registration", responses(
    (status = 200, description = "What the browser takes.", body = CeremonyBody),
    (status = 401, description = "The sign-in is too long ago, or was without the second factor."),
    (status = 403, description = "The address is not confirmed.")))]
async fn begin(State(state): State<Passkeys>, caller: Identity) -> Result<Json<CeremonyBody>, Error> {
    Ok(state.0.begin_passkey(&caller).await?.into())
}

/// What a device has made.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPasskey {
    /// As it was given out.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    ceremony: String,
    /// The browser's `PublicKeyCredential`, by its `toJSON`.
    #[garde(skip)]
    #[schema(value_type = Object)]
    credential: RegisterPublicKeyCredential,
    /// What it is to be called: where it is kept.
    #[serde(default = "unnamed")]
    #[garde(length(chars, min = 1, max = 100), custom(is_name))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f]*\\S[^\\x00-\\x1f\\x7f]*$")]
    name: String,
}

fn unnamed() -> String {
    "Passkey".to_owned()
}

/// Add a passkey
///
/// It signs in from now on. The user is told by mail.
#[utoipa::path(post, path = "/finish", operation_id = "register_passkey", request_body = NewPasskey, responses(
    (status = 201, description = "The passkey.", body = Passkey),
    (status = 400, description = "It was not begun by the caller, was used or has expired."),
    (status = 401, description = "The sign-in is too long ago, or was without the second factor."),
    (status = 409, description = "It is known already, or there are too many."),
    (status = 422, description = "It was not made for this site and now, by a device that knows its user.")))]
async fn add(
    State(state): State<Passkeys>,
    caller: Identity,
    request: Request,
    Json(NewPasskey { ceremony, credential, name }): Json<NewPasskey>,
) -> Result<(StatusCode, Json<Passkey>), Error> {
    let name = name.trim().to_owned();
    let passkey = state.0.add_passkey(&caller, &ceremony, &credential, name, &request.visitor).await?;
    Ok((StatusCode::CREATED, Json(passkey)))
}

/// A name.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasskeyName {
    /// What it is to be called.
    #[garde(length(chars, min = 1, max = 100), custom(is_name))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f]*\\S[^\\x00-\\x1f\\x7f]*$")]
    name: String,
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
    request: Request,
    Json(PasskeyName { name }): Json<PasskeyName>,
) -> Result<Json<Passkey>, Error> {
    Ok(Json(state.0.rename_passkey(&caller, id, name.trim(), &request.visitor).await?))
}

/// Remove a passkey
///
/// For who has signed in within ten minutes. Ends every session but this one, and tells the user by mail. Never takes the
/// last way to sign in.
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_passkey",
    params(("id" = String, Path, format = Uuid, description = "The passkey.")), responses(
    (status = 204, description = "It is gone."),
    (status = 401, description = "The sign-in is too long ago."),
    (status = 404, description = "The caller has no such passkey."),
    (status = 409, description = "There would be no way left to sign in.")))]
async fn remove(
    State(state): State<Passkeys>,
    caller: Identity,
    Path(id): Path<PasskeyId>,
    request: Request,
) -> Result<StatusCode, Error> {
    let offered = |issuer: &str| state.1.as_ref().is_some_and(|social| social.knows(issuer));
    state.0.remove_passkey(&caller, id, offered, &request.visitor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin to show a passkey
///
/// For a session that goes on: where a route asks for a second factor, or for a recent sign-in.
#[utoipa::path(post, path = "/verify/start", operation_id = "begin_passkey_verification", responses(
    (status = 200, description = "What the browser takes.", body = CeremonyBody),
    (status = 409, description = "The caller has no passkey.")))]
async fn ask_caller(State(state): State<Passkeys>, caller: Identity) -> Result<Json<CeremonyBody>, Error> {
    Ok(state.0.ask_caller(&caller).await?.into())
}

/// What a device has signed.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ShownPasskey {
    /// As it was given out.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    ceremony: String,
    /// The browser's `PublicKeyCredential`, by its `toJSON`.
    #[garde(skip)]
    #[schema(value_type = Object)]
    credential: PublicKeyCredential,
}

/// Show a passkey
///
/// From now on this session has shown a second factor.
#[utoipa::path(post, path = "/verify/finish", operation_id = "verify_passkey", request_body = ShownPasskey, responses(
    (status = 204, description = "It is noted."),
    (status = 400, description = "It was not begun by the caller, was used or has expired."),
    (status = 422, description = "It is no passkey of the caller's.")))]
async fn show(
    State(state): State<Passkeys>,
    caller: Identity,
    request: Request,
    Json(ShownPasskey { ceremony, credential }): Json<ShownPasskey>,
) -> Result<StatusCode, Error> {
    state.0.show_passkey(&caller, &Shown { ceremony, credential }, &request.visitor).await?;
    Ok(StatusCode::NO_CONTENT)
}
