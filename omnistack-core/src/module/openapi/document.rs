//! The OpenAPI document of an app.

use std::sync::LazyLock;

use bytes::Bytes;

/// The OpenAPI document of an app, as JSON, which is written when it is first asked for.
#[derive(Debug)]
pub(crate) struct OpenApiDocument(LazyLock<Bytes, WriteDocument>);

type WriteDocument = Box<dyn FnOnce() -> Bytes + Send>;

impl OpenApiDocument {
    /// Creates the document that `write` returns.
    pub(crate) fn new(write: impl FnOnce() -> Bytes + Send + 'static) -> Self {
        Self(LazyLock::new(Box::new(write)))
    }

    /// Returns the JSON.
    pub(crate) fn json(&self) -> &Bytes {
        &self.0
    }
}
