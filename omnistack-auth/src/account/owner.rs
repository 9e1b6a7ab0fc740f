//! Somebody who operates the app, when nobody does.

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
    store::{
        account::{self as store, Account},
        admin,
    },
    users::{NewUser, normal_email},
};

/// Who it is in development, where nobody says.
const EMAIL: &str = "owner@example.com";

/// The account that was made at this start, if one was, and its password: for development.
#[derive(Clone, Default)]
pub(crate) struct FirstOwner(Arc<OnceLock<(String, SecretString)>>);

impl FirstOwner {
    /// What is printed at start; nothing when no account was made.
    pub(crate) fn line(&self) -> String {
        let made = self.0.get();
        made.map(|(email, password)| format!("{email}, password {} (shown once)", password.expose_secret()))
            .unwrap_or_default()
    }
}

impl fmt::Debug for FirstOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirstOwner")
    }
}

impl Accounts {
    /// Makes an operator if there is none: the user of `AUTH_OWNER_EMAIL`, or a new one. An account whose address is not
    /// confirmed counts as none: anybody may have registered it, so everything that was set with it is forgotten. A user who
    /// was made so, or anew, has no password and gets a link to choose one by mail. In development the address is
    /// `owner@example.com` where none is set, and the password is shown.
    pub(crate) async fn make_first_owner(&self, shown: Option<&FirstOwner>) -> Result<(), Error> {
        let wanted = self.0.settings.owner.as_deref().and_then(normal_email);
        let Some(email) = wanted.or_else(|| shown.map(|_| EMAIL.to_owned())) else { return Ok(()) };
        // An account has a tenant of its own, which is made here.
        let mut tx = self.0.db.all_tenants().begin().await?;
        if !admin::operators(&mut tx).await?.is_empty() {
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
                self.forget_registration_in(&mut tx, account.id).await?;
                store::set_password(&mut tx, account.id, hash.as_deref(), now).await?;
                store::confirm_email(&mut tx, account.id, now).await?;
                self.make_operator_in(&mut tx, &account).await?;
                account.id
            }
            None => {
                let mut new = NewUser::of_email(&email);
                "Owner".clone_into(&mut new.name);
                (new.email_verified, new.operator, new.password_hash) = (true, true, hash);
                match self.0.users.create_in(&mut tx, new).await {
                    Ok(made) => made.user,
                    // Another process was first.
                    Err(error) if error.database_kind() == Some(ErrorKind::Unique) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        };
        if shown.is_none() {
            self.mail_in(&mut tx, AccountMail::Reset { email: email.clone() }).await?;
        }
        tx.commit().await?;
        self.0.sessions.forget(user).await;
        if let Some(shown) = shown {
            _ = shown.0.set((email, password));
        }
        Ok(())
    }

    async fn make_operator_in(&self, tx: &mut Tx, account: &Account) -> Result<(), Error> {
        admin::set_user(tx, account.id, true, account.disabled_at, self.0.clock.now()).await?;
        let details = json!({ "after": { "operator": true }, "by": "AUTH_OWNER_EMAIL" });
        self.record_in(tx, "user.changed", account, None, Some(details)).await
    }
}
