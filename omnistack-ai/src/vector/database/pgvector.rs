//! Search by the extension pgvector.
//!
//! The vectors are arrays of the table. The extension's type is used in expressions only, also in that of its index, so
//! that the table is the same with and without it, and the extension can be installed at any time.
//!
//! An HNSW index filters the candidates that it finds by the collection, the metadata and the row-level security, so a
//! plain search may find fewer rows than there are. From version 0.8 on, a scan continues until it has enough (an
//! iterative scan), but not without end. So a collection with few points, and a search whose index scan has found too
//! few rows, compare all vectors of the collection.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{Arguments, Db, Dialect, Tx},
};
use sqlx::AssertSqlSafe;

use super::rows::{SpaceState, vector_text};
use crate::vector::{error::VectorError, filter::MetadataFilter, model::VectorSpace, words::RankedId};

/// Largest number of points of a collection that are compared without the index.
const MAX_POINTS_COMPARED_WITHOUT_INDEX: u64 = 5_000;
/// Largest number of dimensions that an HNSW index accepts. Longer vectors are compared without it.
const MAX_INDEXED_DIMENSIONS: u32 = 2_000;
/// Largest `hnsw.ef_search` of pgvector: the number of candidates of the first scan of the index.
const MAX_CANDIDATES: usize = 1_000;
/// Smallest `hnsw.ef_search` that is set. The default of pgvector, 40, misses more of the nearest vectors.
const MIN_CANDIDATES: usize = 100;
/// Time after which it is checked again whether the extension is installed.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Largest number of indexes, one for each number of dimensions. Tenants choose the numbers, and each write of any
/// tenant considers all indexes. Vectors without an index are compared without it.
const MAX_INDEXES: i64 = 16;
/// Longest time in which an index is created.
const INDEX_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The part of pgvector that the database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PgVectorSupport {
    /// The extension is not installed.
    Missing,
    /// The extension has no iterative scans, so its index is not used.
    WithoutIndex,
    /// The extension has iterative scans.
    WithIndex,
}

/// The extension in the app's database.
#[derive(Debug)]
pub(super) struct PgVector {
    clock: Clock,
    checked: Mutex<Option<(Timestamp, PgVectorSupport)>>,
}

impl PgVector {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, checked: Mutex::default() }
    }

    /// Returns what the database supports. The first call installs the extension, if the server has it and the app's
    /// role may.
    pub(super) async fn support(&self, db: &Db) -> Result<PgVectorSupport, VectorError> {
        if db.dialect() == Dialect::Sqlite {
            return Ok(PgVectorSupport::Missing);
        }
        let now = self.clock.now();
        let known = *self.checked();
        if let Some((at, support)) = known
            && now.duration_since(at) < CHECK_INTERVAL
        {
            return Ok(support);
        }
        if known.is_none() {
            install(db).await;
        }
        let version: Option<(String,)> =
            db.query("select extversion from pg_extension where extname = 'vector'").fetch_optional().await?;
        let support = version.map_or(PgVectorSupport::Missing, |(version,)| support_of(&version));
        if known.is_none_or(|(_, before)| before != support) {
            tracing::info!(target: "omnistack::ai", ?support, "checked the extension pgvector of the database");
        }
        *self.checked() = Some((now, support));
        Ok(support)
    }

    fn checked(&self) -> MutexGuard<'_, Option<(Timestamp, PgVectorSupport)>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Installs the extension. It is not an error if that fails: then the app compares vectors itself.
async fn install(db: &Db) {
    let available =
        "select cast(1 as bigint) from pg_available_extensions where name = 'vector' and installed_version is null";
    let installed = async {
        if db.query(available).fetch_optional::<(i64,)>().await?.is_some() {
            let mut tx = db.begin().await?;
            tx.query("create extension if not exists vector").execute().await?;
            tx.commit().await?;
        }
        Ok::<(), omnistack_core::db::Error>(())
    };
    if let Err(error) = installed.await {
        tracing::warn!(target: "omnistack::ai", %error,
            "the extension pgvector was not installed; run `create extension vector` as a role that may, or the app compares vectors itself");
    }
}

/// Returns what a version such as `0.8.0` supports.
fn support_of(version: &str) -> PgVectorSupport {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) >= (0, 8) { PgVectorSupport::WithIndex } else { PgVectorSupport::WithoutIndex }
}

/// Returns the points that are most similar to a vector, the best first.
pub(super) async fn nearest(
    tx: &mut Tx,
    space: VectorSpace,
    state: SpaceState,
    support: PgVectorSupport,
    search: &NearestSearch<'_>,
) -> Result<Vec<RankedId>, VectorError> {
    let uses_index = support == PgVectorSupport::WithIndex
        && state.points > MAX_POINTS_COMPARED_WITHOUT_INDEX
        && space.dimensions <= MAX_INDEXED_DIMENSIONS;
    if uses_index {
        let candidates = (search.limit * 4).clamp(MIN_CANDIDATES, MAX_CANDIDATES);
        let settings = "select set_config('hnsw.iterative_scan', 'strict_order', true),
            set_config('hnsw.ef_search', $1, true)";
        tx.query(settings).bind(candidates.to_string()).execute().await?;
        let found = select(tx, space, search, true).await?;
        if found.len() >= search.limit {
            return Ok(found);
        }
    }
    select(tx, space, search, false).await
}

/// A search for the nearest vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct NearestSearch<'a> {
    pub(super) vector: &'a [f32],
    pub(super) filter: &'a MetadataFilter,
    pub(super) limit: usize,
}

async fn select(
    tx: &mut Tx,
    space: VectorSpace,
    search: &NearestSearch<'_>,
    may_use_index: bool,
) -> Result<Vec<RankedId>, VectorError> {
    let mut args = Arguments::new(tx.dialect());
    let tenant = args.push(space.tenant);
    let collection = args.push(space.collection);
    let query = args.push(vector_text(search.vector, '[', ']'));
    let limit = args.push(i64::try_from(search.limit).unwrap_or(i64::MAX));
    let filter = search.filter.postgres(&mut args);
    let dimensions = space.dimensions;
    let vector = indexed_expression(dimensions);
    // With another expression than its own, the index is not used.
    let order = if may_use_index { "" } else { " + cast(0 as double precision)" };
    let distance = format!("({vector} <#> cast(${query} as vector({dimensions})))");
    let sql = format!(
        "select id, cast(-{distance} as real) from omni_ai_vector_points
        where tenant_id = ${tenant} and collection_id = ${collection} and dimensions = {dimensions}{filter}
        order by {distance}{order} limit ${limit}"
    );
    let rows: Vec<(String, f32)> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    Ok(rows.into_iter().map(|(id, score)| RankedId { id, score }).collect())
}

/// Returns the expression of the index of vectors with this number of dimensions.
fn indexed_expression(dimensions: u32) -> String {
    format!("cast(embedding as vector({dimensions}))")
}

/// Creates the index of vectors with this number of dimensions, if the extension is installed and it does not exist.
///
/// The time is short for a new number of dimensions, which has no rows yet. Writes wait while many rows are indexed.
///
/// # Errors
/// Fails if the app's role does not own the table.
pub(super) async fn create_index(db: &Db, support: PgVectorSupport, dimensions: u32) -> Result<(), VectorError> {
    if support != PgVectorSupport::WithIndex || dimensions > MAX_INDEXED_DIMENSIONS {
        return Ok(());
    }
    let name = format!("omni_ai_vector_points_hnsw_{dimensions}");
    let exists = "select cast(1 as bigint) where to_regclass($1) is not null";
    if db.query(exists).bind(name.clone()).fetch_optional::<(i64,)>().await?.is_some() {
        return Ok(());
    }
    let count = "select count(*) from pg_indexes where schemaname = current_schema()
        and tablename = 'omni_ai_vector_points' and indexname like 'omni_ai_vector_points_hnsw_%'";
    let (indexes,): (i64,) = db.query(count).fetch_one().await?;
    if indexes >= MAX_INDEXES {
        tracing::warn!(target: "omnistack::ai", dimensions, "vectors of this length get no index: there are enough");
        return Ok(());
    }
    // The index has the rows of all tenants.
    let mut tx = db.all_tenants().begin().await?;
    tx.set_statement_timeout(INDEX_TIMEOUT).await?;
    let vector = indexed_expression(dimensions);
    let create = format!(
        "create index if not exists {name} on omni_ai_vector_points using hnsw (({vector}) vector_ip_ops)
        where dimensions = {dimensions}"
    );
    tx.query(AssertSqlSafe(create)).execute().await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_without_iterative_scans_use_no_index() {
        for (version, expected) in [
            ("0.6.2", PgVectorSupport::WithoutIndex),
            ("0.7.4", PgVectorSupport::WithoutIndex),
            ("0.8.0", PgVectorSupport::WithIndex),
            ("0.10.1", PgVectorSupport::WithIndex),
            ("1.0", PgVectorSupport::WithIndex),
            ("", PgVectorSupport::WithoutIndex),
        ] {
            assert_eq!(support_of(version), expected, "{version}");
        }
    }
}
