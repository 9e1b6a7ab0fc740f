//! The contract of vector engines.

use std::fmt::Debug;

use async_trait::async_trait;
use omnistack_core::identity::TenantId;

use super::{
    error::VectorError,
    model::{VectorMatch, VectorPoint, VectorQuery, VectorSpace},
};

/// An engine that stores vectors and finds the nearest ones.
///
/// An engine holds the points; the names of collections, their limits and permissions are those of
/// [`Vectors`](crate::Vectors). All vectors have the length 1, so the similarity of two is their scalar product. A
/// point of one collection is never visible in another, and a call with another tenant than that of the collection
/// finds nothing.
///
/// The macro `vector_conformance!` of `omnistack-testkit` tests these laws:
///
/// - `points_are_read_back`: `get` returns points with all their parts in the order of the ids, without those that do
///   not exist, and `count` their number
/// - `upsert_replaces_points`: `upsert` replaces all parts of a point with the same id, also in later searches
/// - `nearest_points_come_first`: `search` returns the nearest points first, with their similarities, and misses at
///   most 5 of 100
/// - `filters_select_points`: a filter selects points by their metadata, in a search for a vector as in one for words
/// - `filtered_search_returns_all_results`: `search` returns as many results as there are, however many nearer points
///   other collections have or the filter excludes
/// - `collections_are_isolated`: neither another collection nor another tenant, which knows the id of the collection,
///   sees points
/// - `deleted_points_are_not_found`: deleted points are not found, and ids that do not exist are ignored
/// - `dropped_collection_is_gone`: `drop_collection` deletes a collection with all its points, also if it is repeated,
///   and `create` changes no existing collection
/// - `words_find_points`: a search for words finds texts in any case and script, and is merged with a search for a
///   vector
/// - `changes_are_seen_by_replicas`: a change is seen by every replica at once
#[async_trait]
pub trait VectorIndex: Debug + Send + Sync + 'static {
    /// Returns the name, such as `embedded`.
    fn name(&self) -> &'static str;

    /// Creates a collection. Does nothing if it exists.
    ///
    /// # Errors
    /// See [`VectorError`].
    async fn create(&self, space: VectorSpace) -> Result<(), VectorError>;

    /// Deletes a collection and all its points. Does nothing if it does not exist.
    ///
    /// # Errors
    /// See [`VectorError`]. A call that failed can be repeated.
    async fn drop_collection(&self, space: VectorSpace) -> Result<(), VectorError>;

    /// Stores points, replacing those with the same ids. They are found by searches that begin after the call. The ids
    /// are unique within the call.
    ///
    /// # Errors
    /// [`VectorError::UnknownCollection`] if the collection was not created.
    async fn upsert(&self, space: VectorSpace, points: &[VectorPoint]) -> Result<(), VectorError>;

    /// Returns the points with these ids, in their order, without those that do not exist.
    ///
    /// # Errors
    /// See [`VectorError`].
    async fn get(&self, space: VectorSpace, ids: &[String]) -> Result<Vec<VectorPoint>, VectorError>;

    /// Deletes the points with these ids. Ids that do not exist are ignored.
    ///
    /// # Errors
    /// See [`VectorError`].
    async fn delete(&self, space: VectorSpace, ids: &[String]) -> Result<(), VectorError>;

    /// Returns the number of points of a collection.
    ///
    /// # Errors
    /// See [`VectorError`].
    async fn count(&self, space: VectorSpace) -> Result<u64, VectorError>;

    /// Returns the number of points of all collections of a tenant.
    ///
    /// # Errors
    /// See [`VectorError`].
    async fn count_of_tenant(&self, tenant: TenantId) -> Result<u64, VectorError>;

    /// Searches, and returns the best results first. It returns as many results as the query asks for if so many points
    /// satisfy its filter.
    ///
    /// # Errors
    /// [`VectorError::UnknownCollection`] if the collection was not created.
    async fn search(&self, space: VectorSpace, query: &VectorQuery) -> Result<Vec<VectorMatch>, VectorError>;

    /// Deletes all points of a tenant that was permanently deleted.
    ///
    /// # Errors
    /// See [`VectorError`]. A call that failed can be repeated.
    async fn drop_tenant(&self, tenant: TenantId) -> Result<(), VectorError>;

    /// Checks that the engine can be used.
    ///
    /// # Errors
    /// See [`VectorError`].
    async fn check(&self) -> Result<(), VectorError>;
}
