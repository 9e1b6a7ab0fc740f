//! Deletion of old entries.

use super::{
    AuditChain, AuditEntry, AuditStore, Error,
    chain::{ChainVerifier, RETAINED_ACTION},
    encoding,
    store::{self, ChainEnds, RawEnds},
    verify::{ENTRIES_PER_PAGE, link},
};
use crate::{clock::Timestamp, db::Tx};

/// Largest number of entries that one transaction deletes, so that transactions that record don't wait for
/// long.
const MAX_DELETIONS_PER_TRANSACTION: u64 = 5_000;

impl AuditStore {
    /// Deletes the entries of all chains that were recorded before `before`, and returns their number. See
    /// [`delete_before_in_chain`](Self::delete_before_in_chain).
    ///
    /// # Errors
    ///
    /// Fails with [`Error::Broken`] for the first chain that was tampered with, after all other chains are
    /// processed, and immediately with [`Error::Database`].
    pub async fn delete_before(&self, before: Timestamp) -> Result<u64, Error> {
        let mut tx = self.read(None).await?;
        let chains = tx.query("select distinct tenant_id from omni_audit_entries where at < $1").bind(before);
        let chains: Vec<(uuid::Uuid,)> = chains.fetch_all().await?;
        tx.commit().await?;
        let mut chains: Vec<_> = chains.into_iter().map(|(id,)| AuditChain::from_id(id)).collect();
        if let Some(databases) = self.db.tenant_databases() {
            chains.extend(databases.all().await?.into_iter().map(AuditChain::Tenant));
        }
        let (mut removed, mut broken) = (0, None);
        for chain in chains {
            match self.delete_before_in_chain(chain, before).await {
                Ok(count) => removed += count,
                Err(Error::Broken(first)) => {
                    tracing::error!(target: "omnistack::audit", error = %first, "kept old entries of a broken chain");
                    broken = broken.or(Some(first));
                }
                Err(error) => return Err(error),
            }
        }
        broken.map_or(Ok(removed), |broken| Err(broken.into()))
    }

    /// Deletes the oldest entries of a chain, up to the first that was recorded at `before` or later, and
    /// returns their number.
    ///
    /// The entries are verified before they are deleted, so that no tampering is hidden. The number and hash of
    /// the last deleted entry are stored as the checkpoint from which the remaining entries are verified, and
    /// an entry `audit.entries_deleted` records the deletion in the chain.
    ///
    /// It works in transactions of 5,000 entries. If it is interrupted, the chain is intact and the next call
    /// continues.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::Broken`] if entries to delete were tampered with; they are kept as evidence. Fails
    /// with [`Error::Database`] if the database fails.
    pub async fn delete_before_in_chain(&self, chain: impl Into<AuditChain>, before: Timestamp) -> Result<u64, Error> {
        let (chain, mut removed) = (chain.into(), 0);
        // Entries recorded from now on, including those of this method, are kept.
        let before = before.min(self.clock.now());
        loop {
            let count = self.delete_batch(chain, before).await?;
            removed += count;
            if count < MAX_DELETIONS_PER_TRANSACTION {
                return Ok(removed);
            }
        }
    }

    async fn delete_batch(&self, chain: AuditChain, before: Timestamp) -> Result<u64, Error> {
        let mut tx = match chain.tenant() {
            Some(tenant) => self.chain_database(tenant).await?.tenant(tenant).begin().await?,
            // The app's chain belongs to no tenant.
            None => self.db.all_tenants().begin().await?,
        };
        let Some(ends) = lock(&mut tx, chain).await? else { return Ok(0) };
        let mut walk = ChainVerifier::after(chain, ends.checkpoint);
        let mut count: u64 = 0;
        'pages: while count < MAX_DELETIONS_PER_TRANSACTION {
            let after = walk.last().sequence;
            for row in store::page(&mut tx, chain, after, i64::MAX, ENTRIES_PER_PAGE).await? {
                if row.at >= before {
                    break 'pages;
                }
                walk.step(&link(chain, row)?)?;
                count += 1;
            }
            if walk.last().sequence == after {
                break;
            }
        }
        if count == 0 {
            return Ok(0);
        }
        let checkpoint = walk.last();
        tx.query("update omni_audit_chains set checkpoint = $1, checkpoint_hash = $2 where tenant_id = $3")
            .bind(checkpoint.sequence)
            .bind(checkpoint.hash.as_bytes().to_vec())
            .bind(chain.id())
            .execute()
            .await?;
        tx.query("delete from omni_audit_entries where tenant_id = $1 and sequence <= $2")
            .bind(chain.id())
            .bind(checkpoint.sequence)
            .execute()
            .await?;
        let mut entry = AuditEntry::new(RETAINED_ACTION).details(encoding::deletion_details(checkpoint, before));
        entry.tenant = chain.tenant();
        store::append(&mut tx, self.clock.now(), entry).await?;
        tx.commit().await?;
        Ok(count)
    }
}

/// Returns the ends of a chain, which stays locked until this transaction ends: no other transaction records in
/// it.
async fn lock(tx: &mut Tx, chain: AuditChain) -> Result<Option<ChainEnds>, Error> {
    let ends = tx
        .query(
            "update omni_audit_chains set sequence = sequence where tenant_id = $1
             returning sequence, hash, checkpoint, checkpoint_hash",
        )
        .bind(chain.id())
        .fetch_optional::<RawEnds>()
        .await?;
    ends.map(|ends| ChainEnds::from_row(chain, ends)).transpose()
}
