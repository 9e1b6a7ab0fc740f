//! The account of an external identity: the one it belongs to, one that it is linked with, or a new one.
//!
//! Social sign-in, tokens of external issuers and webhooks follow the same rules:
//!
//! - A linked identity belongs to its account.
//! - An unknown identity is linked to the account with the same email address if the app enables that for the issuer,
//!   both sides have verified the address, and the account has no other identity of the issuer. The last condition
//!   protects an account from the next user of its address: a provider that gives an address to another user gives that
//!   user another subject.
//! - Otherwise an account is created, if registration is open.

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    db::Tx,
    http,
    identity::UserId,
    jobs::Jobs,
};

use crate::{
    Error,
    account::ClientInfo,
    federation::{
        external_identity::{ExternalIdentity, ExternalProfile, identity_changed_mail},
        store,
    },
    users::{NewUser, Users, store::accounts},
};

/// The maximum number of attempts of an operation that conflicts with other transactions: one for the email address,
/// one for the subject, one for the row of the account, and one more.
const MAX_ATTEMPTS: usize = 4;

/// The treatment of an unknown identity whose email address belongs to an account that it is not linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakenAddress {
    /// The operation fails with 409 `ACCOUNT_EXISTS`: the user can sign in to the account and link the identity.
    Refuse,
    /// The account is created without an email address: the user has no other way to sign in.
    Omit,
}

/// The rules of an issuer for identities that are not linked yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkPolicy {
    /// Whether an identity is linked to the account with the same verified email address.
    pub(crate) link_verified_emails: bool,
    pub(crate) taken_address: TakenAddress,
}

/// An issuer's assertion about an identity.
#[derive(Clone, Copy)]
pub(crate) struct Assertion<'a> {
    pub(crate) identity: &'a ExternalIdentity,
    /// The time of the assertion.
    pub(crate) at: Timestamp,
    pub(crate) policy: LinkPolicy,
    /// The client that signs in with the identity; `None` for tokens and webhooks.
    pub(crate) client: Option<&'a ClientInfo>,
}

/// The account that an external identity belongs to, or is to belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountMatch {
    /// The user who is linked with the identity.
    Existing(UserId),
    /// The user who has the identity's verified address and is to be linked with it.
    LinkByEmail(UserId),
    /// No user; a new one is to be created, with the identity's address unless another account has it.
    Create { with_email: bool },
}

impl AccountMatch {
    /// Returns the user, unless one is to be created.
    pub(crate) fn user(self) -> Option<UserId> {
        match self {
            Self::Existing(user) | Self::LinkByEmail(user) => Some(user),
            Self::Create { .. } => None,
        }
    }
}

/// The account of an external identity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResolvedAccount {
    pub(crate) user: UserId,
    /// Whether the account was created.
    pub(crate) is_new: bool,
}

/// The service that finds, links and creates the accounts of external identities.
#[derive(Clone)]
pub(crate) struct AccountLinker {
    pub(crate) users: Users,
    pub(crate) clock: Clock,
    pub(crate) jobs: Jobs,
    pub(crate) audit: AuditLog,
    /// Whether an unknown identity may create an account.
    pub(crate) registration: bool,
}

impl AccountLinker {
    /// Returns the account of an identity within a transaction of all tenants, and links or creates it if the identity
    /// is unknown. Returns `None` if another transaction conflicts; the caller must then roll back and begin again, see
    /// [`retry_on_conflict`].
    ///
    /// # Errors
    /// Those of [`find_match`](Self::find_match); database errors.
    pub(crate) async fn resolve(
        &self,
        tx: &mut Tx,
        assertion: Assertion<'_>,
    ) -> Result<Option<ResolvedAccount>, Error> {
        let Assertion { identity, at, client, .. } = assertion;
        let found = self.find_match(tx, assertion).await?;
        let (user, action) = match found {
            AccountMatch::Existing(user) => return Ok(Some(ResolvedAccount { user, is_new: false })),
            AccountMatch::LinkByEmail(user) => {
                // Another transaction may link an identity of the issuer until the account's row is locked.
                if accounts::lock(tx, user).await?.is_none() || self.find_match(tx, assertion).await? != found {
                    return Ok(None);
                }
                (user, "account.identity_linked")
            }
            AccountMatch::Create { with_email } => {
                (self.users.create_in(tx, new_user(&identity.profile, with_email)).await?.user, "account.registered")
            }
        };
        if !store::insert(tx, identity.key(), user, &identity.profile.hash(), (at, self.clock.now())).await? {
            return Ok(None);
        }
        let mut entry = AuditEntry::new(action).resource("user", user).details(identity.audit_details(client));
        entry.actor = client.map(|_| user);
        entry.tenant = accounts::personal_tenant(tx, user).await?.first().map(|(tenant,)| *tenant);
        self.audit.record_in(tx, entry).await?;
        let is_new = found.user().is_none();
        if !is_new {
            let mail = identity_changed_mail(user, &identity.issuer, true);
            self.jobs.enqueue_in(tx, mail).await.map_err(http::Error::from)?;
        }
        Ok(Some(ResolvedAccount { user, is_new }))
    }

    /// Returns the account that an identity belongs to, or is to belong to.
    ///
    /// # Errors
    /// 409 `ACCOUNT_EXISTS` if the policy refuses a taken address; 403 if an account would have to be created and
    /// registration is closed; database errors.
    pub(crate) async fn find_match(&self, tx: &mut Tx, assertion: Assertion<'_>) -> Result<AccountMatch, Error> {
        let Assertion { identity, policy, .. } = assertion;
        if let Some(user) = store::find(tx, &identity.issuer, &identity.subject).await? {
            return Ok(AccountMatch::Existing(user));
        }
        let owner = match &identity.profile.email {
            Some(email) => store::find_by_email(tx, email).await?,
            None => None,
        };
        if let Some(owner) = &owner {
            let may_link =
                policy.link_verified_emails && owner.email_verified_at.is_some() && owner.disabled_at.is_none();
            let others = accounts::linked_identities(tx, owner.id).await?;
            if may_link && others.iter().all(|other| other.issuer != identity.issuer) {
                return Ok(AccountMatch::LinkByEmail(owner.id));
            }
            if policy.taken_address == TakenAddress::Refuse {
                // A concurrent sign-in with the same identity may have created the account meanwhile.
                if let Some(user) = store::find(tx, &identity.issuer, &identity.subject).await? {
                    return Ok(AccountMatch::Existing(user));
                }
                let message = "an account with your address exists; sign in to it as you did before, then link it with \
                               the provider";
                return Err(http::Error::conflict("ACCOUNT_EXISTS", message).into());
            }
        }
        if !self.registration {
            return Err(http::Error::forbidden("registration is closed; ask for an invitation").into());
        }
        Ok(AccountMatch::Create { with_email: owner.is_none() })
    }
}

/// Runs an operation until it returns a value, which it does not while other transactions conflict with it; at most
/// [`MAX_ATTEMPTS`] times.
///
/// # Errors
/// The error of the operation, unless it is a write conflict; 503 if every attempt conflicts.
pub(crate) async fn retry_on_conflict<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    for last in (0..MAX_ATTEMPTS).rev() {
        match attempt().await {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {}
            Err(error) if last > 0 && error.is_write_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::conflict())
}

/// Returns the new user of a profile, which contains only a verified address.
fn new_user(profile: &ExternalProfile, with_email: bool) -> NewUser {
    let ExternalProfile { email, name, picture, locale } = profile.clone();
    let email = email.filter(|_| with_email);
    NewUser {
        email_verified: email.is_some(),
        email,
        name: name.unwrap_or_default(),
        picture,
        locale,
        ..NewUser::default()
    }
}
