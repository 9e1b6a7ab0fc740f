//! Collections that are kept in memory, up to a number of bytes. The collections that were used least are dropped.
//!
//! Each search reads the version of its collection. If rows were stored since, they are loaded; if some were deleted,
//! by whichever replica, the collection is loaded anew.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use futures_util::TryStreamExt as _;
use omnistack_core::db::Tx;
use serde_json::Map;
use sqlx::AssertSqlSafe;

use super::{
    kernel::VectorBlock,
    rows::{SpaceState, embedding_column, metadata_column, parse_embedding},
};
use crate::vector::{
    error::VectorError,
    filter::MetadataFilter,
    model::{VectorCollectionId, VectorSpace},
    words::RankedId,
};

/// Memory of a point besides its vector and its texts, in bytes: an entry of the map and two pointers with counters.
const OVERHEAD_BYTES_PER_POINT: usize = 120;
/// Numbers that a scan on the thread of the request may read, which takes less than 100 µs. Longer scans run on a
/// thread for blocking work.
const MAX_NUMBERS_INLINE: usize = 500_000;

/// The collections in memory. Cheap to clone.
#[derive(Clone)]
pub(super) struct ResidentCollections {
    cache: moka::sync::Cache<VectorCollectionId, Arc<ResidentCollection>>,
    max_bytes: u64,
}

/// A collection in memory.
pub(super) struct ResidentCollection {
    rows: RwLock<ResidentRows>,
    /// Held while rows are loaded, so that they are loaded once.
    loading: tokio::sync::Mutex<()>,
    kibibytes: AtomicU32,
}

/// The rows of a collection.
#[derive(Default)]
struct ResidentRows {
    version: i64,
    /// The version whose rows are too large for the memory, if they are.
    outgrown: Option<i64>,
    vectors: VectorBlock,
    ids: Vec<Arc<str>>,
    /// JSON. `None` if it is empty.
    metadata: Vec<Option<Box<str>>>,
    places: HashMap<Arc<str>, usize>,
    text_bytes: usize,
}

/// A row that is loaded: id, vector, metadata.
type LoadedRow = (String, Vec<u8>, String);

impl ResidentCollections {
    pub(super) fn new(max_bytes: u64) -> Self {
        let cache = moka::sync::Cache::builder()
            .max_capacity(max_bytes / 1024)
            .weigher(|_, collection: &Arc<ResidentCollection>| collection.kibibytes.load(Ordering::Relaxed).max(1))
            .build();
        Self { cache, max_bytes }
    }

    /// Returns whether a collection may be kept in memory, as far as its vectors say. Those of one collection use at
    /// most half of it.
    pub(super) fn has_room(&self, space: VectorSpace, points: u64) -> bool {
        let vector = u64::from(space.dimensions) * 5;
        let overhead = u64::try_from(OVERHEAD_BYTES_PER_POINT).unwrap_or(u64::MAX);
        points.saturating_mul(vector + overhead) <= self.max_bytes / 2
    }

    /// Removes a collection.
    pub(super) fn forget(&self, collection: VectorCollectionId) {
        self.cache.invalidate(&collection);
    }

    /// Returns a collection with all rows of a state, loading what is missing. Returns `None` if it is too large, with
    /// its ids and its metadata.
    pub(super) async fn current(
        &self,
        tx: &mut Tx,
        space: VectorSpace,
        state: SpaceState,
    ) -> Result<Option<Arc<ResidentCollection>>, VectorError> {
        let found = self.cache.get_with(space.collection, Arc::default);
        if let Some(fits) = found.fits(state) {
            return Ok(fits.then_some(found));
        }
        let _turn = found.loading.lock().await;
        if let Some(fits) = found.fits(state) {
            return Ok(fits.then(|| Arc::clone(&found)));
        }
        let most = self.most_bytes();
        let known = found.read().version;
        let fits = if known == 0 || known < state.last_delete {
            let mut rows = ResidentRows::with_capacity(space, state);
            let is_whole = load(tx, space, 0, |id, vector, metadata| {
                rows.put(id, &vector, metadata);
                rows.bytes() <= most
            });
            let is_whole = is_whole.await?;
            if is_whole {
                rows.version = state.version;
                *found.write() = rows;
            }
            is_whole
        } else {
            let mut bytes = found.read().bytes();
            let mut changed = Vec::new();
            let is_whole = load(tx, space, known, |id, vector, metadata| {
                bytes += vector.len() * 5 + id.len() + metadata.len() + OVERHEAD_BYTES_PER_POINT;
                changed.push((id, vector, metadata));
                bytes <= most
            });
            let is_whole = is_whole.await?;
            if is_whole {
                let mut rows = found.write();
                for (id, vector, metadata) in changed {
                    rows.put(id, &vector, metadata);
                }
                rows.version = state.version;
            }
            is_whole
        };
        if !fits {
            *found.write() = ResidentRows { outgrown: Some(state.version), ..ResidentRows::default() };
        }
        let bytes = found.read().bytes();
        found.kibibytes.store(u32::try_from(bytes / 1024).unwrap_or(u32::MAX), Ordering::Relaxed);
        // The cache weighs an entry when it is inserted.
        self.cache.insert(space.collection, Arc::clone(&found));
        Ok(fits.then(|| Arc::clone(&found)))
    }

    /// Returns the most memory of one collection, which is more than `has_room` expects: ids and metadata are not known
    /// before they are loaded.
    fn most_bytes(&self) -> usize {
        usize::try_from(self.max_bytes / 4 * 3).unwrap_or(usize::MAX)
    }
}

impl std::fmt::Debug for ResidentCollections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResidentCollections").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

impl Default for ResidentCollection {
    fn default() -> Self {
        Self { rows: RwLock::default(), loading: tokio::sync::Mutex::default(), kibibytes: AtomicU32::new(1) }
    }
}

impl ResidentCollection {
    /// Returns the points that are most similar to a vector, the best first.
    ///
    /// # Errors
    /// Fails if the process shuts down.
    pub(super) async fn nearest(
        self: Arc<Self>,
        vector: &[f32],
        filter: &MetadataFilter,
        limit: usize,
    ) -> Result<Vec<RankedId>, VectorError> {
        if self.read().vectors.len().saturating_mul(vector.len()) <= MAX_NUMBERS_INLINE {
            return Ok(self.read().nearest(vector, filter, limit));
        }
        let (vector, filter) = (vector.to_vec(), filter.clone());
        let scan = tokio::task::spawn_blocking(move || self.read().nearest(&vector, &filter, limit));
        scan.await.map_err(|error| VectorError::Unavailable { message: error.to_string() })
    }

    /// Returns whether the rows of a state are in memory. Returns `None` if they must be loaded to know it.
    fn fits(&self, state: SpaceState) -> Option<bool> {
        let rows = self.read();
        match rows.outgrown {
            Some(version) => (version >= state.version).then_some(false),
            None => (rows.version >= state.version).then_some(true),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, ResidentRows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, ResidentRows> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResidentRows {
    fn with_capacity(space: VectorSpace, state: SpaceState) -> Self {
        let points = usize::try_from(state.points).unwrap_or(0);
        let dimensions = usize::try_from(space.dimensions).unwrap_or(0);
        Self {
            vectors: VectorBlock::new(dimensions, points),
            ids: Vec::with_capacity(points),
            metadata: Vec::with_capacity(points),
            places: HashMap::with_capacity(points),
            ..Self::default()
        }
    }

    fn put(&mut self, id: String, vector: &[f32], metadata: String) {
        let metadata = (metadata != "{}").then(|| metadata.into_boxed_str());
        self.text_bytes += metadata.as_ref().map_or(0, |metadata| metadata.len());
        if let Some(place) = self.places.get(id.as_str()).copied() {
            self.vectors.set(place, vector);
            self.text_bytes -= self.metadata[place].as_ref().map_or(0, |old| old.len());
            self.metadata[place] = metadata;
            return;
        }
        let id: Arc<str> = id.into();
        self.text_bytes += id.len();
        self.places.insert(Arc::clone(&id), self.ids.len());
        self.ids.push(id);
        self.vectors.push(vector);
        self.metadata.push(metadata);
    }

    fn nearest(&self, vector: &[f32], filter: &MetadataFilter, limit: usize) -> Vec<RankedId> {
        let accept = |row: usize| filter.is_empty() || matches(filter, self.metadata[row].as_deref());
        let mut found: Vec<RankedId> = self
            .vectors
            .nearest(vector, limit, accept)
            .into_iter()
            .map(|(row, score)| RankedId { id: self.ids[row].to_string(), score })
            .collect();
        // Points with the same score are in the same order on all replicas.
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        found
    }

    fn bytes(&self) -> usize {
        self.vectors.bytes() + self.ids.len() * OVERHEAD_BYTES_PER_POINT + self.text_bytes
    }
}

fn matches(filter: &MetadataFilter, metadata: Option<&str>) -> bool {
    match metadata {
        None => filter.matches(&Map::new()),
        Some(text) => serde_json::from_str(text).is_ok_and(|metadata| filter.matches(&metadata)),
    }
}

/// Passes the rows that were stored after a version to a function, until it returns `false`. Returns whether it got
/// all. The others are read too: the connection of a transaction has no use for half an answer.
async fn load(
    tx: &mut Tx,
    space: VectorSpace,
    after: i64,
    mut put: impl FnMut(String, Vec<f32>, String) -> bool,
) -> Result<bool, VectorError> {
    let dialect = tx.dialect();
    let sql = format!(
        "select id, {}, {} from omni_ai_vector_points
        where tenant_id = $1 and collection_id = $2 and version > $3 order by id",
        embedding_column(dialect),
        metadata_column(dialect)
    );
    let rows = tx.query(AssertSqlSafe(sql)).bind(space.tenant).bind(space.collection).bind(after);
    let mut rows = pin!(rows.stream::<LoadedRow>());
    let mut fits = true;
    while let Some((id, vector, metadata)) = rows.try_next().await? {
        if !fits {
            continue;
        }
        let vector = parse_embedding(dialect, &vector)?;
        if u32::try_from(vector.len()) == Ok(space.dimensions) {
            fits = put(id, vector, metadata);
        }
    }
    Ok(fits)
}
