//! The first account of an app in development, so that it can be used at once.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use omnistack_core::{ExposeSecret as _, crypto::Token, db::ErrorKind};
use secrecy::SecretString;

use super::Accounts;
use crate::{Error, password::Password, store::account as store, users::NewUser};

/// The address of the first account.
const EMAIL: &str = "owner@example.com";

/// The password of the account that was made at this start, if one was.
#[derive(Clone, Default)]
pub(crate) struct FirstOwner(Arc<OnceLock<SecretString>>);

impl FirstOwner {
    /// What is printed at start; nothing when no account was made.
    pub(crate) fn line(&self) -> String {
        let password = self.0.get().map(|password| password.expose_secret());
        password.map(|password| format!("{EMAIL}, password {password} (shown once)")).unwrap_or_default()
    }
}

impl fmt::Debug for FirstOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirstOwner")
    }
}

impl Accounts {
    /// Makes an operator with a random password, if there is no user yet.
    pub(crate) async fn make_first_owner(&self, owner: &FirstOwner) -> Result<(), Error> {
        let mut tx = self.0.db.begin_read().await?;
        let any = store::any(&mut tx).await?;
        tx.commit().await?;
        if any {
            return Ok(());
        }
        let text = Token::random().expose().chars().filter(char::is_ascii_alphanumeric).take(24).collect::<String>();
        let Some(password) = Password::new(&text) else { return Ok(()) };
        let hash = self.0.passwords.hash(&password).await?;
        let mut new = NewUser::of_email(EMAIL);
        "Owner".clone_into(&mut new.name);
        (new.email_verified, new.operator, new.password_hash) = (true, true, Some(hash));
        match self.0.users.create(new).await {
            Ok(_) => _ = owner.0.set(text.into()),
            // Another process was first.
            Err(error) if error.database_kind() == Some(ErrorKind::Unique) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
