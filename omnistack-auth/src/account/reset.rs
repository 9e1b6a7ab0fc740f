//! A new password for who has forgotten it.

use serde_json::Value;

use super::{Accounts, Visitor};
use crate::{
    Error,
    api_key::left::KeysLeft,
    mail::AccountMail,
    one_time::{self, Purpose},
    password::Password,
    store::account as store,
    users::checked_email,
};

impl Accounts {
    /// Asks for a link to choose a new password. Nothing tells whether there is such a user.
    pub(crate) async fn forgot_password(&self, email: &str, visitor: &Visitor) -> Result<(), Error> {
        let email = checked_email(email)?;
        self.ask_in(Purpose::ResetPassword, AccountMail::Reset { email: email.clone() }, &email, visitor).await
    }

    /// Sets a new password with the token of a link that resets or confirms. It confirms the address, ends every session and
    /// every other link, and the account's wait after wrong passwords. It signs nobody in, and returns the API keys that are
    /// left. Of an account that was not confirmed everything is forgotten that a registration has set; `field` names the
    /// password in the answer.
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 422 for a password that is not taken, when the token stays good.
    pub(crate) async fn choose_password(
        &self,
        purpose: Purpose,
        token: &str,
        (field, password): (&'static str, &Password),
        revoke_keys: bool,
        visitor: &Visitor,
    ) -> Result<KeysLeft, Error> {
        // Nothing is hashed for a made-up token, and a token is not used up by a password that is not taken.
        let row = self.0.one_time.look(purpose, token).await?;
        let account = store::by_id(&self.0.db, row.user_id).await?.ok_or_else(one_time::invalid)?;
        let second_factor = !self.second_factors_of(account.id).await?.is_empty();
        self.judge(field, password, account.email.as_deref(), second_factor).await?;
        let hash = self.0.passwords.hash(password).await?;

        let mut tx = self.0.db.all_tenants().begin().await?;
        let taken = self.0.one_time.take_in(&mut tx, purpose, token).await?;
        let row = taken.ok_or_else(one_time::invalid)?;
        let account = store::lock(&mut tx, row.user_id).await?.ok_or_else(one_time::invalid)?;
        let (now, new) = (self.0.clock.now(), account.email_verified_at.is_none());
        if new {
            self.forget_registration_in(&mut tx, account.id).await?;
        }
        store::set_password(&mut tx, account.id, Some(&hash), now).await?;
        store::confirm_email(&mut tx, account.id, now).await?;
        self.0.one_time.revoke_all_in(&mut tx, account.id).await?;
        self.0.sessions.end_all_in(&mut tx, account.id, None).await?;
        if let Some(email) = &account.email {
            self.0.lockout.clear_in(&mut tx, email).await?;
        }
        if new {
            let details = Some(super::from(visitor, Value::Null));
            self.record_in(&mut tx, "account.email_verified", &account, Some(account.id), details).await?;
        }
        let left = self.keys_left(&mut tx, &account, revoke_keys).await?;
        let details = Some(super::from(visitor, Value::Null));
        self.record_in(&mut tx, "account.password_reset", &account, Some(account.id), details).await?;
        self.mail_in(&mut tx, AccountMail::PasswordChanged { user: account.id }).await?;
        tx.commit().await?;
        self.0.sessions.forget(account.id).await;
        Ok(left)
    }
}
