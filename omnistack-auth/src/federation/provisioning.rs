//! Provisioning: creates and updates users from external identities.
//!
//! Tokens and webhooks assert profiles in any order and on several replicas at once. Each assertion has a time, and the
//! newest counts: an older one than the stored one changes nothing.

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    crypto::Sha256,
    db::{Db, Tx},
    identity::{TenantId, UserId},
};

use super::{
    external_identity::{ExternalIdentity, ExternalProfile},
    issuer::{claims::Claims, verify::Verifier},
    linking::{AccountLinker, Assertion, ResolvedAccount, retry_on_conflict},
    store::{self, ExternalAccessRow},
};
use crate::{
    Error,
    session::{Sessions, access_token::refused},
};

/// The service that creates and updates users from the assertions of issuers.
#[derive(Clone)]
pub(crate) struct UserProvisioner {
    db: Db,
    clock: Clock,
    linker: AccountLinker,
    audit: AuditLog,
}

impl UserProvisioner {
    pub(crate) fn new(db: Db, clock: Clock, linker: AccountLinker, audit: AuditLog) -> Self {
        Self { db, clock, linker, audit }
    }

    /// Returns the access of a token's subject, in this tenant or else in the personal tenant. A new subject is
    /// provisioned; a newer profile is stored.
    ///
    /// # Errors
    /// 403 for a new subject if registration is closed; database errors.
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
        let identity = ExternalIdentity { issuer: verifier.issuer.clone(), subject: claims.sub.clone(), profile };
        let assertion = Assertion { identity: &identity, at, policy: verifier.link_policy(), client: None };
        retry_on_conflict(|| self.store_assertion(assertion)).await?;
        find().await?.ok_or_else(|| refused().into())
    }

    /// Stores an assertion in a transaction of its own. Returns `None` if another transaction conflicts.
    async fn store_assertion(&self, assertion: Assertion<'_>) -> Result<Option<UserId>, Error> {
        let mut tx = self.db.all_tenants().begin().await?;
        let stored = self.store_assertion_in(&mut tx, assertion).await?;
        if stored.is_some() {
            tx.commit().await?;
        }
        Ok(stored)
    }

    /// Stores an assertion within a transaction of all tenants: provisions the user of an unknown identity, and updates
    /// the profile of a known one. Returns `None` if another transaction conflicts; the caller must then roll back and
    /// begin again.
    pub(crate) async fn store_assertion_in(
        &self,
        tx: &mut Tx,
        assertion: Assertion<'_>,
    ) -> Result<Option<UserId>, Error> {
        let Some(ResolvedAccount { user, .. }) = self.linker.resolve(tx, assertion).await? else { return Ok(None) };
        let Assertion { identity, at, .. } = assertion;
        let (now, profile) = (self.clock.now(), &identity.profile);
        if profile.is_empty() || !store::record_claims(tx, identity.key(), &profile.hash(), at).await? {
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
                let entry =
                    AuditEntry::new("user.email_changed").resource("user", user).details(identity.audit_details(None));
                self.audit.record_in(tx, entry).await?;
            }
        }
        Ok(Some(user))
    }

    /// Disables the user of an identity that the issuer has deleted, within a transaction of all tenants. An unknown
    /// identity gets a disabled user of its own, so that a late token or message can't sign it in. Returns `None` if
    /// another transaction conflicts.
    pub(crate) async fn disable_in(
        &self,
        tx: &mut Tx,
        sessions: &Sessions,
        assertion: Assertion<'_>,
    ) -> Result<Option<UserId>, Error> {
        let ExternalIdentity { issuer, subject, .. } = assertion.identity.clone();
        // Without a profile, an unknown identity is linked to no account.
        let identity = ExternalIdentity { issuer, subject, profile: ExternalProfile::default() };
        let Some(ResolvedAccount { user, .. }) =
            self.linker.resolve(tx, Assertion { identity: &identity, ..assertion }).await?
        else {
            return Ok(None);
        };
        if store::disable(tx, user, self.clock.now()).await? {
            sessions.revoke_all_in(tx, user, None).await?;
            let entry = AuditEntry::new("user.disabled").resource("user", user).details(identity.audit_details(None));
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
