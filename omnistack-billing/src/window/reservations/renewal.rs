//! The renewal of reservations that are in use.

use std::collections::HashSet;

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Dialect, Error, Tx},
};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// Largest number of reservations of one statement.
const MAX_RESERVATIONS_PER_QUERY: usize = 500;

/// The result of a renewal. A reservation in neither set was locked, or expires later already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RenewalResult {
    pub(crate) renewed: HashSet<Uuid>,
    /// The reservations that have ended or expired.
    pub(crate) missing: HashSet<Uuid>,
}

/// Sets a later expiry of reservations, in a transaction that sees them. It does not wait for transactions that use
/// them.
pub(crate) async fn extend(tx: &mut Tx, ids: &[Uuid], expires_at: Timestamp) -> Result<RenewalResult, Error> {
    let mut result = RenewalResult::default();
    for ids in ids.chunks(MAX_RESERVATIONS_PER_QUERY) {
        let (mut args, list) = arguments(tx.dialect(), ids);
        let time = args.push(expires_at);
        // A transaction that has locked one of them may wait for another one.
        let locking = if tx.dialect() == Dialect::Postgres { " for update skip locked" } else { "" };
        let update = format!(
            "update omni_usage_reservations set expires_at = ${time} where id in (
                select id from omni_usage_reservations where id in ({list}) and expires_at < ${time}{locking})
            returning id"
        );
        let renewed: Vec<(Uuid,)> = tx.query(AssertSqlSafe(update)).args(args).fetch_all().await?;
        result.renewed.extend(renewed.into_iter().map(|(id,)| id));

        let (args, list) = arguments(tx.dialect(), ids);
        let select = format!("select id from omni_usage_reservations where id in ({list})");
        let found: Vec<(Uuid,)> = tx.query(AssertSqlSafe(select)).args(args).fetch_all().await?;
        let found: HashSet<Uuid> = found.into_iter().map(|(id,)| id).collect();
        result.missing.extend(ids.iter().copied().filter(|id| !found.contains(id)));
    }
    Ok(result)
}

/// Returns the ids as arguments, and the list of their placeholders.
fn arguments(dialect: Dialect, ids: &[Uuid]) -> (Arguments, String) {
    let mut args = Arguments::new(dialect);
    let list: Vec<String> = ids.iter().map(|id| format!("${}", args.push(*id))).collect();
    (args, list.join(", "))
}
