//! Users, for operators.

use std::time::Duration;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    app::Api,
    http::{Error, Json, MAX_PAGE_SIZE, NumberedPage, Path, Query},
    identity::{Identity, Require, UserId},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::page;
use crate::{
    http::credential::{EndingQuery, SessionsEnded},
    model::{Membership, SessionInfo, User},
    operator::{Operators, UserChange},
    store::admin::{UserList, UserSort},
};

/// How long ago an operator may have signed in who changes what others may do.
pub(super) const RECENT: Duration = Duration::from_secs(15 * 60);

pub(crate) fn api() -> Api<Operators> {
    Api::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .guarded(Require::recent(RECENT), routes!(change))
        .routes(routes!(sessions, sign_out))
}

#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only those with this in their name or address.
    #[garde(inner(length(max = 200)))]
    #[param(max_length = 200)]
    q: Option<String>,
    /// Only operators, or only others.
    #[garde(skip)]
    operator: Option<bool>,
    /// Only those who can sign in, or only those who can't.
    #[garde(skip)]
    active: Option<bool>,
    /// `created_at`, `email` or `name`; with `-` before it from the last to the first. `-created_at` when absent.
    #[garde(skip)]
    #[param(inline)]
    sort: Option<UserSort>,
    /// Counted from 1. Pages beyond row 100,000 take long.
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    #[param(minimum = 1, maximum = 1_000_000, default = 1)]
    page: Option<u32>,
    /// Users a page.
    #[garde(inner(range(min = 1, max = MAX_PAGE_SIZE)))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u32>,
}

/// List users
#[utoipa::path(get, path = "/", operation_id = "list_users", params(ListQuery),
    responses((status = 200, description = "A page of users.", body = NumberedPage<User>)))]
async fn list(
    State(operators): State<Operators>,
    Query(query): Query<ListQuery>,
) -> Result<Json<NumberedPage<User>>, Error> {
    let wanted = UserList {
        text: query.q,
        operator: query.operator,
        active: query.active,
        sort: query.sort.unwrap_or_default(),
        page: page(query.page, query.page_size),
    };
    Ok(Json(operators.users(&wanted).await?))
}

/// A user in full.
#[derive(Serialize, ToSchema)]
struct UserDetail {
    #[serde(flatten)]
    user: User,
    /// Where they are a member; the first joined first, at most 200.
    memberships: Vec<Membership>,
}

/// Get a user
#[utoipa::path(get, path = "/{id}", operation_id = "get_user",
    params(("id" = String, Path, format = Uuid, description = "The user.")), responses(
    (status = 200, description = "The user.", body = UserDetail), (status = 404, description = "There is none.")))]
async fn get(State(operators): State<Operators>, Path(id): Path<UserId>) -> Result<Json<UserDetail>, Error> {
    let (user, memberships) = operators.user(id).await?;
    Ok(Json(UserDetail { user, memberships }))
}

/// What to change of a user.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChange)]
struct Change {
    /// Whether they operate the app.
    #[garde(skip)]
    operator: Option<bool>,
    /// Whether they can sign in. Who no longer can is signed out everywhere.
    #[garde(skip)]
    active: Option<bool>,
}

/// Change a user
///
/// Needs a sign-in of the last 15 minutes.
#[utoipa::path(patch, path = "/{id}", operation_id = "update_user", request_body = Change,
    params(("id" = String, Path, format = Uuid, description = "The user.")), responses(
    (status = 200, description = "The user.", body = User),
    (status = 409, description = "`OWN_ACCOUNT`: another operator has to do this. `EMAIL_NOT_VERIFIED`: an operator's address is confirmed.")))]
async fn change(
    State(operators): State<Operators>,
    caller: Identity,
    Path(id): Path<UserId>,
    Json(Change { operator, active }): Json<Change>,
) -> Result<Json<User>, Error> {
    Ok(Json(operators.change(&caller, id, UserChange { operator, active }).await?))
}

/// A user's sessions.
#[derive(Serialize, ToSchema)]
#[schema(as = UserSessions)]
struct Sessions {
    /// The newest first, at most 200.
    items: Vec<SessionInfo>,
}

/// List a user's sessions
#[utoipa::path(get, path = "/{id}/sessions", operation_id = "list_user_sessions",
    params(("id" = String, Path, format = Uuid, description = "The user.")),
    responses((status = 200, description = "The sessions.", body = Sessions)))]
async fn sessions(State(operators): State<Operators>, Path(id): Path<UserId>) -> Result<Json<Sessions>, Error> {
    Ok(Json(Sessions { items: operators.sessions(id).await? }))
}

/// Sign a user out
///
/// Ends every session of theirs, at once. API keys go on, unless they are to be revoked as well.
#[utoipa::path(delete, path = "/{id}/sessions", operation_id = "end_user_sessions",
    params(("id" = String, Path, format = Uuid, description = "The user."), EndingQuery),
    responses((status = 200, description = "Done.", body = SessionsEnded)))]
async fn sign_out(
    State(operators): State<Operators>,
    caller: Identity,
    Path(id): Path<UserId>,
    Query(query): Query<EndingQuery>,
) -> Result<Json<SessionsEnded>, Error> {
    Ok(Json(operators.sign_out(&caller, id, query.api_keys.unwrap_or(false)).await?.into()))
}
