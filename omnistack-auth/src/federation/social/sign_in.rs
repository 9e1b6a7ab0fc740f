//! Sign-in with the identity that a provider asserts.

use super::callback::Social;
use crate::{
    Error,
    account::{ClientInfo, SignInOutcome, sign_in::SignInMethod},
    federation::{
        external_identity::ExternalIdentity,
        linking::{AccountMatch, Assertion, LinkPolicy, TakenAddress, retry_on_conflict},
    },
    users::store::accounts,
};

impl Social {
    /// Signs in the user of an external identity. `link_verified_emails` allows the identity to be linked to the account
    /// with the same verified email address.
    ///
    /// # Errors
    /// 409 `ACCOUNT_EXISTS` if an account with the same address exists and may not be linked; 403 `ACCOUNT_DISABLED`,
    /// and 403 for an unknown identity if registration is closed.
    pub(super) async fn sign_in(
        &self,
        identity: &ExternalIdentity,
        link_verified_emails: bool,
        client: &ClientInfo,
    ) -> Result<SignInOutcome, Error> {
        let policy = LinkPolicy { link_verified_emails, taken_address: TakenAddress::Refuse };
        let assertion = Assertion { identity, at: self.0.clock.now(), policy, client: Some(client) };
        retry_on_conflict(|| self.try_sign_in(assertion, client)).await
    }

    /// Tries to sign in once. Returns `None` if another transaction conflicts.
    async fn try_sign_in(&self, assertion: Assertion<'_>, client: &ClientInfo) -> Result<Option<SignInOutcome>, Error> {
        let (accounts, linker) = (&self.0.accounts, &self.0.linker);
        let mut tx = accounts.0.db.all_tenants().begin_read().await?;
        let expected = linker.find_match(&mut tx, assertion).await?.user();
        tx.commit().await?;
        // The app's own second factors are read before the transaction begins.
        let app_factors = match expected {
            Some(user) => accounts.0.app_factors.of(user).await?,
            None => Vec::new(),
        };
        let mut tx = accounts.0.db.all_tenants().begin().await?;
        let Some(resolved) = linker.resolve(&mut tx, assertion).await? else { return Ok(None) };
        if !resolved.is_new && expected != Some(resolved.user) {
            return Ok(None);
        }
        let Some(account) = accounts::lock(&mut tx, resolved.user).await? else { return Ok(None) };
        // Another transaction may have unlinked the identity before the account's row was locked.
        if linker.find_match(&mut tx, assertion).await? != AccountMatch::Existing(resolved.user) {
            return Ok(None);
        }
        accounts.continue_sign_in(tx, account, app_factors, SignInMethod::Social, client).await.map(Some)
    }
}
