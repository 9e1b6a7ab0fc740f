//! Reauthentication by password, change of the password, and revocation of the caller's sessions.

use ::http::StatusCode;
use omnistack_core::{
    audit::AuditEntry,
    http::{self, FieldError},
    identity::{Identity, Require, SessionId},
};
use serde_json::{Value, json};

use super::{Accounts, ClientInfo, MAX_FRESH_SIGN_IN_AGE};
use crate::{
    Error,
    api_key::remaining::RemainingKeys,
    lockout::KnownSource,
    mail::AccountMail,
    password::Password,
    users::store::accounts::{self as store, Account},
};

impl Accounts {
    /// Returns the caller's account after reauthentication: with its password, or, for an account without one, by a
    /// sign-in within the last ten minutes.
    ///
    /// # Errors
    /// 422 for a missing or wrong password; 429 `TOO_MANY_ATTEMPTS` after several wrong passwords in one session; 401
    /// `REAUTHENTICATION_REQUIRED` if the account has no password and the sign-in is older.
    pub(crate) async fn reauthenticate(
        &self,
        caller: &Identity,
        field: &'static str,
        password: Option<&Password>,
        visitor: &ClientInfo,
    ) -> Result<Account, Error> {
        let account = self.own_account(caller).await?;
        let Some(kept) = account.password_hash.as_deref() else {
            Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE).check(caller, &self.0.clock)?;
            return Ok(account);
        };
        let Some(password) = password else {
            return Err(http::Error::invalid([FieldError::new(field, "is required")]).into());
        };
        // Counted per session, so that strangers who try to sign in cannot lock users out of their own settings.
        let attempt = self.0.lockout.attempt_known(KnownSource::Session(account.id, caller.session)).await?;
        let verified = self.0.passwords.verify(password, Some(kept)).await;
        let verified = self.undo_attempt_on_error(&attempt, verified).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        if verified.valid {
            self.0.lockout.resolve_in(&mut tx, &attempt, true).await?;
            tx.commit().await?;
            return Ok(account);
        }
        let details = Some(super::with_client_info(visitor, Value::Null));
        self.record_in(&mut tx, "account.password_refused", &account, Some(account.id), details).await?;
        tx.commit().await?;
        Err(http::Error::invalid([FieldError::new(field, "is not your password")]).into())
    }

    /// Changes the caller's password and revokes the caller's other sessions. Returns the API keys that remain. Fails
    /// with 409 `PASSWORD_CHANGED` if another request has changed the password, and like `confirm`.
    pub(crate) async fn change_password(
        &self,
        caller: &Identity,
        current: Option<&Password>,
        new: &Password,
        revoke_keys: bool,
        visitor: &ClientInfo,
    ) -> Result<RemainingKeys, Error> {
        let account = self.reauthenticate(caller, "current_password", current, visitor).await?;
        let second_factor = !self.second_factors_of(account.id).await?.is_empty();
        self.validate_password("new_password", new, account.email.as_deref(), second_factor).await?;
        let hash = self.0.passwords.hash(new).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        let now = store::lock(&mut tx, account.id).await?;
        if now.is_none_or(|now| now.password_hash != account.password_hash) {
            let message = "the password was changed by another request; try again with the new password";
            return Err(http::Error::new(StatusCode::CONFLICT, "PASSWORD_CHANGED", message).into());
        }
        store::set_password(&mut tx, account.id, Some(&hash), self.0.clock.now()).await?;
        self.0.one_time.revoke_all_in(&mut tx, account.id).await?;
        self.0.sessions.revoke_all_in(&mut tx, account.id, caller.session).await?;
        let left = self.remaining_keys(&mut tx, &account, revoke_keys).await?;
        let details = Some(super::with_client_info(visitor, Value::Null));
        self.record_in(&mut tx, "account.password_changed", &account, Some(account.id), details).await?;
        self.mail_in(&mut tx, AccountMail::PasswordChanged { user: account.id }).await?;
        tx.commit().await?;
        self.0.sessions.invalidate_user(account.id).await;
        Ok(left)
    }

    /// Revokes a session of the caller. Returns whether the session existed.
    pub(crate) async fn revoke_session(&self, caller: &Identity, session: SessionId) -> Result<bool, Error> {
        let account = self.own_account(caller).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        let ended = self.0.sessions.revoke_in(&mut tx, account.id, session).await?;
        if ended {
            let entry = AuditEntry::new("account.session_ended").actor(caller).details(json!({ "session": session }));
            self.record_entry_in(&mut tx, &account, entry).await?;
        }
        tx.commit().await?;
        self.0.sessions.invalidate_user(account.id).await;
        Ok(ended)
    }

    /// Revokes every session of the caller except the current one. Returns their number, and the API keys that
    /// remain.
    pub(crate) async fn revoke_other_sessions(
        &self,
        caller: &Identity,
        revoke_keys: bool,
    ) -> Result<(u64, RemainingKeys), Error> {
        let account = self.own_account(caller).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        let ended = self.0.sessions.revoke_all_in(&mut tx, account.id, caller.session).await?;
        let left = self.remaining_keys(&mut tx, &account, revoke_keys).await?;
        let details = json!({ "sessions": ended, "api_keys": left.api_keys_revoked });
        let entry = AuditEntry::new("account.sessions_ended").actor(caller).details(details);
        self.record_entry_in(&mut tx, &account, entry).await?;
        tx.commit().await?;
        self.0.sessions.invalidate_user(account.id).await;
        Ok((ended, left))
    }
}
