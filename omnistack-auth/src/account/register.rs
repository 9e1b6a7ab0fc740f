//! Registering, and confirming the address.

use omnistack_core::{
    db::{ErrorKind, Tx},
    http::{self, FieldProblem},
    identity::UserId,
};
use serde_json::{Value, json};

use super::{Accounts, Visitor};
use crate::{
    Error,
    mail::AccountMail,
    one_time::{self, Purpose},
    password::Password,
    store::account::{self as store, Account},
    users::{NewUser, normal_email},
};

impl Accounts {
    /// Registers an address. Nothing tells whether it was new: its owner learns by mail.
    ///
    /// Until an address is confirmed, whoever registers it last sets its password: the one before could be anybody's.
    pub(crate) async fn register(
        &self,
        email: &str,
        password: &Password,
        name: &str,
        visitor: &Visitor,
    ) -> Result<(), Error> {
        if !self.0.settings.registration {
            return Err(http::Error::forbidden("accounts are made by invitation only").into());
        }
        let email = checked(email)?;
        self.judge("password", password, Some(&email), false).await?;
        let hash = self.0.passwords.hash(password).await?;
        match self.try_register(&email, &hash, name, visitor).await {
            // Two at once: one of them was first.
            Err(error) if error.database_kind() == Some(ErrorKind::Unique) => {
                self.try_register(&email, &hash, name, visitor).await
            }
            done => done,
        }
    }

    async fn try_register(&self, email: &str, hash: &str, name: &str, visitor: &Visitor) -> Result<(), Error> {
        // The tenant of the new user is made here.
        let mut tx = self.0.db.all_tenants().begin().await?;
        self.0.lockout.asking_in(&mut tx, visitor.address).await?;
        // Counts of mails come after the row of the user, as they do at sign-in, so that no two wait for each other.
        let from = Some(super::from(visitor, Value::Null));
        let (mail, user) = match store::lock_by_email(&mut tx, email).await? {
            Some(account) if account.email_verified_at.is_some() => {
                // As many statements as for one that is new, about nobody: the time of the answer tells nothing either.
                let nobody = UserId::new(self.0.clock.now());
                self.register_again_in(&mut tx, nobody, name, hash).await?;
                self.record_in(&mut tx, "account.registered_again", &account, None, from).await?;
                (AccountMail::AlreadyRegistered { email: email.to_owned() }, nobody)
            }
            Some(account) => {
                let name = if name.trim().is_empty() { &account.name } else { name.trim() };
                self.register_again_in(&mut tx, account.id, name, hash).await?;
                self.record_in(&mut tx, "account.registered_again", &account, None, from).await?;
                (AccountMail::Verify { user: account.id }, account.id)
            }
            None => {
                let mut new = NewUser::of_email(email);
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
        if self.0.lockout.may_mail_in(&mut tx, email).await? {
            self.mail_in(&mut tx, mail).await?;
        }
        tx.commit().await?;
        self.0.sessions.forget(user).await;
        Ok(())
    }

    /// The password there is now, in place of whatever was before.
    pub(super) async fn register_again_in(
        &self,
        tx: &mut Tx,
        user: UserId,
        name: &str,
        hash: &str,
    ) -> Result<(), Error> {
        store::register_again(tx, user, name, hash, self.0.clock.now()).await?;
        self.0.one_time.revoke_all_in(tx, user).await?;
        self.0.sessions.end_all_in(tx, user, None).await?;
        Ok(())
    }

    /// Takes a token from a mail for what it says: this address is its user's. The user signs in after that: a click in
    /// a mail somebody else has caused lets nobody in.
    pub(crate) async fn verify_email(&self, token: &str, visitor: &Visitor) -> Result<(), Error> {
        let mut tx = self.0.db.all_tenants().begin().await?;
        if let Some(row) = self.0.one_time.take_in(&mut tx, Purpose::VerifyEmail, token).await? {
            let account = store::lock(&mut tx, row.user_id).await?.ok_or_else(one_time::invalid)?;
            store::confirm_email(&mut tx, account.id, self.0.clock.now()).await?;
            let details = Some(super::from(visitor, Value::Null));
            self.record_in(&mut tx, "account.email_verified", &account, Some(account.id), details).await?;
            return Ok(tx.commit().await?);
        }
        let row = self.0.one_time.take_in(&mut tx, Purpose::ChangeEmail, token).await?.ok_or_else(one_time::invalid)?;
        let account = store::lock(&mut tx, row.user_id).await?.ok_or_else(one_time::invalid)?;
        let email = row.data.ok_or_else(one_time::invalid)?;
        let taken = store::lock_by_email(&mut tx, &email).await?.is_some_and(|other| other.id != account.id);
        if taken {
            // Whoever holds the token reads that address's mail, so this tells them nothing new.
            return Err(http::Error::conflict("EMAIL_TAKEN", "another account has this address by now").into());
        }
        store::set_email(&mut tx, account.id, &email, self.0.clock.now()).await?;
        // Links in the old mailbox are good for nothing any more.
        self.0.one_time.revoke_all_in(&mut tx, account.id).await?;
        let details = super::from(visitor, json!({ "before": account.email, "after": email }));
        self.record_in(&mut tx, "account.email_changed", &account, Some(account.id), Some(details)).await?;
        if let Some(old) = account.email.clone() {
            self.mail_in(&mut tx, AccountMail::EmailChanged { old, new: email }).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// An address as it is kept, if it can be one.
pub(super) fn checked(email: &str) -> Result<String, Error> {
    let email = normal_email(email);
    if is_address(&email) {
        return Ok(email);
    }
    let problem = FieldProblem::new("email", "is not an address such as `ada@example.com`");
    Err(http::Error::invalid([problem]).into())
}

/// Whether it has the form of an address (RFC 5321, section 4.1.2, without quoted parts), in ASCII: a domain in other
/// letters is written in Punycode. Letters that look alike are no way into another's account then.
pub(crate) fn is_address(email: &str) -> bool {
    let Some((local, domain)) = email.rsplit_once('@') else { return false };
    let local_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    let dots = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
    email.len() <= 254
        && (1..=64).contains(&local.len())
        && dots
        && local.bytes().all(local_letter)
        && domain.contains('.')
        && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn addresses_and_what_is_none() {
        for (text, expected) in [
            ("ada@example.com", true),
            ("ada.b+tag@sub.example.co.uk", true),
            ("o'neil@xn--bcher-kva.example", true),
            ("ada", false),
            ("@example.com", false),
            ("ada@", false),
            ("ada@localhost", false),
            ("ada@example..com", false),
            ("ada@-example.com", false),
            (".ada@example.com", false),
            ("a..b@example.com", false),
            ("ada@example.com\r\nbcc: eve@example.com", false),
            ("ada@example.com, eve@example.com", false),
            ("ada <ada@example.com>", false),
            ("ada@eve@example.com", false),
            ("\u{212a}elvin@example.com", false),
        ] {
            assert_eq!(is_address(text), expected, "{text:?}");
        }
        assert!(!is_address(&format!("{}@example.com", "a".repeat(65))));
    }
}
