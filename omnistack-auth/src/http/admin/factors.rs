//! Second factors of users, for operators.

use axum::extract::State;
use omnistack_core::{
    app::Api,
    http::{Error, Json, Path},
    identity::{Identity, Require, UserId},
};
use utoipa_axum::routes;

use super::users::RECENT;
use crate::account::{Accounts, FactorsReset};

pub(crate) fn api() -> Api<Accounts> {
    Api::new().guarded(Require::recent(RECENT), routes!(reset))
}

/// Take a user's second factors away
///
/// For a user who has lost them, once somebody has made sure who asks: the app for codes, the recovery codes, the
/// number for codes and every passkey are gone, every session ends, and the user is told by mail. Needs a sign-in of the last 15 minutes.
#[utoipa::path(post, path = "/{id}/reset-factors", operation_id = "reset_user_factors",
    params(("id" = String, Path, format = Uuid, description = "The user.")), responses(
    (status = 200, description = "What was taken away.", body = FactorsReset),
    (status = 401, description = "The sign-in is too long ago."),
    (status = 404, description = "There is no such user."),
    (status = 409, description = "`OWN_ACCOUNT`, `NO_SECOND_FACTOR`, or `LAST_WAY_IN`: there would be no way left to sign in.")))]
async fn reset(
    State(accounts): State<Accounts>,
    caller: Identity,
    Path(id): Path<UserId>,
) -> Result<Json<FactorsReset>, Error> {
    Ok(Json(accounts.reset_factors(&caller, id).await?))
}
