//! Somebody who operates the app, when nobody does.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use omnistack_core::{ExposeSecret as _, crypto::Token, db::ErrorKind};
use secrecy::SecretString;
use serde_json::json;

use super::Accounts;
use crate::{
    Error,
    password::Password,
    store::{account as store, admin},
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
    /// Makes an operator if there is none: the user of `AUTH_OWNER_EMAIL`, or a new one, who asks for a password by mail.
    /// In development it is somebody in any case, and a new one's password is shown.
    pub(crate) async fn make_first_owner(&self, shown: Option<&FirstOwner>) -> Result<(), Error> {
        let wanted = self.0.settings.owner.as_deref().map(normal_email);
        let Some(email) = wanted.or_else(|| shown.map(|_| EMAIL.to_owned())) else { return Ok(()) };
        // An account has a tenant of its own, which is made here.
        let mut tx = self.0.db.all_tenants().begin().await?;
        if !admin::operators(&mut tx).await?.is_empty() {
            return Ok(());
        }
        if let Some(account) = store::lock_by_email(&mut tx, &email).await? {
            if account.email_verified_at.is_none() {
                // Whoever registered it may be anybody.
                tracing::warn!(target: "omnistack::auth", "nobody operates the app: the address of AUTH_OWNER_EMAIL is not confirmed");
                return Ok(());
            }
            let now = self.0.clock.now();
            admin::set_user(&mut tx, account.id, true, account.disabled_at, now).await?;
            let details = json!({ "after": { "operator": true }, "by": "AUTH_OWNER_EMAIL" });
            self.record_in(&mut tx, "user.changed", &account, None, Some(details)).await?;
            return Ok(tx.commit().await?);
        }
        let mut new = NewUser::of_email(&email);
        "Owner".clone_into(&mut new.name);
        (new.email_verified, new.operator) = (true, true);
        let password: SecretString =
            Token::random().expose().chars().filter(char::is_ascii_alphanumeric).take(24).collect::<String>().into();
        if let Some(password) = Password::new(password.expose_secret()).filter(|_| shown.is_some()) {
            new.password_hash = Some(self.0.passwords.hash(&password).await?);
        }
        match self.0.users.create_in(&mut tx, new).await {
            Ok(_) => tx.commit().await?,
            // Another process was first.
            Err(error) if error.database_kind() == Some(ErrorKind::Unique) => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Some(shown) = shown {
            _ = shown.0.set((email, password));
        }
        Ok(())
    }
}
