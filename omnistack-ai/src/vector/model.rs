//! Collections, points and queries.

use omnistack_core::{clock::Timestamp, id::Id, identity::TenantId};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::filter::MetadataFilter;

/// Largest number of dimensions of a vector.
pub const MAX_VECTOR_DIMENSIONS: u32 = 4_096;
/// Largest number of results of a search.
pub const MAX_VECTOR_RESULTS: usize = 100;

/// Marker type of the ids of collections: see [`VectorCollectionId`].
#[derive(Debug)]
pub enum VectorCollectionMarker {}

/// The id of a collection.
pub type VectorCollectionId = Id<VectorCollectionMarker>;

/// The collection of a tenant, as engines know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct VectorSpace {
    /// The tenant.
    pub tenant: TenantId,
    /// The id of the collection. A new collection with an old name has another id.
    pub collection: VectorCollectionId,
    /// The length of all vectors of the collection.
    pub dimensions: u32,
}

impl VectorSpace {
    /// Creates the description of a collection.
    pub fn new(tenant: TenantId, collection: VectorCollectionId, dimensions: u32) -> Self {
        Self { tenant, collection, dimensions }
    }
}

/// A vector with what it stands for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct VectorPoint {
    /// The id, which is unique in the collection.
    pub id: String,
    /// The vector. Engines get it with the length 1, and return it so.
    pub vector: Vec<f32>,
    /// The text that the vector stands for, which full-text search finds.
    pub text: Option<String>,
    /// Fields that searches filter by.
    pub metadata: Map<String, Value>,
}

impl VectorPoint {
    /// Creates a point without a text and without metadata.
    pub fn new(id: impl Into<String>, vector: Vec<f32>) -> Self {
        Self { id: id.into(), vector, text: None, metadata: Map::new() }
    }

    /// Sets the text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Sets the metadata.
    #[must_use]
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }
}

/// A search in a collection: by a vector, by words, or by both (hybrid).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct VectorQuery {
    /// The vector whose nearest neighbours are sought, with the length 1.
    pub vector: Option<Vec<f32>>,
    /// The text whose words are sought.
    pub text: Option<String>,
    /// The conditions on the metadata of each result.
    pub filter: MetadataFilter,
    /// The largest number of results.
    pub limit: usize,
}

impl VectorQuery {
    /// Creates a search for the nearest neighbours of a vector.
    pub fn nearest(vector: Vec<f32>, limit: usize) -> Self {
        Self { vector: Some(vector), limit, ..Self::default() }
    }

    /// Creates a search for the words of a text.
    pub fn words(text: impl Into<String>, limit: usize) -> Self {
        Self { text: Some(text.into()), limit, ..Self::default() }
    }

    /// Also seeks the words of a text: results by the vector and results by the words are merged by their ranks.
    #[must_use]
    pub fn with_words(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Sets the conditions on the metadata.
    #[must_use]
    pub fn filter(mut self, filter: MetadataFilter) -> Self {
        self.filter = filter;
        self
    }
}

/// A result of a search.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct VectorMatch {
    /// The id of the point.
    pub id: String,
    /// The score; the largest comes first. By a vector it is the cosine similarity, from -1 to 1. By words it is the
    /// BM25 score, and by both the sum of `1 / (60 + rank)` in both lists.
    pub score: f32,
    /// The text of the point.
    #[schema(required)]
    pub text: Option<String>,
    /// The metadata of the point.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

impl VectorMatch {
    /// Creates a result.
    pub fn new(id: impl Into<String>, score: f32, text: Option<String>, metadata: Map<String, Value>) -> Self {
        Self { id: id.into(), score, text, metadata }
    }
}

/// A collection of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct VectorCollection {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub id: VectorCollectionId,
    /// The name, which is unique in the tenant.
    pub name: String,
    /// The length of the vectors.
    pub dimensions: u32,
    /// The model or alias that creates the vectors of texts. `null` if the tenant sends vectors only.
    #[schema(required)]
    pub model: Option<String>,
    /// The number of points. `null` in lists, and while the vector engine is not available.
    #[schema(required)]
    pub points: Option<u64>,
    /// The time when the collection was created.
    pub created_at: Timestamp,
}

impl VectorCollection {
    /// Returns the collection as engines know it.
    pub fn space(&self, tenant: TenantId) -> VectorSpace {
        VectorSpace::new(tenant, self.id, self.dimensions)
    }
}

/// Scales a vector to the length 1. Returns `None` if it has no direction: all numbers are zero, or one is not finite.
pub(crate) fn normalized(vector: &[f32]) -> Option<Vec<f32>> {
    let squares: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = squares.sqrt();
    if !length.is_normal() {
        return None;
    }
    Some(vector.iter().map(|x| scaled(*x, length)).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "the result is rounded to the precision of the vectors")]
fn scaled(x: f32, length: f64) -> f32 {
    (f64::from(x) / length) as f32
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn a_vector_is_scaled_to_the_length_one() {
        assert_eq!(normalized(&[3.0, 0.0, 4.0]), Some(vec![0.6, 0.0, 0.8]));
        assert_eq!(normalized(&[1e30, 0.0]), Some(vec![1.0, 0.0]));
        for wrong in [&[0.0, 0.0][..], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0], &[]] {
            assert_eq!(normalized(wrong), None, "{wrong:?}");
        }
    }
}
