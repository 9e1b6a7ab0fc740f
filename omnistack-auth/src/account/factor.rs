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

/// Which second factors users have: codes of an app, and, where a module provides this, its own besides.
#[derive(Clone, Default)]
pub struct SecondFactors(Vec<Arc<dyn SecondFactorSource>>);

impl SecondFactors {
    /// As this source says.
    pub fn new(source: impl SecondFactorSource) -> Self {
        Self::default().and(source)
    }

    /// And as this one says.
    #[must_use]
    pub fn and(mut self, source: impl SecondFactorSource) -> Self {
        self.0.push(Arc::new(source));
        self
    }

    pub(crate) async fn of(&self, user: UserId) -> Result<Vec<String>, Error> {
        let mut ways = Vec::new();
        for source in &self.0 {
            ways.extend(source.of(user).await?);
        }
        Ok(ways)
    }
}

impl fmt::Debug for SecondFactors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecondFactors")
    }
}
