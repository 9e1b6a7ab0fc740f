//! Provisioning: creates and updates users from external identities.
//!
//! Tokens and webhooks assert profiles in any order and on several replicas at once. Each assertion has a time, and the
//! newest counts: an older one than the stored one changes nothing.

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    crypto::Sha256,
    db::{self, Db, Tx},
    identity::{TenantId, UserId},
};
use serde_json::json;

use super::{
    external_identity::ExternalProfile,
    issuer::{claims::Claims, verify::Verifier},
};
use crate::{
    Error,
    federation::store::{self, ExternalAccessRow},
    session::Sessions,
    users::{NewUser, Users},
};

/// The maximum number of attempts after write conflicts: of the email address, of the subject, and one more.
const MAX_ATTEMPTS: usize = 4;

/// Creates and updates users from the assertions of issuers.
#[derive(Clone)]
pub(crate) struct UserProvisioner {
    db: Db,
    clock: Clock,
    users: Users,
    audit: AuditLog,
}

/// An issuer's assertion about a subject.
pub(crate) struct Updated<'a> {
    pub(crate) verifier: &'a Verifier,
    pub(crate) subject: &'a str,
    pub(crate) profile: ExternalProfile,
    pub(crate) at: Timestamp,
}

impl Updated<'_> {
    fn issuer_and_subject(&self) -> (&str, &str) {
        (&self.verifier.issuer, self.subject)
    }

    /// Returns the source for the audit log.
    fn source(&self) -> serde_json::Value {
        json!({ "issuer": self.verifier.issuer, "subject": self.subject })
    }
}

impl UserProvisioner {
    pub(crate) fn new(db: Db, clock: Clock, users: Users, audit: AuditLog) -> Self {
        Self { db, clock, users, audit }
    }

    /// Returns the access of a token's subject, in this tenant or else in the personal tenant. A new subject is
    /// provisioned; a newer profile is stored.
    pub(crate) async fn access(
        &self,
        verifier: &Verifier,
        claims: &Claims,
        tenant: Option<TenantId>,
    ) -> Result<ExternalAccessRow, Error> {
        let find = || store::access(&self.db, &verifier.issuer, &claims.sub, tenant);
        let profile = verifier.profile(claims);
        let found = find().await?;
        let at = asserted_at(claims, self.clock.now());
        if let Some(standing) = found {
            let old = profile.is_empty() || at < standing.updated_at || standing.claims == profile.hash().as_bytes();
            if old {
                return Ok(standing);
            }
        }
        let said = Updated { verifier, subject: &claims.sub, profile, at };
        self.store_assertion(&said).await?;
        find().await?.ok_or_else(|| crate::session::access_token::refused().into())
    }

    /// Stores an assertion in a transaction of its own.
    async fn store_assertion(&self, said: &Updated<'_>) -> Result<UserId, Error> {
        for last in (0..MAX_ATTEMPTS).rev() {
            let mut tx = self.db.all_tenants().begin().await?;
            match self.store_assertion_in(&mut tx, said).await {
                Ok(Some(user)) => {
                    tx.commit().await?;
                    return Ok(user);
                }
                Ok(None) => tx.rollback().await?,
                Err(error) if last > 0 && is_write_conflict(&error) => tx.rollback().await?,
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict())
    }

    /// Stores an assertion within a transaction of all tenants. Returns `None` if another transaction has created the
    /// same user meanwhile. The caller must then roll back and begin again, as for an error for which [`outrun`]
    /// returns `true`.
    pub(crate) async fn store_assertion_in(&self, tx: &mut Tx, said: &Updated<'_>) -> Result<Option<UserId>, Error> {
        let (issuer, subject) = said.issuer_and_subject();
        let Some(user) = store::find(tx, issuer, subject).await? else { return self.provision_in(tx, said).await };
        let now = self.clock.now();
        let profile = &said.profile;
        if profile.is_empty() || !store::record_claims(tx, said.issuer_and_subject(), &profile.hash(), said.at).await? {
            return Ok(Some(user));
        }
        let texts = (profile.name.as_deref(), profile.picture.as_deref(), profile.locale.as_deref());
        store::update_profile(tx, user, texts, now).await?;
        if let (Some(email), Some(known)) = (&profile.email, store::find_by_id(tx, user).await?) {
            let same = known.email.as_ref() == Some(email);
            // A user with a password changes their sign-in address themselves.
            let free = !same && !known.has_password && store::find_by_email(tx, email).await?.is_none();
            if free || (same && known.email_verified_at.is_none()) {
                store::set_verified_email(tx, user, email, now).await?;
                let entry = AuditEntry::new("user.email_changed").resource("user", user).details(said.source());
                self.audit.record_in(tx, entry).await?;
            }
        }
        Ok(Some(user))
    }

    /// Provisions a user for a new subject, or links the subject to an existing account. Returns `None` if another
    /// transaction has inserted the subject meanwhile.
    async fn provision_in(&self, tx: &mut Tx, said: &Updated<'_>) -> Result<Option<UserId>, Error> {
        let now = self.clock.now();
        let profile = &said.profile;
        let holder = match &profile.email {
            Some(email) => store::find_by_email(tx, email).await?,
            None => None,
        };
        let linked = holder.as_ref().filter(|holder| {
            said.verifier.link_verified_emails && holder.email_verified_at.is_some() && holder.disabled_at.is_none()
        });
        let (user, entry) = if let Some(holder) = linked {
            (holder.id, AuditEntry::new("user.identity_linked").resource("user", holder.id))
        } else {
            // An address that belongs to another account is not taken over.
            let email = profile.email.clone().filter(|_| holder.is_none());
            let mut new = NewUser { email_verified: email.is_some(), email, ..NewUser::default() };
            new.name = profile.name.clone().unwrap_or_default();
            new.picture = profile.picture.clone();
            new.locale = profile.locale.clone();
            let made = self.users.create_in(tx, new).await?;
            (made.user, AuditEntry::new("user.created").resource("user", made.user).for_tenant(made.tenant))
        };
        if !store::insert(tx, said.issuer_and_subject(), user, &profile.hash(), (said.at, now)).await? {
            return Ok(None);
        }
        self.audit.record_in(tx, entry.details(said.source())).await?;
        Ok(Some(user))
    }

    /// Disables the user of a subject that the issuer has deleted, within a transaction of all tenants. An unknown
    /// subject is provisioned and disabled, so that a late token or message can't sign it in.
    pub(crate) async fn disable_in(
        &self,
        tx: &mut Tx,
        sessions: &Sessions,
        said: &Updated<'_>,
    ) -> Result<Option<UserId>, Error> {
        let (issuer, subject) = said.issuer_and_subject();
        let user = match store::find(tx, issuer, subject).await? {
            Some(user) => user,
            None => match self.provision_in(tx, said).await? {
                Some(user) => user,
                None => return Ok(None),
            },
        };
        if store::disable(tx, user, self.clock.now()).await? {
            sessions.revoke_all_in(tx, user, None).await?;
            let entry = AuditEntry::new("user.disabled").resource("user", user).details(said.source());
            self.audit.record_in(tx, entry).await?;
        }
        Ok(Some(user))
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Stores the id of a webhook delivery until `until`. Returns whether it is new.
    pub(crate) async fn record_delivery_in(
        &self,
        tx: &mut Tx,
        delivery: &Sha256,
        until: Timestamp,
    ) -> Result<bool, Error> {
        Ok(store::record_delivery(tx, delivery, self.clock.now(), until).await?)
    }

    /// Deletes expired delivery ids, at most `limit`. Returns their number.
    pub(crate) async fn delete_expired_deliveries(&self, limit: i64) -> Result<u64, Error> {
        Ok(store::delete_expired_deliveries(&self.db, self.clock.now(), limit).await?)
    }
}

/// Returns the time of issue of a token, at most the current time. Its claims are of that time.
fn asserted_at(claims: &Claims, now: Timestamp) -> Timestamp {
    claims.issued_at().map_or(now, |seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000))).min(now)
}

/// Returns whether the error is a write conflict, so that an immediate retry may succeed.
pub(crate) fn is_write_conflict(error: &Error) -> bool {
    error.database().is_some_and(|error| matches!(error.kind(), db::ErrorKind::Unique | db::ErrorKind::Conflict))
}
