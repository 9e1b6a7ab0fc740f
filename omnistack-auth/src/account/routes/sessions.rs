//! Routes that list and end the caller's sessions.

use ::http::StatusCode;
use axum::extract::State;
use omnistack_core::{
    http::{Error, Json, Path},
    identity::{Identity, SessionId},
    module::Api,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{account::Accounts, model::SessionInfo};

/// Returns the routes for signed-in users.
pub(crate) fn app() -> Api<Accounts> {
    Api::new().routes(routes!(list)).routes(routes!(end))
}

/// A session of the caller.
#[derive(Serialize, ToSchema)]
struct SessionBody {
    #[serde(flatten)]
    session: SessionInfo,
    /// Whether it is the session that makes this request.
    current: bool,
}

/// The caller's sessions.
#[derive(Serialize, ToSchema)]
struct SessionList {
    /// The sessions, newest first, at most 200.
    items: Vec<SessionBody>,
}

/// List sessions
///
/// Lists the caller's sessions, each a sign-in on one device.
#[utoipa::path(get, path = "/", operation_id = "list_sessions", responses((status = 200, description = "The sessions.", body = SessionList)))]
async fn list(State(accounts): State<Accounts>, caller: Identity) -> Result<Json<SessionList>, Error> {
    let current = |session: SessionInfo| SessionBody { current: caller.session == Some(session.id), session };
    let items = accounts.sessions().list(caller.user).await?.into_iter().map(current).collect();
    Ok(Json(SessionList { items }))
}

/// End a session
///
/// Signs the device out. The session's access tokens are refused immediately.
#[utoipa::path(delete, path = "/{id}", operation_id = "end_session", params(("id" = String, Path, format = Uuid, description = "The session.")),
    responses((status = 204, description = "The session is ended."), (status = 404, description = "The caller has no such session.")))]
async fn end(
    State(accounts): State<Accounts>,
    caller: Identity,
    Path(id): Path<SessionId>,
) -> Result<StatusCode, Error> {
    if accounts.revoke_session(&caller, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Error::not_found("the session"))
    }
}
