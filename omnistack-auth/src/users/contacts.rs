//! The directory in which other modules find the email addresses of users.

use async_trait::async_trait;
use omnistack_core::{
    db::{self, Db},
    email::{Address, FindUserContact, UserContact},
    identity::{TenantId, UserId},
};

use super::store::accounts::{self, Account};

/// The directory of the accounts in the app's database.
pub(crate) struct AccountContacts(pub(crate) Db);

#[async_trait]
impl FindUserContact for AccountContacts {
    async fn find(&self, user: UserId, tenant: Option<TenantId>) -> Result<Option<UserContact>, db::Error> {
        let Some(account) = accounts::by_id(&self.0, user).await? else { return Ok(None) };
        if account.disabled_at.is_some() || account.delete_at.is_some() || account.email_verified_at.is_none() {
            return Ok(None);
        }
        if let Some(tenant) = tenant
            && !accounts::is_member(&self.0, tenant, user).await?
        {
            return Ok(None);
        }
        let Account { email, locale, .. } = account;
        // An address that an identity provider asserts may be none that a mail can be sent to.
        Ok(email.and_then(|email| email.parse::<Address>().ok()).map(|address| UserContact::new(address, locale)))
    }
}
