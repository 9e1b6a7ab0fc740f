//! Registration, and verification of the email address.

use omnistack_core::{
    db::{ErrorKind, Tx},
    http::{self, FieldError},
    identity::UserId,
};
use serde_json::Value;

use super::{Accounts, ClientInfo};
use crate::{
    Error,
    lockout::KnownSource,
    mail::AccountMail,
    one_time_tokens::{self, TokenPurpose},
    password::Password,
    users::{
        NewUser, parse_email,
        store::accounts::{self as store, Account},
    },
};

impl Accounts {
    /// Registers an email address. The response does not reveal whether the address was new; its owner gets an email.
    ///
    /// Until an address is verified, each registration replaces the password of the one before and deletes the
    /// credentials that it had set. [`verify_email`](Self::verify_email) therefore accepts only a password that the
    /// reader of the mail knows. Fails with 403 if registration is closed, and with 422 for a refused address or
    /// password.
    pub(crate) async fn register(
        &self,
        email: &str,
        password: &Password,
        name: &str,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        if !self.0.settings.registration {
            return Err(http::Error::forbidden("registration is closed; ask for an invitation").into());
        }
        let email = parse_email(email)?;
        self.validate_password("password", password, Some(&email), false).await?;
        let hash = self.0.passwords.hash(password).await?;
        match self.try_register(&email, &hash, name, visitor).await {
            // Of two simultaneous registrations the second finds the account of the first.
            Err(error) if error.database_kind() == Some(ErrorKind::Unique) => {
                self.try_register(&email, &hash, name, visitor).await
            }
            done => done,
        }
    }

    async fn try_register(&self, email: &str, hash: &str, name: &str, visitor: &ClientInfo) -> Result<(), Error> {
        // This creates the new user's tenant, so the transaction spans all tenants.
        let mut tx = self.0.db.all_tenants().begin().await?;
        self.0.lockout.count_mail_request_in(&mut tx, visitor.address).await?;
        // The counters of emails are locked after the user's row, as at sign-in, to avoid deadlocks.
        let from = Some(super::with_client_info(visitor, Value::Null));
        let (mail, user) = match store::lock_by_email(&mut tx, email).await? {
            Some(account) if account.email_verified_at.is_some() => {
                // Executes as many statements as for a new address, on a user that does not exist, so that the
                // response time reveals nothing.
                let nobody = UserId::new(self.0.clock.now());
                self.replace_registration_in(&mut tx, nobody, name, hash).await?;
                self.record_in(&mut tx, "account.registered_again", &account, None, from).await?;
                (AccountMail::AlreadyRegistered { email: email.to_owned() }, nobody)
            }
            Some(account) => {
                let name = if name.trim().is_empty() { &account.name } else { name.trim() };
                self.replace_registration_in(&mut tx, account.id, name, hash).await?;
                self.record_in(&mut tx, "account.registered_again", &account, None, from).await?;
                (AccountMail::Verify { user: account.id }, account.id)
            }
            None => {
                let mut new = NewUser::with_email(email);
                name.trim().clone_into(&mut new.name);
                new.password_hash = Some(hash.to_owned());
                let made = self.0.users.create_in(&mut tx, new).await?;
                let account = Account {
                    id: made.user,
                    email: Some(email.to_owned()),
                    email_verified_at: None,
                    password_hash: None,
                    name: String::new(),
                    locale: None,
                    disabled_at: None,
                    delete_at: None,
                    tenant_id: Some(made.tenant),
                };
                self.record_in(&mut tx, "account.registered", &account, Some(made.user), from).await?;
                (AccountMail::Verify { user: made.user }, made.user)
            }
        };
        // Runs in every case, so that the number of statements is the same.
        store::delete_credentials(&mut tx, user).await?;
        let may_mail = match &mail {
            AccountMail::Verify { .. } => {
                self.0.lockout.may_mail_link_in(&mut tx, TokenPurpose::VerifyEmail, email).await?
            }
            _ => self.0.lockout.may_mail_in(&mut tx, email).await?,
        };
        if may_mail {
            self.mail_in(&mut tx, mail).await?;
        }
        tx.commit().await?;
        self.0.sessions.invalidate_user(user).await;
        Ok(())
    }

    /// Replaces the password and revokes the user's sessions and one-time tokens.
    async fn replace_registration_in(&self, tx: &mut Tx, user: UserId, name: &str, hash: &str) -> Result<(), Error> {
        store::replace_registration(tx, user, name, hash, self.0.clock.now()).await?;
        self.0.one_time.revoke_all_in(tx, user).await?;
        self.0.sessions.revoke_all_in(tx, user, None).await?;
        Ok(())
    }

    /// Deletes every credential of an account that was registered and never verified: the password, linked
    /// identities, passkeys, second factors, API keys, one-time tokens and sessions. The registration did not prove
    /// who reads the address's mail. The caller invalidates the user's cached sessions once the transaction is
    /// committed.
    pub(crate) async fn delete_registration_credentials_in(&self, tx: &mut Tx, user: UserId) -> Result<(), Error> {
        store::set_password(tx, user, None, self.0.clock.now()).await?;
        store::delete_credentials(tx, user).await?;
        self.0.one_time.revoke_all_in(tx, user).await?;
        self.0.sessions.revoke_all_in(tx, user, None).await?;
        Ok(())
    }

    /// Verifies the address of a new account with the token from the email and the password of the registration. The
    /// password is required because another person may have registered the address, and a click in the email must not
    /// make that person's password valid. The user signs in afterwards. A reader of the email who does not know the
    /// password sets a new one with [`set_password_by_token`](Self::set_password_by_token).
    ///
    /// # Errors
    /// 400 `TOKEN_INVALID`; 422 for a wrong password, in which case the token stays valid; 429 `TOO_MANY_ATTEMPTS`.
    pub(crate) async fn verify_email(
        &self,
        token: &str,
        password: &Password,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        let user = self.0.one_time.peek(TokenPurpose::VerifyEmail, token).await?.user_id;
        let account = store::by_id(&self.0.db, user).await?.ok_or_else(one_time_tokens::token_invalid)?;
        let attempt = self.0.lockout.attempt_known(KnownSource::Link(user)).await?;
        let verified = self.0.passwords.verify(password, account.password_hash.as_deref()).await;
        if !self.undo_attempt_on_error(&attempt, verified).await?.valid {
            let mut tx = self.0.db.all_tenants().begin().await?;
            let details = Some(super::with_client_info(visitor, Value::Null));
            self.record_in(&mut tx, "account.password_refused", &account, None, details).await?;
            tx.commit().await?;
            let message = "is not the password of the registration; enter it again or set a new one";
            return Err(http::Error::invalid([FieldError::new("password", message)]).into());
        }
        let mut tx = self.0.db.all_tenants().begin().await?;
        let now = store::lock(&mut tx, user).await?;
        let same = now.is_some_and(|now| now.password_hash == account.password_hash);
        let taken = self.0.one_time.consume_in(&mut tx, TokenPurpose::VerifyEmail, token).await?;
        if !same || taken.is_none() {
            return Err(one_time_tokens::token_invalid().into());
        }
        self.0.lockout.resolve_in(&mut tx, &attempt, true).await?;
        store::confirm_email(&mut tx, user, self.0.clock.now()).await?;
        if let Some(email) = &account.email {
            self.0.lockout.reset_in(&mut tx, email).await?;
        }
        let details = Some(super::with_client_info(visitor, Value::Null));
        self.record_in(&mut tx, "account.email_verified", &account, Some(user), details).await?;
        Ok(tx.commit().await?)
    }
}
