//! Registration by an invitation.

use omnistack_core::{db::ErrorKind, http};
use serde_json::Value;

use super::{Accounts, ClientInfo, SignInOutcome, sign_in::SignInMethod};
use crate::{
    Error,
    password::Password,
    tenant::invitation::{self, Invitations},
    users::{NewUser, store::accounts as store},
};

impl Accounts {
    /// Creates the account of the address that an invitation was sent to, accepts the invitation and signs the user
    /// in. The token came by email, so the address counts as verified. If the address was registered before and never
    /// verified, the account is taken over: the credentials of that registration are deleted and the password is
    /// replaced.
    ///
    /// # Errors
    /// 404 `INVITATION_INVALID`; 409 `ACCOUNT_EXISTS` for an address with a verified account, whose user signs in and
    /// accepts instead; 422 for a refused password, in which case the invitation stays valid; any error of
    /// [`Invitations::accept_in`].
    pub(crate) async fn register_invited(
        &self,
        invitations: &Invitations,
        token: &str,
        (name, password): (&str, &Password),
        visitor: &ClientInfo,
    ) -> Result<SignInOutcome, Error> {
        // The token is checked before anything is hashed.
        let invited = invitations.find_by_token(token).await?.ok_or_else(invitation::invalid)?;
        let known = store::by_email(&self.0.db, &invited.email).await?;
        if known.is_some_and(|account| account.email_verified_at.is_some()) {
            return Err(exists().into());
        }
        self.validate_password("password", password, Some(&invited.email), false).await?;
        let hash = self.0.passwords.hash(password).await?;
        match self.try_register_invited(invitations, token, (name, &hash), visitor).await {
            // Another transaction has registered the address and used up the invitation.
            Err(error) if error.database_kind() == Some(ErrorKind::Unique) => Err(invitation::invalid().into()),
            done => done,
        }
    }

    async fn try_register_invited(
        &self,
        invitations: &Invitations,
        token: &str,
        (name, hash): (&str, &str),
        visitor: &ClientInfo,
    ) -> Result<SignInOutcome, Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        self.0.lockout.count_mail_request_in(&mut tx, visitor.address).await?;
        let invited = invitations.find_by_token_in(&mut tx, token).await?;
        let user = match store::lock_by_email(&mut tx, &invited.email).await? {
            Some(account) if account.email_verified_at.is_some() => return Err(exists().into()),
            Some(account) => {
                let name = if name.trim().is_empty() { &account.name } else { name.trim() };
                self.delete_registration_credentials_in(&mut tx, account.id).await?;
                store::replace_registration(&mut tx, account.id, name, hash, self.0.clock.now()).await?;
                store::confirm_email(&mut tx, account.id, self.0.clock.now()).await?;
                account.id
            }
            None => {
                let mut new = NewUser::with_email(&invited.email);
                name.trim().clone_into(&mut new.name);
                new.email_verified = true;
                new.password_hash = Some(hash.to_owned());
                self.0.users.create_in(&mut tx, new).await?.user
            }
        };
        let account = store::lock(&mut tx, user).await?.ok_or_else(|| http::Error::not_found("the user"))?;
        let details = super::with_client_info(visitor, Value::Null);
        self.record_in(&mut tx, "account.registered", &account, Some(user), Some(details)).await?;
        invitations.accept_in(&mut tx, user, token).await?;
        let own = self.0.app_factors.of(user).await?;
        let done = self.continue_sign_in(tx, account, own, SignInMethod::Invitation, visitor).await?;
        self.0.sessions.invalidate_user(user).await;
        Ok(done)
    }
}

fn exists() -> http::Error {
    http::Error::conflict("ACCOUNT_EXISTS", "an account with this address exists; sign in to it, then accept")
}
