//! Refreshing, listing and ending sessions.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    ExposeSecret as _,
    app::Api,
    http::{Error, Json, Path},
    identity::{Identity, SessionId, TenantId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    model::SessionInfo,
    session::{Sessions, Tokens},
};

/// For anybody who holds a refresh token.
pub(crate) fn public() -> Api<Sessions> {
    Api::new().routes(routes!(refresh))
}

/// For who is signed in.
pub(crate) fn app() -> Api<Sessions> {
    Api::new().routes(routes!(list)).routes(routes!(end))
}

/// A pair of tokens.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenBody {
    /// Goes with each request, in `Authorization: Bearer`.
    access_token: String,
    /// Buys the next pair, once.
    refresh_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds the access token is good for.
    expires_in: u64,
    /// The session.
    #[schema(value_type = String, format = Uuid)]
    session_id: SessionId,
    /// The tenant chosen.
    #[schema(value_type = Option<String>, format = Uuid)]
    tenant_id: Option<TenantId>,
}

impl From<Tokens> for TokenBody {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access.expose_secret().to_owned(),
            refresh_token: tokens.refresh.expose_secret().to_owned(),
            token_type: "Bearer",
            expires_in: tokens.expires_in.as_secs(),
            session_id: tokens.session,
            tenant_id: tokens.tenant,
        }
    }
}

/// A refresh token.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    /// As it was given out.
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    refresh_token: String,
}

/// Refresh the tokens
///
/// Gives the next pair for a refresh token, which is good once. One that was used before ends its session.
#[utoipa::path(post, path = "/refresh", request_body = Refresh,
    responses((status = 200, description = "The next pair.", body = TokenBody)))]
async fn refresh(
    State(sessions): State<Sessions>,
    Json(Refresh { refresh_token }): Json<Refresh>,
) -> Result<Json<TokenBody>, Error> {
    Ok(Json(sessions.refresh(&refresh_token).await?.into()))
}

/// A session of the caller.
#[derive(Serialize, ToSchema)]
struct SessionBody {
    #[serde(flatten)]
    session: SessionInfo,
    /// Whether it is the one that asks.
    current: bool,
}

/// The caller's sessions.
#[derive(Serialize, ToSchema)]
struct SessionList {
    /// The newest first, at most 200.
    items: Vec<SessionBody>,
}

/// List sessions
///
/// Where the caller is signed in.
#[utoipa::path(get, path = "/", responses((status = 200, description = "The sessions.", body = SessionList)))]
async fn list(State(sessions): State<Sessions>, caller: Identity) -> Result<Json<SessionList>, Error> {
    let current = |session: SessionInfo| SessionBody { current: caller.session == Some(session.id), session };
    let items = sessions.of(caller.user).await?.into_iter().map(current).collect();
    Ok(Json(SessionList { items }))
}

/// End a session
///
/// Signs the device out. Its access token is refused from now on.
#[utoipa::path(delete, path = "/{id}", params(("id" = String, Path, format = Uuid, description = "The session.")),
    responses((status = 204, description = "It has ended."), (status = 404, description = "The caller has no such session.")))]
async fn end(
    State(sessions): State<Sessions>,
    caller: Identity,
    Path(id): Path<SessionId>,
) -> Result<StatusCode, Error> {
    if sessions.end(caller.user, id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(Error::not_found("session")) }
}
