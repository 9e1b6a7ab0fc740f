//! Listing and ending sessions.

use ::http::StatusCode;
use axum::extract::State;
use omnistack_core::{
    app::Api,
    http::{Error, Json, Path},
    identity::{Identity, SessionId},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{account::Accounts, model::SessionInfo};

/// For who is signed in.
pub(crate) fn app() -> Api<Accounts> {
    Api::new().routes(routes!(list)).routes(routes!(end))
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
#[utoipa::path(get, path = "/", operation_id = "list_sessions", responses((status = 200, description = "The sessions.", body = SessionList)))]
async fn list(State(accounts): State<Accounts>, caller: Identity) -> Result<Json<SessionList>, Error> {
    let current = |session: SessionInfo| SessionBody { current: caller.session == Some(session.id), session };
    let items = accounts.sessions().of(caller.user).await?.into_iter().map(current).collect();
    Ok(Json(SessionList { items }))
}

/// End a session
///
/// Signs the device out. Its access token is refused from now on.
#[utoipa::path(delete, path = "/{id}", operation_id = "end_session", params(("id" = String, Path, format = Uuid, description = "The session.")),
    responses((status = 204, description = "It has ended."), (status = 404, description = "The caller has no such session.")))]
async fn end(
    State(accounts): State<Accounts>,
    caller: Identity,
    Path(id): Path<SessionId>,
) -> Result<StatusCode, Error> {
    if accounts.end_session(&caller, id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(Error::not_found("session")) }
}
