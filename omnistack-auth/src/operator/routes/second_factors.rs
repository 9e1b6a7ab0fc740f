//! The operator route that resets a user's second factors.

use axum::extract::State;
use omnistack_core::{
    http::{Error, Json, Path},
    identity::{Identity, Require, UserId},
    module::Api,
};
use utoipa_axum::routes;

use super::users::MAX_SIGN_IN_AGE;
use crate::account::{Accounts, FactorsReset};

pub(crate) fn api() -> Api<Accounts> {
    Api::new().require(Require::fresh_sign_in(MAX_SIGN_IN_AGE), routes!(reset))
}

/// Reset a user's second factors
///
/// For a user who has lost them; the operator must verify the user's identity first. Removes the app for codes, the
/// recovery codes, the number for codes and every passkey, ends every session, and informs the user by mail. Needs a
/// sign-in within the last 15 minutes.
#[utoipa::path(post, path = "/{id}/reset-factors", operation_id = "reset_user_factors",
    params(("id" = String, Path, format = Uuid, description = "The user.")), responses(
    (status = 200, description = "The second factors that were removed.", body = FactorsReset),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is older than 15 minutes."),
    (status = 404, description = "There is no such user."),
    (status = 409, description = "`OWN_ACCOUNT`, `NO_SECOND_FACTOR`, or `LAST_SIGN_IN_METHOD`: the user would have no sign-in method left.")))]
async fn reset(
    State(accounts): State<Accounts>,
    caller: Identity,
    Path(id): Path<UserId>,
) -> Result<Json<FactorsReset>, Error> {
    Ok(Json(accounts.reset_factors(&caller, id).await?))
}
