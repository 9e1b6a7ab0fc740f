//! The identities that users link to their accounts, and unlink from them.

use omnistack_core::{
    clock::Timestamp,
    http,
    identity::{Identity, SessionId, UserId},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    Error,
    account::{Accounts, ClientInfo, sign_in, with_client_info},
    federation::{
        external_identity::{ExternalIdentity, identity_changed_mail},
        store as identity,
    },
    one_time_tokens::TokenPurpose,
    users::store::accounts::{self as store, ExportedIdentity},
};

/// A provider that the account is linked with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinkedIdentity {
    /// The provider's name; `null` if the app has no such provider any more.
    #[schema(required)]
    pub(crate) provider: Option<String>,
    /// The provider's issuer identifier.
    pub(crate) issuer: String,
    /// The user's identifier at the provider.
    pub(crate) subject: String,
    /// The time at which the identity was linked.
    pub(crate) created_at: Timestamp,
}

impl Accounts {
    /// Returns whether the OAuth `state` has not been used before, and marks it as used.
    pub(crate) async fn consume_oauth_state(&self, state: &str) -> Result<bool, Error> {
        self.0.one_time.mark_used(TokenPurpose::Social, state).await
    }

    /// Links an external identity to the account of a user with a valid session. `owns` returns whether an issuer
    /// belongs to the provider; an account has at most one identity of each provider.
    ///
    /// # Errors
    /// 409 `IDENTITY_TAKEN` and `PROVIDER_LINKED`; 401 if the session has ended; 403 `ACCOUNT_DISABLED`.
    pub(crate) async fn link(
        &self,
        (user, session): (UserId, SessionId),
        person: &ExternalIdentity,
        owns: impl Fn(&str) -> bool,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        if !self.0.sessions.list(user).await?.iter().any(|known| known.id == session) {
            return Err(http::Error::unauthorized("the session has ended; sign in, then link again").into());
        }
        let taken = || {
            let message = "this identity is linked to another account; unlink it there first";
            http::Error::conflict("IDENTITY_TAKEN", message)
        };
        let mut tx = self.0.db.all_tenants().begin().await?;
        let account = store::lock(&mut tx, user).await?.ok_or_else(|| http::Error::not_found("the user"))?;
        sign_in::require_enabled(&account)?;
        match identity::find(&mut tx, &person.issuer, &person.subject).await? {
            Some(holder) if holder == user => return Ok(tx.rollback().await?),
            Some(_) => return Err(taken().into()),
            None => {}
        }
        if store::linked_identities(&mut tx, user).await?.iter().any(|other| owns(&other.issuer)) {
            let message = "the account is linked to another identity of this provider; unlink that one first";
            return Err(http::Error::conflict("PROVIDER_LINKED", message).into());
        }
        let now = self.0.clock.now();
        if !identity::insert(&mut tx, person.key(), user, &person.profile.hash(), (now, now)).await? {
            return Err(taken().into());
        }
        let source = Some(person.audit_details(Some(visitor)));
        self.record_in(&mut tx, "account.identity_linked", &account, Some(user), source).await?;
        self.mail_in(&mut tx, identity_changed_mail(user, &person.issuer, true)).await?;
        Ok(tx.commit().await?)
    }

    /// Returns the caller's account and session, to which an identity is to be linked. Fails with 403 for a caller
    /// without a session of this app.
    pub(crate) async fn account_and_session(&self, caller: &Identity) -> Result<(UserId, SessionId), Error> {
        let account = self.own_account(caller).await?;
        let session =
            caller.session.ok_or_else(|| http::Error::forbidden("this needs a session of this app; sign in first"))?;
        Ok((account.id, session))
    }

    /// Returns the caller's linked identities.
    pub(crate) async fn identities(&self, caller: &Identity) -> Result<Vec<ExportedIdentity>, Error> {
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let all = store::linked_identities(&mut tx, caller.user).await?;
        tx.commit().await?;
        Ok(all)
    }

    /// Unlinks a provider from the caller's account and revokes the caller's other sessions. `owns` returns whether
    /// an issuer belongs to the provider, `known` whether it belongs to any provider of the app.
    ///
    /// # Errors
    /// 404 if the account is not linked with the provider; 409 `LAST_SIGN_IN_METHOD` if no sign-in method would be left.
    pub(crate) async fn unlink(
        &self,
        caller: &Identity,
        owns: impl Fn(&str) -> bool,
        known: impl Fn(&str) -> bool,
        visitor: &ClientInfo,
    ) -> Result<(), Error> {
        let user = self.own_account(caller).await?.id;
        let mut tx = self.0.db.all_tenants().begin().await?;
        let account = store::lock(&mut tx, user).await?.ok_or_else(|| http::Error::not_found("the user"))?;
        let all = store::linked_identities(&mut tx, user).await?;
        let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| owns(&one.issuer));
        if gone.is_empty() {
            return Err(http::Error::not_found("the identity").into());
        }
        // An account with a verified address can always get a magic link, with or without a password.
        let by_mail = account.email.is_some() && account.email_verified_at.is_some();
        let otherwise = by_mail || left.iter().any(|one| known(&one.issuer));
        #[cfg(feature = "passkeys")]
        let otherwise =
            otherwise || (self.0.passkeys.is_some() && crate::passkey::store::count(&mut tx, user).await? > 0);
        if !otherwise {
            let message = "this is the last sign-in method; verify an email address or link another provider first";
            return Err(http::Error::conflict("LAST_SIGN_IN_METHOD", message).into());
        }
        for one in &gone {
            identity::remove(&mut tx, (&one.issuer, &one.subject), user).await?;
            let details = with_client_info(visitor, json!({ "issuer": one.issuer, "subject": one.subject }));
            self.record_in(&mut tx, "account.identity_unlinked", &account, Some(user), Some(details)).await?;
            self.mail_in(&mut tx, identity_changed_mail(user, &one.issuer, false)).await?;
        }
        self.0.one_time.revoke_all_in(&mut tx, user).await?;
        self.0.sessions.revoke_all_in(&mut tx, user, caller.session).await?;
        tx.commit().await?;
        self.0.sessions.invalidate_user(user).await;
        Ok(())
    }
}
