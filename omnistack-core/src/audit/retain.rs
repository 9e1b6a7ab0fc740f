//! Removing what is old.

use super::{
    AuditEntry, AuditStore, Chain, Error,
    chain::{RETAINED, Walk},
    encoding,
    store::{self, Ends, RawEnds},
    verify::{PAGE, link},
};
use crate::{clock::Timestamp, db::Tx};

/// Entries one transaction removes at most, so that nobody who records waits for long.
const AT_ONCE: u64 = 5_000;

impl AuditStore {
    /// Removes the entries recorded before a moment, of every chain, and returns how many. See
    /// [`retain_chain`](Self::retain_chain).
    ///
    /// # Errors
    /// [`Error::Broken`] for the first chain that was tampered with, after the others are done; the database's at once.
    pub async fn retain(&self, before: Timestamp) -> Result<u64, Error> {
        let mut tx = self.read(None).await?;
        let chains = tx.query("select distinct tenant_id from audit_entries where at < $1").bind(before);
        let chains: Vec<(uuid::Uuid,)> = chains.fetch_all().await?;
        tx.commit().await?;
        let mut chains: Vec<_> = chains.into_iter().map(|(id,)| Chain::of_id(id)).collect();
        if let Some(databases) = self.db.tenant_databases() {
            chains.extend(databases.all().await?.into_iter().map(Chain::Tenant));
        }
        let (mut removed, mut broken) = (0, None);
        for chain in chains {
            match self.retain_chain(chain, before).await {
                Ok(count) => removed += count,
                Err(Error::Broken(first)) => {
                    tracing::error!(target: "omnistack::audit", error = %first, "old entries are kept");
                    broken = broken.or(Some(first));
                }
                Err(error) => return Err(error),
            }
        }
        broken.map_or(Ok(removed), |broken| Err(broken.into()))
    }

    /// Removes the oldest entries of a chain, up to the first that was recorded at this moment or later, and returns how
    /// many. What it removes is verified first, so that it hides no tampering; number and hash of the last one removed
    /// stay as the checkpoint from which the rest is verified; and an entry `audit.retained` says so in the chain itself.
    ///
    /// Works in transactions of 5,000 entries: cut off in between, the chain is whole, and the next call goes on.
    ///
    /// # Errors
    /// [`Error::Broken`] when what should be removed was tampered with: it is kept as evidence.
    pub async fn retain_chain(&self, chain: impl Into<Chain>, before: Timestamp) -> Result<u64, Error> {
        let (chain, mut removed) = (chain.into(), 0);
        // What is recorded from now on, its own entries included, stays.
        let before = before.min(self.clock.now());
        loop {
            let count = self.retain_some(chain, before).await?;
            removed += count;
            if count < AT_ONCE {
                return Ok(removed);
            }
        }
    }

    async fn retain_some(&self, chain: Chain, before: Timestamp) -> Result<u64, Error> {
        let mut tx = match chain.tenant() {
            Some(tenant) => self.of(tenant).await?.tenant(tenant).begin().await?,
            // The app's own chain is no tenant's.
            None => self.db.all_tenants().begin().await?,
        };
        let Some(ends) = lock(&mut tx, chain).await? else { return Ok(0) };
        let mut walk = Walk::after(chain, ends.checkpoint);
        let mut count: u64 = 0;
        'pages: while count < AT_ONCE {
            let after = walk.last().sequence;
            for row in store::page(&mut tx, chain, after, i64::MAX, PAGE).await? {
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
        tx.query("update audit_chains set checkpoint = $1, checkpoint_hash = $2 where tenant_id = $3")
            .bind(checkpoint.sequence)
            .bind(checkpoint.hash.as_bytes().to_vec())
            .bind(chain.id())
            .execute()
            .await?;
        tx.query("delete from audit_entries where tenant_id = $1 and sequence <= $2")
            .bind(chain.id())
            .bind(checkpoint.sequence)
            .execute()
            .await?;
        let mut entry = AuditEntry::new(RETAINED).with(encoding::explanation(checkpoint, before));
        entry.tenant = chain.tenant();
        store::append(&mut tx, self.clock.now(), entry).await?;
        tx.commit().await?;
        Ok(count)
    }
}

/// The ends of a chain nobody records in until this transaction is over.
async fn lock(tx: &mut Tx, chain: Chain) -> Result<Option<Ends>, Error> {
    let ends = tx
        .query(
            "update audit_chains set sequence = sequence where tenant_id = $1
             returning sequence, hash, checkpoint, checkpoint_hash",
        )
        .bind(chain.id())
        .fetch_optional::<RawEnds>()
        .await?;
    ends.map(|ends| Ends::of(chain, ends)).transpose()
}
