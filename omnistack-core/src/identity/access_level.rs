//! Access levels of routes.

use std::fmt;

/// Access level: who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessLevel {
    /// All callers, without signing in.
    Public,
    /// Signed-in callers.
    App,
    /// Operators of the app.
    Admin,
    /// Programs with an API key.
    Machine,
}

impl AccessLevel {
    /// Returns the name as in the path: `app` in `/api/v1/app`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::App => "app",
            Self::Admin => "admin",
            Self::Machine => "machine",
        }
    }
}

impl fmt::Display for AccessLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
