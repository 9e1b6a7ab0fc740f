//! The usage of the versions of a prompt, from the ledger of calls.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Error, FromRow, Tx},
};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;

use crate::catalog::Cost;

/// Pico-USD in a micro-USD: sums are read in two parts, so that they do not overflow.
const PICO_PER_MICRO: i64 = 1_000_000;

/// The usage of a version of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PromptUsage {
    /// The version.
    pub(super) version: i64,
    /// The calls.
    pub(super) calls: i64,
    /// The calls without a whole answer.
    pub(super) failed: i64,
    /// The calls whose price is not known, and which the cost does not contain.
    pub(super) without_price: i64,
    /// The cost in USD.
    pub(super) cost: Cost,
    /// The average time of a call in milliseconds; `null` without calls.
    #[schema(required)]
    pub(super) average_ms: Option<i64>,
}

#[derive(Debug, FromRow)]
struct UsageRow {
    prompt: String,
    calls: i64,
    failed: i64,
    without_price: i64,
    cost_micros: i64,
    cost_picos: i64,
    duration_ms: Option<i64>,
}

/// Returns the name under which the calls of a version are in the ledger.
pub(super) fn version_reference(name: &str, version: i64) -> String {
    format!("{name}@{version}")
}

/// Returns the name under which the calls of an override are in the ledger.
pub(super) fn override_reference(name: &str, revision: i64) -> String {
    format!("{name}@override-{revision}")
}

/// Returns the usage of versions of a prompt by calls that began in a period and have ended. The transaction must be
/// one of all tenants. Versions without calls are left out.
pub(super) async fn usage(
    tx: &mut Tx,
    name: &str,
    versions: &[i64],
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<PromptUsage>, Error> {
    if versions.is_empty() {
        return Ok(Vec::new());
    }
    let mut arguments = Arguments::new(tx.dialect());
    let (since, until) = (arguments.push(since), arguments.push(until));
    let references = versions.iter().map(|version| format!("${}", arguments.push(version_reference(name, *version))));
    let references = references.collect::<Vec<_>>().join(", ");
    let sql = format!(
        "select prompt, count(*) as calls, \
         cast(sum(case when status = 'succeeded' then 0 else 1 end) as bigint) as failed, \
         cast(sum(case when cost_pico is null then 1 else 0 end) as bigint) as without_price, \
         cast(coalesce(sum(cost_pico / {PICO_PER_MICRO}), 0) as bigint) as cost_micros, \
         cast(coalesce(sum(cost_pico % {PICO_PER_MICRO}), 0) as bigint) as cost_picos, \
         cast(avg(duration_ms) as bigint) as duration_ms \
         from omni_ai_calls where prompt in ({references}) and status <> 'open' \
         and started_at >= ${since} and started_at < ${until} \
         group by prompt"
    );
    let rows: Vec<UsageRow> = tx.query(AssertSqlSafe(sql)).args(arguments).fetch_all().await?;
    let read = |row: UsageRow| {
        let version = row.prompt.rsplit_once('@')?.1.parse().ok()?;
        let pico = row.cost_micros.saturating_mul(PICO_PER_MICRO).saturating_add(row.cost_picos);
        Some(PromptUsage {
            version,
            calls: row.calls,
            failed: row.failed,
            without_price: row.without_price,
            cost: Cost::from_pico(pico),
            average_ms: row.duration_ms,
        })
    };
    let mut all: Vec<PromptUsage> = rows.into_iter().filter_map(read).collect();
    all.sort_by_key(|usage| std::cmp::Reverse(usage.version));
    Ok(all)
}
