//! Errors of vector engines.

use omnistack_core::{
    db,
    http::{Error, StatusCode},
};

/// The error of a [`VectorIndex`](crate::VectorIndex).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// The engine has no such collection: it was not created, or it was deleted.
    #[error("the vector engine has no such collection")]
    UnknownCollection,
    /// The engine can't be reached, or it is overloaded.
    #[error("the vector engine is not available: {message}")]
    Unavailable {
        /// The cause. It contains no credentials.
        message: String,
    },
    /// The engine rejected the request.
    #[error("the vector engine rejected the request: {message}")]
    Rejected {
        /// The message of the engine.
        message: String,
    },
    /// The response of the engine can't be read.
    #[error("the response of the vector engine can't be read: {message}")]
    Protocol {
        /// The problem with the response.
        message: String,
    },
    /// The error of the app's database.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl VectorError {
    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Protocol { .. } => true,
            Self::Database(error) => error.is_retryable(),
            Self::UnknownCollection | Self::Rejected { .. } => false,
        }
    }
}

impl From<VectorError> for Error {
    fn from(error: VectorError) -> Self {
        match error {
            VectorError::Database(error) => error.into(),
            VectorError::UnknownCollection => Self::new(
                StatusCode::NOT_FOUND,
                "COLLECTION_NOT_FOUND",
                "the collection was not found; create it first",
            ),
            VectorError::Unavailable { .. } => {
                Self::unavailable("VECTOR_ENGINE_UNAVAILABLE", "the vector engine is not available; try again")
                    .with_source(error)
            }
            VectorError::Rejected { .. } | VectorError::Protocol { .. } => {
                let message = "the vector engine has failed; try again";
                Self::new(StatusCode::BAD_GATEWAY, "VECTOR_ENGINE_FAILED", message).with_source(error)
            }
        }
    }
}
