//! A look at files before anybody can read them.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use omnistack_core::app::BoxError;

use crate::{File, ObjectKey, Storage};

/// Looks at a file whose bytes are there and which nobody can read yet: a virus scanner.
#[async_trait]
pub trait Scan: Send + Sync + 'static {
    /// Whether the file may be kept. It is read with `storage.get(key)`.
    ///
    /// # Errors
    /// It can't be told now: the upload is answered 503, and nothing is kept.
    async fn scan(&self, file: &File, key: &ObjectKey, storage: &Storage) -> Result<Verdict, BoxError>;
}

/// What a [`Scan`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be kept.
    Clean,
    /// It is removed, and the sender told why.
    Refused(String),
}

/// The app's scanner.
#[derive(Clone)]
pub(crate) struct Scanner(pub(crate) Arc<dyn Scan>);

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scanner")
    }
}
