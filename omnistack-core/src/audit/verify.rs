//! Verification of a chain in the database.

use super::{
    AuditChain, AuditStore, ChainBreakKind, ChainHead, Error, VerificationReport,
    chain::ChainVerifier,
    encoding::ChainedEntry,
    store::{self, EntryRow},
};
use crate::db::{self, Sql, Tx};

/// Number of entries read by one query.
pub(super) const ENTRIES_PER_PAGE: i64 = 500;

/// Gives all reads of the transaction the same snapshot; a read transaction of SQLite always has one.
const ONE_STATE: Sql = Sql { postgres: "set transaction isolation level repeatable read", sqlite: "select 1" };

impl AuditStore {
    /// Verifies all entries of a chain that retention has not deleted, and that the last entry is the one that
    /// was recorded last. A tenant's chain without entries is valid. The app's chain must exist, because the
    /// first migration creates it.
    ///
    /// The whole chain is read in pages, within one read transaction.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::Broken`] for the first entry that differs from what was recorded, or with
    /// [`Error::Database`].
    pub async fn verify(&self, chain: impl Into<AuditChain>) -> Result<VerificationReport, Error> {
        let chain = chain.into();
        let mut tx = self.read(Some(chain)).await?;
        tx.query(ONE_STATE).execute().await?;
        let ends = store::ends(&mut tx, chain).await?;
        let (start, head) = ends.map_or((ChainHead::START, ChainHead::START), |ends| (ends.checkpoint, ends.head));
        let mut walk = ChainVerifier::after(chain, start);
        let mut after = i64::MIN;
        loop {
            let rows = readable(&mut tx, chain, after).await?;
            let Some(last) = rows.last() else { break };
            after = last.sequence;
            if ends.is_none() {
                return Err(chain.break_at(rows[0].sequence, ChainBreakKind::Head).into());
            }
            for row in rows {
                walk.step(&link(chain, row)?)?;
            }
        }
        tx.commit().await?;
        if ends.is_none() && chain == AuditChain::App {
            return Err(chain.break_at(1, ChainBreakKind::Head).into());
        }
        Ok(walk.end(head)?)
    }
}

/// Converts a row to a link. Fails if a hash is not 32 bytes long.
pub(super) fn link(chain: AuditChain, row: EntryRow) -> Result<ChainedEntry, Error> {
    let sequence = row.sequence;
    row.into_entry().ok_or_else(|| chain.break_at(sequence, ChainBreakKind::Changed).into())
}

/// Returns the next rows. If a value can't be read as the type of its column, fails for the entry that holds
/// it.
async fn readable(tx: &mut Tx, chain: AuditChain, after: i64) -> Result<Vec<EntryRow>, Error> {
    let unreadable = match store::page(tx, chain, after, i64::MAX, ENTRIES_PER_PAGE).await {
        Err(error) if error.kind() == db::ErrorKind::Other => error,
        rows => return Ok(rows?),
    };
    let numbers: Vec<(i64,)> = tx
        .query(
            "select sequence from omni_audit_entries where tenant_id = $1 and sequence > $2 order by sequence limit $3",
        )
        .bind(chain.id())
        .bind(after)
        .bind(ENTRIES_PER_PAGE)
        .fetch_all()
        .await?;
    let mut before = Vec::new();
    for (sequence,) in numbers {
        match store::page(tx, chain, sequence - 1, sequence, 1).await {
            Ok(row) => before.extend(row),
            // Entries before the unreadable one are verified first.
            Err(_) if !before.is_empty() => return Ok(before),
            Err(_) => return Err(chain.break_at(sequence, ChainBreakKind::Unreadable).into()),
        }
    }
    Err(unreadable.into())
}
