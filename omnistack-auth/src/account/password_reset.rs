//! Password reset.

use serde_json::Value;

use super::{Accounts, ClientInfo};
use crate::{
    Error,
    api_key::remaining::RemainingKeys,
    mail::AccountMail,
    one_time_tokens::{self, TokenPurpose},
    password::Password,
    users::{parse_email, store::accounts as store},
};

impl Accounts {
    /// Requests a password-reset link by email. Succeeds alike whether or not the address has an account.
    pub(crate) async fn request_password_reset(&self, email: &str, visitor: &ClientInfo) -> Result<(), Error> {
        let email = parse_email(email)?;
        self.request_mail_in(TokenPurpose::ResetPassword, AccountMail::Reset { email: email.clone() }, &email, visitor)
            .await
    }

    /// Sets a new password with the token of a password-reset or verification link. This verifies the address,
    /// revokes every session and every other one-time token, and ends the account's lockout. It does not sign the
    /// user in. If the address was not verified, all credentials that the registration had set are deleted. Returns
    /// the API keys that remain. `field` is the name of the password's field in the response.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 422 for a refused password, in which case the token stays valid.
    pub(crate) async fn set_password_by_token(
        &self,
        purpose: TokenPurpose,
        token: &str,
        (field, password): (&'static str, &Password),
        revoke_keys: bool,
        visitor: &ClientInfo,
    ) -> Result<RemainingKeys, Error> {
        // The token is checked before anything is hashed, and a refused password does not use it up.
        let row = self.0.one_time.peek(purpose, token).await?;
        let account = store::by_id(&self.0.db, row.user_id).await?.ok_or_else(one_time_tokens::token_invalid)?;
        let second_factor = !self.second_factors_of(account.id).await?.is_empty();
        self.validate_password(field, password, account.email.as_deref(), second_factor).await?;
        let hash = self.0.passwords.hash(password).await?;

        let mut tx = self.0.db.all_tenants().begin().await?;
        let taken = self.0.one_time.consume_in(&mut tx, purpose, token).await?;
        let row = taken.ok_or_else(one_time_tokens::token_invalid)?;
        let account = store::lock(&mut tx, row.user_id).await?.ok_or_else(one_time_tokens::token_invalid)?;
        let (now, new) = (self.0.clock.now(), account.email_verified_at.is_none());
        if new {
            self.delete_registration_credentials_in(&mut tx, account.id).await?;
        }
        store::set_password(&mut tx, account.id, Some(&hash), now).await?;
        store::confirm_email(&mut tx, account.id, now).await?;
        self.0.one_time.revoke_all_in(&mut tx, account.id).await?;
        self.0.sessions.revoke_all_in(&mut tx, account.id, None).await?;
        if let Some(email) = &account.email {
            self.0.lockout.reset_in(&mut tx, email).await?;
        }
        if new {
            let details = Some(super::with_client_info(visitor, Value::Null));
            self.record_in(&mut tx, "account.email_verified", &account, Some(account.id), details).await?;
        }
        let left = self.remaining_keys(&mut tx, &account, revoke_keys).await?;
        let details = Some(super::with_client_info(visitor, Value::Null));
        self.record_in(&mut tx, "account.password_reset", &account, Some(account.id), details).await?;
        self.mail_in(&mut tx, AccountMail::PasswordChanged { user: account.id }).await?;
        tx.commit().await?;
        self.0.sessions.invalidate_user(account.id).await;
        Ok(left)
    }
}
