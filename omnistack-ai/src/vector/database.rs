//! The engine in the app's database.
//!
//! The points are rows. The nearest vectors are found by pgvector where PostgreSQL has it. Otherwise this process keeps
//! the collections that are searched in memory and compares all vectors, which is exact. A collection that is too large
//! for the memory is read for each search.

mod kernel;
mod pgvector;
mod resident;
mod rows;
mod scan;

use async_trait::async_trait;
use omnistack_core::{
    clock::Clock,
    db::{Db, Tx},
    identity::TenantId,
};
use serde_json::Value;

use self::{
    pgvector::{NearestSearch, PgVector, PgVectorSupport},
    resident::ResidentCollections,
    rows::SpaceState,
};
use super::{
    error::VectorError,
    index::VectorIndex,
    model::{VectorMatch, VectorPoint, VectorQuery, VectorSpace},
    words::{RankedId, fuse},
};

/// Results of each list that a hybrid search merges, for each result that it returns.
const MERGED_PER_RESULT: usize = 4;
/// Smallest number of results of each list that a hybrid search merges.
const MIN_MERGED: usize = 50;

/// The engine in the app's database: pgvector, or an exact scan in this process.
#[derive(Debug)]
pub struct DatabaseVectorIndex {
    /// The app's own database, without tenant databases.
    db: Db,
    clock: Clock,
    collections: ResidentCollections,
    pgvector: PgVector,
    /// Whether pgvector is used if the database has it.
    uses_pgvector: bool,
}

impl DatabaseVectorIndex {
    /// Creates the engine in a database in which the migrations of this crate have run. Collections in memory use at
    /// most `cache_bytes`.
    pub fn new(db: &Db, clock: Clock, cache_bytes: u64) -> Self {
        Self {
            db: db.app_database(),
            collections: ResidentCollections::new(cache_bytes),
            pgvector: PgVector::new(clock.clone()),
            clock,
            uses_pgvector: true,
        }
    }

    /// Compares vectors in this process, also if the database has pgvector.
    #[must_use]
    pub fn without_pgvector(mut self) -> Self {
        self.uses_pgvector = false;
        self
    }

    async fn support(&self) -> Result<PgVectorSupport, VectorError> {
        if self.uses_pgvector { self.pgvector.support(&self.db).await } else { Ok(PgVectorSupport::Missing) }
    }

    async fn nearest(
        &self,
        tx: &mut Tx,
        space: VectorSpace,
        state: SpaceState,
        support: PgVectorSupport,
        search: &NearestSearch<'_>,
    ) -> Result<Vec<RankedId>, VectorError> {
        if support != PgVectorSupport::Missing {
            return pgvector::nearest(tx, space, state, support, search).await;
        }
        if !self.collections.has_room(space, state.points) {
            self.collections.forget(space.collection);
            return scan::nearest(tx, space, search).await;
        }
        match self.collections.current(tx, space, state).await? {
            Some(collection) => collection.nearest(search.vector, search.filter, search.limit).await,
            None => scan::nearest(tx, space, search).await,
        }
    }

    /// Adds the texts and the metadata to results.
    async fn with_contents(
        tx: &mut Tx,
        space: VectorSpace,
        ranked: Vec<RankedId>,
    ) -> Result<Vec<VectorMatch>, VectorError> {
        if ranked.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = ranked.iter().map(|point| point.id.as_str()).collect();
        let mut contents = rows::contents(tx, space, &list(&ids)).await?;
        contents.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        let mut matches = Vec::with_capacity(ranked.len());
        for RankedId { id, score } in ranked {
            // A point that was deleted since is left out.
            let Ok(at) = contents.binary_search_by(|(known, ..)| known.as_str().cmp(&id)) else { continue };
            let (_, text, metadata) = &contents[at];
            matches.push(VectorMatch { id, score, text: text.clone(), metadata: rows::parse_metadata(metadata)? });
        }
        Ok(matches)
    }
}

/// Returns ids as they are bound to statements.
fn list<T: AsRef<str>>(ids: &[T]) -> String {
    ids.iter().map(|id| Value::from(id.as_ref())).collect::<Value>().to_string()
}

#[async_trait]
impl VectorIndex for DatabaseVectorIndex {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn create(&self, space: VectorSpace) -> Result<(), VectorError> {
        let mut tx = self.db.tenant(space.tenant).begin().await?;
        rows::create(&mut tx, space).await?;
        tx.commit().await?;
        let indexed = match self.support().await {
            Ok(support) => pgvector::create_index(&self.db, support, space.dimensions).await,
            Err(error) => Err(error),
        };
        if let Err(error) = indexed {
            // Searches then compare all vectors of a collection.
            tracing::warn!(target: "omnistack::ai", %error, dimensions = space.dimensions,
                "the index of vectors was not created; let the app's role own the table `omni_ai_vector_points`");
        }
        Ok(())
    }

    async fn drop_collection(&self, space: VectorSpace) -> Result<(), VectorError> {
        self.collections.forget(space.collection);
        let mut tx = self.db.tenant(space.tenant).begin().await?;
        rows::delete_state(&mut tx, space).await?;
        tx.commit().await?;
        loop {
            let mut tx = self.db.tenant(space.tenant).begin().await?;
            let deleted = rows::delete_some(&mut tx, space).await?;
            tx.commit().await?;
            if deleted < rows::DELETED_POINTS_PER_TRANSACTION {
                return Ok(());
            }
        }
    }

    async fn upsert(&self, space: VectorSpace, points: &[VectorPoint]) -> Result<(), VectorError> {
        if points.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = points.iter().map(|point| point.id.as_str()).collect();
        let mut tx = self.db.tenant(space.tenant).begin().await?;
        let version = rows::next_version(&mut tx, space).await?;
        let existing = rows::count_existing(&mut tx, space, &list(&ids)).await?;
        rows::upsert(&mut tx, space, points, version, self.clock.now()).await?;
        let added = i64::try_from(points.len()).unwrap_or(i64::MAX) - existing;
        rows::add_points(&mut tx, space, added).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn get(&self, space: VectorSpace, ids: &[String]) -> Result<Vec<VectorPoint>, VectorError> {
        let mut tx = self.db.tenant(space.tenant).begin_read().await?;
        let found = rows::get(&mut tx, space, &list(ids)).await?;
        tx.commit().await?;
        Ok(in_order(found, ids))
    }

    async fn delete(&self, space: VectorSpace, ids: &[String]) -> Result<(), VectorError> {
        let mut tx = self.db.tenant(space.tenant).begin().await?;
        let version = rows::next_version(&mut tx, space).await?;
        let deleted = rows::delete(&mut tx, space, &list(ids)).await?;
        if deleted == 0 {
            tx.rollback().await?;
            return Ok(());
        }
        rows::note_delete(&mut tx, space, version, i64::try_from(deleted).unwrap_or(i64::MAX)).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn count(&self, space: VectorSpace) -> Result<u64, VectorError> {
        let mut tx = self.db.tenant(space.tenant).begin_read().await?;
        let state = rows::state(&mut tx, space).await?;
        tx.commit().await?;
        Ok(state.points)
    }

    async fn count_of_tenant(&self, tenant: TenantId) -> Result<u64, VectorError> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let sql = "select cast(coalesce(sum(points), 0) as bigint) from omni_ai_vector_versions where tenant_id = $1";
        let (points,): (i64,) = tx.query(sql).bind(tenant).fetch_one().await?;
        tx.commit().await?;
        Ok(u64::try_from(points).unwrap_or(0))
    }

    async fn search(&self, space: VectorSpace, query: &VectorQuery) -> Result<Vec<VectorMatch>, VectorError> {
        let support = self.support().await?;
        let mut tx = self.db.tenant(space.tenant).begin_read().await?;
        let state = rows::state(&mut tx, space).await?;
        let is_hybrid = query.vector.is_some() && query.text.is_some();
        let limit = if is_hybrid { (query.limit * MERGED_PER_RESULT).max(MIN_MERGED) } else { query.limit };
        let by_vector = match &query.vector {
            Some(vector) => {
                let search = NearestSearch { vector, filter: &query.filter, limit };
                Some(self.nearest(&mut tx, space, state, support, &search).await?)
            }
            None => None,
        };
        let by_words = match &query.text {
            Some(text) => Some(scan::words(&mut tx, space, state.points, text, &query.filter, limit).await?),
            None => None,
        };
        let ranked = match (by_vector, by_words) {
            (Some(by_vector), Some(by_words)) => fuse([&by_vector, &by_words], query.limit),
            (Some(ranked), None) | (None, Some(ranked)) => ranked,
            (None, None) => Vec::new(),
        };
        let matches = Self::with_contents(&mut tx, space, ranked).await?;
        tx.commit().await?;
        Ok(matches)
    }

    /// Does nothing: core deletes the rows, since the tables are declared as a tenant's.
    async fn drop_tenant(&self, _: TenantId) -> Result<(), VectorError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), VectorError> {
        self.db.ping().await?;
        Ok(())
    }
}

/// Puts points in the order of ids.
pub(super) fn in_order(mut points: Vec<VectorPoint>, ids: &[String]) -> Vec<VectorPoint> {
    let place = |point: &VectorPoint| ids.iter().position(|id| *id == point.id);
    points.sort_by_cached_key(place);
    points
}
