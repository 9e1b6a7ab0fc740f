//! Versions of the API.

use std::{fmt, str::FromStr};

use http::HeaderValue;

use crate::clock::Timestamp;

/// A version of the API: `v1` in `/api/v1/…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion(pub u16);

impl ApiVersion {
    /// Returns the version as a header value, for common versions without an allocation.
    pub(crate) fn header(self) -> HeaderValue {
        match self.0 {
            1 => HeaderValue::from_static("v1"),
            2 => HeaderValue::from_static("v2"),
            3 => HeaderValue::from_static("v3"),
            _ => HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| HeaderValue::from_static("v0")),
        }
    }
}

impl Default for ApiVersion {
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Parses `v2` or `2`.
impl FromStr for ApiVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(['v', 'V']).unwrap_or(text);
        match digits.parse() {
            Ok(number) if number > 0 && digits.len() < 4 => Ok(Self(number)),
            _ => Err(format!("`{text}` is not an API version: use v1 or 1")),
        }
    }
}

/// The deprecation policy of a version.
///
/// ```
/// use omnistack_core::http::{ApiVersion, VersionPolicy};
///
/// let policy = VersionPolicy::deprecated(ApiVersion(1), "2027-01-01T00:00:00Z".parse().unwrap())
///     .sunset("2027-07-01T00:00:00Z".parse().unwrap())
///     .documentation_url("https://example.com/docs/moving-to-v2");
/// # let _ = policy;
/// ```
#[derive(Clone, Debug)]
pub struct VersionPolicy {
    pub(crate) version: ApiVersion,
    pub(crate) deprecated: Timestamp,
    pub(crate) sunset: Option<Timestamp>,
    pub(crate) link: Option<String>,
}

impl VersionPolicy {
    /// Deprecates a version from a time on. Its responses have the header `Deprecation` (RFC 9745).
    pub fn deprecated(version: ApiVersion, from: Timestamp) -> Self {
        Self { version, deprecated: from, sunset: None, link: None }
    }

    /// Sets the time at which the version is removed, sent as the header `Sunset` (RFC 8594). It is never earlier
    /// than the deprecation.
    pub fn sunset(mut self, at: Timestamp) -> Self {
        self.sunset = Some(at.max(self.deprecated));
        self
    }

    /// Sets the address of the documentation, sent as the header `Link` with `rel="deprecation"`.
    pub fn documentation_url(mut self, url: impl Into<String>) -> Self {
        self.link = Some(url.into());
        self
    }
}
