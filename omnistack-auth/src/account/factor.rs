//! The seam to second factors: accounts ask whether a user has one, and hand over.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use omnistack_core::identity::UserId;

use crate::Error;

/// Knows which second factors users have.
#[async_trait]
pub trait SecondFactorSource: Send + Sync + 'static {
    /// By which ways the user can show a second factor: `totp`, `passkey`. None for a user without one.
    ///
    /// # Errors
    /// The database's.
    async fn of(&self, user: UserId) -> Result<Vec<String>, Error>;
}

/// Which second factors users have. Codes of an app, unless a module provides this.
#[derive(Clone, Default)]
pub struct SecondFactors(Option<Arc<dyn SecondFactorSource>>);

impl SecondFactors {
    /// As this source says.
    pub fn new(source: impl SecondFactorSource) -> Self {
        Self(Some(Arc::new(source)))
    }

    pub(crate) async fn of(&self, user: UserId) -> Result<Vec<String>, Error> {
        match &self.0 {
            Some(source) => source.of(user).await,
            None => Ok(Vec::new()),
        }
    }
}

impl fmt::Debug for SecondFactors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecondFactors")
    }
}
