//! Sign-in with external identities, provisioning of their users, and linked identities.
//!
//! An external identity is an issuer and a subject. The first sign-in of an unknown one creates a user from the
//! provider's profile, which the user can change from then on. An external identity with the email address of an
//! existing account is linked to that account only if the provider is trusted to do so and both sides have verified
//! the address.

use omnistack_core::{
    clock::Timestamp,
    db::{ErrorKind, Tx},
    http,
    identity::{Identity, SessionId, UserId},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    Error,
    account::{Accounts, ClientInfo, SignInOutcome, sign_in},
    federation::{external_identity::ExternalProfile, store as identity},
    mail::AccountMail,
    one_time_tokens::TokenPurpose,
    users::{
        NewUser,
        store::accounts::{self as store, ExportedIdentity},
    },
};

/// The number of times that a sign-in is tried if another transaction conflicts with it.
const MAX_SIGN_IN_TRIES: usize = 4;

/// An external identity: what a provider asserts about a user.
#[derive(Clone, Debug)]
pub(crate) struct ExternalIdentity {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) profile: ExternalProfile,
}

impl ExternalIdentity {
    /// Returns the issuer and the subject.
    fn key(&self) -> (&str, &str) {
        (&self.issuer, &self.subject)
    }

    /// Returns the audit details of a change to the identity.
    fn audit_details(&self, visitor: &ClientInfo) -> Value {
        crate::account::with_client_info(visitor, json!({ "issuer": self.issuer, "subject": self.subject }))
    }
}

/// The account that an external identity belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AccountMatch {
    /// The user who is linked with the identity.
    Existing(UserId),
    /// The user who has the identity's verified address and is to be linked with it.
    LinkByEmail(UserId),
    /// No user; a new one is to be created.
    Create,
}

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

    /// Signs in the user of an external identity. `link` allows the identity to be linked to the account with the
    /// same verified email address.
    ///
    /// # Errors
    /// 409 `ACCOUNT_EXISTS` if an account with the same address exists and may not be linked; 403 `ACCOUNT_DISABLED`,
    /// and 403 for an unknown identity if registration is closed.
    pub(crate) async fn sign_in_external(
        &self,
        person: &ExternalIdentity,
        link: bool,
        visitor: &ClientInfo,
    ) -> Result<SignInOutcome, Error> {
        for last in (0..MAX_SIGN_IN_TRIES).rev() {
            match self.try_sign_in_external(person, link, visitor).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                Err(error) if last > 0 && is_write_conflict(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict())
    }

    /// Tries to sign in once. Returns `None` if another transaction conflicts.
    async fn try_sign_in_external(
        &self,
        person: &ExternalIdentity,
        link: bool,
        visitor: &ClientInfo,
    ) -> Result<Option<SignInOutcome>, Error> {
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let meant = self.match_account(&mut tx, person, link).await?;
        tx.commit().await?;
        let own = match meant {
            AccountMatch::Existing(user) | AccountMatch::LinkByEmail(user) => self.0.app_factors.of(user).await?,
            AccountMatch::Create => Vec::new(),
        };
        let mut tx = self.0.db.all_tenants().begin().await?;
        let user = match meant {
            AccountMatch::Existing(user) | AccountMatch::LinkByEmail(user) => user,
            AccountMatch::Create => self.0.users.create_in(&mut tx, new_user(&person.profile)).await?.user,
        };
        let Some(account) = store::lock(&mut tx, user).await? else { return Ok(None) };
        // Another transaction may have linked the identity; the lock on the row prevents that from here on.
        if meant != AccountMatch::Create && self.match_account(&mut tx, person, link).await? != meant {
            return Ok(None);
        }
        let action = match meant {
            AccountMatch::Existing(_) => None,
            AccountMatch::LinkByEmail(_) => Some("account.identity_linked"),
            AccountMatch::Create => Some("account.registered"),
        };
        if let Some(action) = action {
            sign_in::require_enabled(&account)?;
            let now = self.0.clock.now();
            if !identity::insert(&mut tx, person.key(), user, &person.profile.hash(), (now, now)).await? {
                return Ok(None);
            }
            self.record_in(&mut tx, action, &account, Some(user), Some(person.audit_details(visitor))).await?;
        }
        if matches!(meant, AccountMatch::LinkByEmail(_)) {
            self.mail_in(&mut tx, identity_changed_mail(user, &person.issuer, true)).await?;
        }
        self.continue_sign_in(tx, account, own, sign_in::SignInMethod::Social, visitor).await.map(Some)
    }

    /// Returns the account that an external identity belongs to. Fails with 403 if a new account would be needed and
    /// registration is closed, and with 409 `ACCOUNT_EXISTS` if an account with the same address may not be linked.
    async fn match_account(&self, tx: &mut Tx, person: &ExternalIdentity, link: bool) -> Result<AccountMatch, Error> {
        if let Some(user) = identity::find(tx, &person.issuer, &person.subject).await? {
            return Ok(AccountMatch::Existing(user));
        }
        let holder = match &person.profile.email {
            Some(email) => identity::find_by_email(tx, email).await?,
            None => None,
        };
        let Some(holder) = holder else {
            if !self.0.settings.registration {
                return Err(http::Error::forbidden("registration is closed; ask for an invitation").into());
            }
            return Ok(AccountMatch::Create);
        };
        let others = store::linked_identities(tx, holder.id).await?;
        let another = others.iter().any(|other| other.issuer == person.issuer);
        if link && holder.email_verified_at.is_some() && holder.disabled_at.is_none() && !another {
            return Ok(AccountMatch::LinkByEmail(holder.id));
        }
        let message = "an account with your address exists; sign in to it as you did before, then link it with the \
                       provider";
        Err(http::Error::conflict("ACCOUNT_EXISTS", message).into())
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
        let account = store::lock(&mut tx, user).await?.ok_or_else(|| http::Error::not_found("user"))?;
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
        let source = Some(person.audit_details(visitor));
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
        let account = store::lock(&mut tx, user).await?.ok_or_else(|| http::Error::not_found("user"))?;
        let all = store::linked_identities(&mut tx, user).await?;
        let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| owns(&one.issuer));
        if gone.is_empty() {
            return Err(http::Error::not_found("identity").into());
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
            let details =
                crate::account::with_client_info(visitor, json!({ "issuer": one.issuer, "subject": one.subject }));
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

fn new_user(profile: &ExternalProfile) -> NewUser {
    let ExternalProfile { email, name, picture, locale } = profile.clone();
    // A profile contains only verified addresses.
    NewUser {
        email_verified: email.is_some(),
        email,
        name: name.unwrap_or_default(),
        picture,
        locale,
        ..NewUser::default()
    }
}

/// Returns the email that notifies the user that an identity was linked or unlinked.
fn identity_changed_mail(user: UserId, issuer: &str, linked: bool) -> AccountMail {
    AccountMail::IdentityChanged { user, issuer: issuer.to_owned(), linked }
}

/// Returns whether the error is a conflict with another transaction.
fn is_write_conflict(error: &Error) -> bool {
    matches!(error.database_kind(), Some(ErrorKind::Unique | ErrorKind::Conflict))
}
