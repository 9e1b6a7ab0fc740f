//! The collections, points and searches that callers give to [`Vectors`](crate::Vectors).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::filter::MetadataFilter;

/// A collection to create.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewVectorCollection {
    /// The name: 1 to 64 small letters, digits, `_` or `-`.
    pub name: String,
    /// The length of the vectors, up to 4,096. `None`: that of the vectors of the model, which is asked for one.
    pub dimensions: Option<u32>,
    /// The model that creates the vectors of texts. `None`: that of `AI_VECTOR_MODEL`.
    pub model: Option<String>,
}

impl NewVectorCollection {
    /// Creates the description of a collection whose vectors the default model creates.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), dimensions: None, model: None }
    }

    /// Sets the length of the vectors.
    #[must_use]
    pub fn dimensions(mut self, dimensions: u32) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Sets the model that creates the vectors of texts.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }
}

/// A point to store: a vector, or a text whose vector is created.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NewVectorPoint {
    /// The id.
    pub id: String,
    /// The vector. `None`: that of the text.
    pub vector: Option<Vec<f32>>,
    /// The text.
    pub text: Option<String>,
    /// Fields that searches filter by.
    pub metadata: Map<String, Value>,
}

impl NewVectorPoint {
    /// Creates a point from a vector.
    pub fn from_vector(id: impl Into<String>, vector: Vec<f32>) -> Self {
        Self { id: id.into(), vector: Some(vector), ..Self::default() }
    }

    /// Creates a point from a text, whose vector the model of the collection creates.
    pub fn from_text(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), text: Some(text.into()), ..Self::default() }
    }

    /// Sets the metadata.
    #[must_use]
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }
}

/// A search of a caller.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct VectorSearch {
    /// The text whose meaning is sought. Its vector is created by the model of the collection.
    pub text: Option<String>,
    /// The vector that is sought, in place of that of the text.
    pub vector: Option<Vec<f32>>,
    /// The way in which the text is sought.
    pub mode: VectorSearchMode,
    /// The conditions on the metadata.
    pub filter: MetadataFilter,
    /// The largest number of results, up to 100.
    pub limit: usize,
}

impl VectorSearch {
    /// Creates a search for the meaning of a text.
    pub fn meaning(text: impl Into<String>, limit: usize) -> Self {
        Self { text: Some(text.into()), limit, ..Self::default() }
    }
}

/// The way in which a text is sought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VectorSearchMode {
    /// The meaning of the text: the points with the nearest vectors are found.
    #[default]
    Meaning,
    /// The words of the text: a full-text search.
    Words,
    /// Both the meaning and the words; the results are merged.
    Hybrid,
}
