//! The creation of the first operator.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use omnistack_core::{
    ExposeSecret as _,
    crypto::Token,
    db::{ErrorKind, Tx},
};
use secrecy::SecretString;
use serde_json::json;

use super::Accounts;
use crate::{
    Error,
    mail::AccountMail,
    password::Password,
    users::{
        NewUser, normalize_email,
        store::accounts::{self as store, Account},
    },
};

/// The address of the first operator in development, if none is set.
const DEVELOPMENT_EMAIL: &str = "owner@example.com";

/// The account that was created at this start, if any, and its password. Used in development only.
#[derive(Clone, Default)]
pub(crate) struct InitialOperator(Arc<OnceLock<(String, SecretString)>>);

impl InitialOperator {
    /// Returns the line that is printed at start; empty if no account was created.
    pub(crate) fn banner(&self) -> String {
        let made = self.0.get();
        made.map(|(email, password)| format!("{email}, password {} (shown once)", password.expose_secret()))
            .unwrap_or_default()
    }
}

impl fmt::Debug for InitialOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirstOwner")
    }
}

impl Accounts {
    /// Creates an operator if the app has none: makes the user with the address `AUTH_OPERATOR_EMAIL` an operator, or
    /// creates that user. An account whose address is not verified is taken over, because its registration did not
    /// prove who owns the address: all of its credentials are deleted. A user created or taken over has no password
    /// and gets an email with a link to set one. In development, the address defaults to `owner@example.com` and the
    /// password is printed.
    pub(crate) async fn create_initial_operator(&self, shown: Option<&InitialOperator>) -> Result<(), Error> {
        let wanted = self.0.settings.operator_email.as_deref().and_then(normalize_email);
        let Some(email) = wanted.or_else(|| shown.map(|_| DEVELOPMENT_EMAIL.to_owned())) else { return Ok(()) };
        // The user's own tenant is created here, so the transaction spans all tenants.
        let mut tx = self.0.db.all_tenants().begin().await?;
        if !store::lock_operators(&mut tx).await?.is_empty() {
            return Ok(());
        }
        let known = store::lock_by_email(&mut tx, &email).await?;
        if let Some(account) = known.as_ref().filter(|account| account.email_verified_at.is_some()) {
            self.make_operator_in(&mut tx, account).await?;
            return Ok(tx.commit().await?);
        }
        let password: SecretString =
            Token::random().expose().chars().filter(char::is_ascii_alphanumeric).take(24).collect::<String>().into();
        let hash = match Password::new(password.expose_secret()).filter(|_| shown.is_some()) {
            Some(password) => Some(self.0.passwords.hash(&password).await?),
            None => None,
        };
        let user = match known {
            Some(account) => {
                let now = self.0.clock.now();
                self.delete_registration_credentials_in(&mut tx, account.id).await?;
                store::set_password(&mut tx, account.id, hash.as_deref(), now).await?;
                store::confirm_email(&mut tx, account.id, now).await?;
                self.make_operator_in(&mut tx, &account).await?;
                account.id
            }
            None => {
                let mut new = NewUser::with_email(&email);
                "Owner".clone_into(&mut new.name);
                (new.email_verified, new.operator, new.password_hash) = (true, true, hash);
                match self.0.users.create_in(&mut tx, new).await {
                    Ok(made) => made.user,
                    // Another process has created the user.
                    Err(error) if error.database_kind() == Some(ErrorKind::Unique) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        };
        if shown.is_none() {
            self.mail_in(&mut tx, AccountMail::Reset { email: email.clone() }).await?;
        }
        tx.commit().await?;
        self.0.sessions.invalidate_user(user).await;
        if let Some(shown) = shown {
            _ = shown.0.set((email, password));
        }
        Ok(())
    }

    async fn make_operator_in(&self, tx: &mut Tx, account: &Account) -> Result<(), Error> {
        store::set_user(tx, account.id, true, account.disabled_at, self.0.clock.now()).await?;
        let details = json!({ "after": { "operator": true }, "by": "AUTH_OPERATOR_EMAIL" });
        self.record_in(tx, "user.changed", account, None, Some(details)).await
    }
}
