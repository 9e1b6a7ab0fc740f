//! Another address.

use omnistack_core::identity::Identity;
use serde_json::json;

use super::{Accounts, Visitor};
use crate::{Error, mail::AccountMail, password::Password};

impl Accounts {
    /// Asks whether a new address is the caller's. It takes the old one's place once it is confirmed; the old one is told
    /// then. Nothing tells whether another account has it: its owner learns by mail.
    pub(crate) async fn change_email(
        &self,
        caller: &Identity,
        email: &str,
        password: Option<&Password>,
        visitor: &Visitor,
    ) -> Result<(), Error> {
        let email = super::register::checked(email)?;
        let account = self.confirm(caller, "password", password, visitor).await?;
        let mut tx = self.0.db.all_tenants().begin().await?;
        self.0.lockout.asking_in(&mut tx, visitor.address).await?;
        let details = Some(super::from(visitor, json!({ "email": email })));
        self.record_in(&mut tx, "account.email_change_asked", &account, Some(account.id), details).await?;
        if self.0.lockout.may_mail_in(&mut tx, &email).await? {
            self.mail_in(&mut tx, AccountMail::ConfirmEmail { user: account.id, email }).await?;
        }
        Ok(tx.commit().await?)
    }
}
