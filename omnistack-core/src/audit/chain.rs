//! Rules of an audit chain: numbers without gaps, and each entry holds the hash of the previous one. No I/O.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ChainBreak, ChainBreakKind, encoding::ChainedEntry};
use crate::{crypto::Sha256, id::Id, identity::TenantId};

/// Action of the entry that records a deletion by retention.
pub(super) const RETAINED_ACTION: &str = "audit.entries_deleted";

/// Audit chain: that of the app, or of a tenant.
///
/// ```
/// use omnistack_core::{audit::{AuditEntry, AuditChain}, clock::Clock, id::Id, identity::Identity};
///
/// # let now = Clock::system().now();
/// # let (user, tenant) = (Id::new(now), Id::new(now));
/// let operator = Identity::user(user).for_tenant(tenant).into_operator();
/// let entry = AuditEntry::new("project.deleted").actor(&operator);
/// assert_eq!(AuditChain::from(entry.tenant), AuditChain::Tenant(tenant));
/// let entry = AuditEntry::new("flag.changed").actor(&operator).for_app();
/// assert_eq!(AuditChain::from(entry.tenant), AuditChain::App);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditChain {
    /// The app's chain, for entries that belong to no tenant.
    App,
    /// A tenant's chain.
    Tenant(TenantId),
}

impl AuditChain {
    /// Returns the chain's id in the tables; that of the app's chain is the nil id.
    pub(super) fn id(self) -> Uuid {
        match self {
            Self::App => Uuid::nil(),
            Self::Tenant(tenant) => tenant.uuid(),
        }
    }

    pub(super) fn from_id(id: Uuid) -> Self {
        if id.is_nil() { Self::App } else { Self::Tenant(Id::from_uuid(id)) }
    }

    /// Returns the tenant of the chain, or `None` for the app's chain.
    pub fn tenant(self) -> Option<TenantId> {
        match self {
            Self::App => None,
            Self::Tenant(tenant) => Some(tenant),
        }
    }

    pub(super) fn break_at(self, sequence: i64, why: ChainBreakKind) -> ChainBreak {
        ChainBreak { chain: self, sequence, kind: why }
    }
}

impl From<TenantId> for AuditChain {
    fn from(tenant: TenantId) -> Self {
        Self::Tenant(tenant)
    }
}

impl From<Option<TenantId>> for AuditChain {
    fn from(tenant: Option<TenantId>) -> Self {
        tenant.map_or(Self::App, Self::Tenant)
    }
}

impl fmt::Display for AuditChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App => f.write_str("app"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
        }
    }
}

/// Head of a chain: the number and hash of its last entry. The hash fixes all entries before it.
///
/// ```
/// use omnistack_core::audit::{AuditStore, AuditChain, Error, ChainHead};
///
/// /// Whether the chain still goes through a head that was kept elsewhere, as JSON.
/// async fn goes_through(store: &AuditStore, chain: AuditChain, kept: ChainHead) -> Result<bool, Error> {
///     let now = store.get(chain, kept.sequence).await?;
///     Ok(now.is_some_and(|record| record.hash == kept.hash))
/// }
///
/// # use omnistack_core::crypto::Sha256;
/// # let head = ChainHead { sequence: 17, hash: Sha256::digest("an entry") };
/// let kept: ChainHead = serde_json::from_str(&serde_json::to_string(&head)?)?;
/// assert_eq!(kept, head);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainHead {
    /// Number of the last entry; 0 before the first entry.
    pub sequence: i64,
    /// Hash of the last entry; zeros before the first entry.
    pub hash: Sha256,
}

impl ChainHead {
    /// Head of an empty chain.
    pub(super) const START: Self = Self { sequence: 0, hash: Sha256::ZERO };
}

/// Result of verifying an intact chain.
///
/// ```
/// use omnistack_core::audit::{AuditStore, AuditChain};
/// # use omnistack_core::{app::App, audit::{AuditEntry, AuditLog}, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
/// # app.migrate().await?;
/// # let (log, store): (AuditLog, AuditStore) = (app.context().get()?, app.context().get()?);
/// # let mut tx = app.db().begin().await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.made")).await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.removed")).await?;
/// # tx.commit().await?;
/// let verified = store.verify(AuditChain::App).await?;
/// println!("{} entries are whole; keep {}", verified.entries, verified.head.hash);
/// assert_eq!((verified.entries, verified.head.sequence), (2, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerificationReport {
    /// Number of verified entries: all that retention has not deleted.
    pub entries: u64,
    /// Head of the chain. Keep it outside the database: if a later chain has another hash for this number, the
    /// chain was rewritten.
    pub head: ChainHead,
}

/// Verification of a chain, entry by entry.
pub(super) struct ChainVerifier {
    chain: AuditChain,
    start: ChainHead,
    last: ChainHead,
    entries: u64,
    /// Whether an entry records that retention deleted everything up to the start.
    start_is_recorded: bool,
}

impl ChainVerifier {
    /// Starts after `start`, the last deleted entry.
    pub(super) fn after(chain: AuditChain, start: ChainHead) -> Self {
        Self { chain, start, last: start, entries: 0, start_is_recorded: start == ChainHead::START }
    }

    pub(super) fn last(&self) -> ChainHead {
        self.last
    }

    pub(super) fn step(&mut self, link: &ChainedEntry) -> Result<(), ChainBreak> {
        let expected = self.last.sequence + 1;
        if link.sequence != expected {
            let unexpected = link.sequence < expected;
            let (sequence, why) =
                if unexpected { (link.sequence, ChainBreakKind::Unexpected) } else { (expected, ChainBreakKind::Gap) };
            return Err(self.chain.break_at(sequence, why));
        }
        if link.previous != self.last.hash {
            return Err(self.chain.break_at(expected, ChainBreakKind::Previous));
        }
        if link.hash != link.computed(self.chain) {
            return Err(self.chain.break_at(expected, ChainBreakKind::Changed));
        }
        self.start_is_recorded |= link.action == RETAINED_ACTION && link.records_deletion_up_to(self.start);
        self.last = ChainHead { sequence: expected, hash: link.hash };
        self.entries += 1;
        Ok(())
    }

    /// Ends the verification. Fails if the last entry is not the chain's head, or the deletion of earlier
    /// entries is not recorded.
    pub(super) fn end(self, head: ChainHead) -> Result<VerificationReport, ChainBreak> {
        let last = self.last;
        if last.sequence < head.sequence {
            return Err(self.chain.break_at(last.sequence + 1, ChainBreakKind::Truncated));
        }
        if last.sequence > head.sequence {
            return Err(self.chain.break_at(head.sequence + 1, ChainBreakKind::Unexpected));
        }
        if last.hash != head.hash {
            return Err(self.chain.break_at(last.sequence, ChainBreakKind::Head));
        }
        if !self.start_is_recorded {
            return Err(self.chain.break_at(self.start.sequence, ChainBreakKind::Checkpoint));
        }
        Ok(VerificationReport { entries: self.entries, head })
    }
}
