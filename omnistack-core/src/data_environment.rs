//! Test data and live data.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether data is about real money and users, or about a test of a provider or of an integration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataEnvironment {
    /// Production.
    #[default]
    Live,
    /// A test or sandbox.
    Test,
}

impl DataEnvironment {
    /// Returns `live` or `test`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for DataEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DataEnvironment {
    type Err = UnknownDataEnvironment;

    fn from_str(text: &str) -> Result<Self, UnknownDataEnvironment> {
        match text {
            "live" => Ok(Self::Live),
            "test" => Ok(Self::Test),
            _ => Err(UnknownDataEnvironment),
        }
    }
}

/// The error of a text that is neither `live` nor `test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment must be `live` or `test`")]
pub struct UnknownDataEnvironment;
