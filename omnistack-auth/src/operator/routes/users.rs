//! Operator routes of users.

use std::time::Duration;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, Json, MAX_PAGE_SIZE, NumberedPage, Path, Query},
    identity::{Identity, Require, UserId},
    module::Api,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::page;
use crate::{
    account::routes::credentials::{EndSessionsQuery, SessionsEnded},
    model::{Membership, SessionInfo, User},
    operator::{
        Operators, UserChange,
        store::{UserQuery, UserSort},
    },
};

/// The maximum age of an operator's sign-in for changes to the rights of other users.
pub(crate) const MAX_SIGN_IN_AGE: Duration = Duration::from_secs(15 * 60);

pub(crate) fn api() -> Api<Operators> {
    Api::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .require(Require::fresh_sign_in(MAX_SIGN_IN_AGE), routes!(change))
        .routes(routes!(sessions, sign_out))
}

#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct UserListQuery {
    /// Only users whose name or email address contains this text. With many users, a search for fewer than three
    /// characters is slow. A search that takes more than three seconds fails with 503 `SEARCH_TIMEOUT`.
    #[garde(inner(length(chars, max = 200)))]
    #[param(max_length = 200)]
    q: Option<String>,
    /// `true` for operators only, `false` for the others only.
    #[garde(skip)]
    operator: Option<bool>,
    /// `true` for users who can sign in, `false` for disabled users.
    #[garde(skip)]
    active: Option<bool>,
    /// The order: `created_at`, `email` or `name`, descending with a leading `-`. By default `-created_at`.
    #[garde(skip)]
    #[param(inline)]
    sort: Option<UserSort>,
    /// The number of the page, beginning with 1. Pages beyond row 100,000 are slow.
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    #[param(minimum = 1, maximum = 1_000_000, default = 1)]
    page: Option<u32>,
    /// The number of users per page.
    #[garde(inner(range(min = 1, max = MAX_PAGE_SIZE)))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u32>,
}

/// List users
#[utoipa::path(get, path = "/", operation_id = "list_users", params(UserListQuery),
    responses((status = 200, description = "A page of users.", body = NumberedPage<User>)))]
async fn list(
    State(operators): State<Operators>,
    Query(query): Query<UserListQuery>,
) -> Result<Json<NumberedPage<User>>, Error> {
    let wanted = UserQuery {
        text: query.q,
        operator: query.operator,
        active: query.active,
        sort: query.sort.unwrap_or_default(),
        page: page(query.page, query.page_size),
    };
    Ok(Json(operators.users(&wanted).await?))
}

/// A user with their memberships.
#[derive(Serialize, ToSchema)]
struct UserDetail {
    #[serde(flatten)]
    user: User,
    /// The user's memberships in the order of joining, at most 200.
    memberships: Vec<Membership>,
}

/// Get a user
#[utoipa::path(get, path = "/{id}", operation_id = "get_user",
    params(("id" = String, Path, format = Uuid, description = "The user.")), responses(
    (status = 200, description = "The user.", body = UserDetail), (status = 404, description = "There is no such user.")))]
async fn get(State(operators): State<Operators>, Path(id): Path<UserId>) -> Result<Json<UserDetail>, Error> {
    let (user, memberships) = operators.user(id).await?;
    Ok(Json(UserDetail { user, memberships }))
}

/// The changes to a user.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChange)]
struct ChangeUser {
    /// Whether the user is an operator.
    #[garde(skip)]
    operator: Option<bool>,
    /// Whether the user can sign in. Setting it to `false` ends every session of the user.
    #[garde(skip)]
    active: Option<bool>,
}

/// Change a user
///
/// Needs a sign-in within the last 15 minutes.
#[utoipa::path(patch, path = "/{id}", operation_id = "update_user", request_body = ChangeUser,
    params(("id" = String, Path, format = Uuid, description = "The user.")), responses(
    (status = 200, description = "The user.", body = User),
    (status = 409, description = "`OWN_ACCOUNT`: another operator must make this change. `EMAIL_NOT_VERIFIED`: an operator needs a verified email address.")))]
async fn change(
    State(operators): State<Operators>,
    caller: Identity,
    Path(id): Path<UserId>,
    Json(ChangeUser { operator, active }): Json<ChangeUser>,
) -> Result<Json<User>, Error> {
    Ok(Json(operators.update_user(&caller, id, UserChange { operator, active }).await?))
}

/// A user's sessions.
#[derive(Serialize, ToSchema)]
#[schema(as = UserSessions)]
struct UserSessionList {
    /// The sessions, newest first, at most 200.
    items: Vec<SessionInfo>,
}

/// List a user's sessions
#[utoipa::path(get, path = "/{id}/sessions", operation_id = "list_user_sessions",
    params(("id" = String, Path, format = Uuid, description = "The user.")),
    responses((status = 200, description = "The sessions.", body = UserSessionList)))]
async fn sessions(State(operators): State<Operators>, Path(id): Path<UserId>) -> Result<Json<UserSessionList>, Error> {
    Ok(Json(UserSessionList { items: operators.sessions(id).await? }))
}

/// Sign a user out
///
/// Ends every session of the user immediately. API keys stay valid unless they are revoked as well.
#[utoipa::path(delete, path = "/{id}/sessions", operation_id = "end_user_sessions",
    params(("id" = String, Path, format = Uuid, description = "The user."), EndSessionsQuery),
    responses((status = 200, description = "Done.", body = SessionsEnded)))]
async fn sign_out(
    State(operators): State<Operators>,
    caller: Identity,
    Path(id): Path<UserId>,
    Query(query): Query<EndSessionsQuery>,
) -> Result<Json<SessionsEnded>, Error> {
    Ok(Json(operators.sign_out(&caller, id, query.api_keys.unwrap_or(false)).await?.into()))
}
