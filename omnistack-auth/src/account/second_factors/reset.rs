//! The reset of a user's second factors and passkeys by an operator, for a user who has lost them.

use ::http::StatusCode;
use omnistack_core::{
    audit::AuditEntry,
    http,
    identity::{Identity, UserId},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    Error,
    account::Accounts,
    mail::{AccountMail, SecondFactorChange},
    users::store::accounts as store,
};

/// The second factors and sessions that were removed.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct FactorsReset {
    /// Whether an authenticator app was removed, and its recovery codes with it.
    pub(crate) totp: bool,
    /// Whether a phone number for codes was removed.
    pub(crate) phone: bool,
    /// The number of passkeys removed.
    pub(crate) passkeys: u64,
    /// The number of sessions revoked.
    pub(crate) sessions: u64,
}

impl Accounts {
    /// Removes a user's authenticator app, recovery codes, phone number for codes and passkeys, and revokes all of
    /// the user's sessions. The password, magic links and linked identities remain.
    ///
    /// # Errors
    /// 403 if the caller is not an operator any more; 404 for an unknown user; 409 `OWN_ACCOUNT` for the caller's own
    /// account, `NO_SECOND_FACTOR` if there is nothing to remove, `LAST_SIGN_IN_METHOD` if no sign-in method would be left.
    pub(crate) async fn reset_factors(&self, caller: &Identity, user: UserId) -> Result<FactorsReset, Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        if !store::lock_operators(&mut tx).await?.contains(&caller.user) {
            return Err(http::Error::forbidden("this is for operators of the app").into());
        }
        let account = store::lock(&mut tx, user).await?.ok_or_else(|| http::Error::not_found("the user"))?;
        if user == caller.user {
            let message = "this is your own account; ask another operator";
            return Err(http::Error::conflict("OWN_ACCOUNT", message).into());
        }
        let mut reset = FactorsReset { totp: self.0.totp.remove_in(&mut tx, user).await?, ..FactorsReset::default() };
        #[cfg(feature = "passkeys")]
        {
            reset.passkeys = crate::passkey::store::remove_all(&mut tx, user).await?;
        }
        #[cfg(feature = "sms")]
        {
            reset.phone = crate::mfa::store::sms_codes::remove(&mut tx, user).await?;
        }
        if !reset.totp && !reset.phone && reset.passkeys == 0 {
            let message = "the user has no authenticator app, no phone number for codes and no passkey";
            return Err(http::Error::new(StatusCode::CONFLICT, "NO_SECOND_FACTOR", message).into());
        }
        let by_mail = account.email.is_some() && account.email_verified_at.is_some();
        if reset.passkeys > 0 && !by_mail && store::linked_identities(&mut tx, user).await?.is_empty() {
            let message = "the user would have no sign-in method left; the user must verify an email address first";
            return Err(http::Error::conflict("LAST_SIGN_IN_METHOD", message).into());
        }
        self.0.one_time.revoke_all_in(&mut tx, user).await?;
        self.0.lockout.reset_code_failures_in(&mut tx, user).await?;
        reset.sessions = self.0.sessions.revoke_all_in(&mut tx, user, None).await?;
        let change = SecondFactorChange::Reset;
        let details = json!({
            "totp": reset.totp, "phone": reset.phone, "passkeys": reset.passkeys, "sessions": reset.sessions,
        });
        let entry = AuditEntry::new(change.action()).actor(caller).for_app().resource("user", user).details(details);
        self.0.audit.record_in(&mut tx, entry).await?;
        self.mail_in(&mut tx, AccountMail::SecondFactor { user, change }).await?;
        tx.commit().await?;
        self.0.sessions.invalidate_user(user).await;
        Ok(reset)
    }
}
