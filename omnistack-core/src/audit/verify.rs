//! Checking a chain in the database.

use super::{
    AuditStore, Break, Chain, Error, Head, Verified,
    chain::Walk,
    encoding::Link,
    store::{self, Row},
};
use crate::db::{self, Sql, Tx};

/// Entries read at once.
pub(super) const PAGE: i64 = 500;

/// One state of the database throughout; a reading transaction of SQLite always has that.
const ONE_STATE: Sql = Sql { postgres: "set transaction isolation level repeatable read", sqlite: "select 1" };

impl AuditStore {
    /// Checks every entry that retention left of a chain, and that the last is the one recorded last. A tenant's chain that
    /// has no entry yet is whole and empty; so is the app's own, as long as it is there: the first migration begins it.
    ///
    /// Reads the whole chain in one reading transaction, in portions.
    ///
    /// # Errors
    /// [`Error::Broken`] with the first entry that is not as it was recorded, and why; else the database's.
    pub async fn verify(&self, chain: impl Into<Chain>) -> Result<Verified, Error> {
        let chain = chain.into();
        let mut tx = self.read(Some(chain)).await?;
        tx.query(ONE_STATE).execute().await?;
        let ends = store::ends(&mut tx, chain).await?;
        let (start, head) = ends.map_or((Head::START, Head::START), |ends| (ends.checkpoint, ends.head));
        let mut walk = Walk::after(chain, start);
        let mut after = i64::MIN;
        loop {
            let rows = readable(&mut tx, chain, after).await?;
            let Some(last) = rows.last() else { break };
            after = last.sequence;
            if ends.is_none() {
                return Err(chain.broken(rows[0].sequence, Break::Head).into());
            }
            for row in rows {
                walk.step(&link(chain, row)?)?;
            }
        }
        tx.commit().await?;
        if ends.is_none() && chain == Chain::App {
            return Err(chain.broken(1, Break::Head).into());
        }
        Ok(walk.end(head)?)
    }
}

/// # Errors
/// A hash that is none.
pub(super) fn link(chain: Chain, row: Row) -> Result<Link, Error> {
    let sequence = row.sequence;
    row.link().ok_or_else(|| chain.broken(sequence, Break::Changed).into())
}

/// The next rows; or, when a value of one can't be read as what its column holds, which it is.
async fn readable(tx: &mut Tx, chain: Chain, after: i64) -> Result<Vec<Row>, Error> {
    let unreadable = match store::page(tx, chain, after, i64::MAX, PAGE).await {
        Err(error) if error.kind() == db::ErrorKind::Other => error,
        rows => return Ok(rows?),
    };
    let numbers: Vec<(i64,)> = tx
        .query("select sequence from audit_entries where tenant_id = $1 and sequence > $2 order by sequence limit $3")
        .bind(chain.id())
        .bind(after)
        .bind(PAGE)
        .fetch_all()
        .await?;
    let mut before = Vec::new();
    for (sequence,) in numbers {
        match store::page(tx, chain, sequence - 1, sequence, 1).await {
            Ok(row) => before.extend(row),
            // What comes before it is looked at first.
            Err(_) if !before.is_empty() => return Ok(before),
            Err(_) => return Err(chain.broken(sequence, Break::Unreadable).into()),
        }
    }
    Err(unreadable.into())
}
