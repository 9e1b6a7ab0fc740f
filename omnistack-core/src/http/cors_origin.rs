//! The entries of `CORS_ORIGINS`.

use http::{Uri, uri::Scheme};

use crate::config::SettingValue;

/// An entry of `CORS_ORIGINS`: the origin of a web page as browsers send it (RFC 6454, section 6.2), or `*` for all
/// origins.
///
/// ```
/// use omnistack_core::{config::SettingValue, http::CorsOrigin};
///
/// let origin = CorsOrigin::parse("https://App.example.com/")?;
/// assert_eq!(origin.as_str(), "https://app.example.com");
/// assert!(CorsOrigin::parse("app.example.com").is_err());
/// assert!(CorsOrigin::parse("https://*.example.com").is_err());
/// # Ok::<(), String>(())
/// ```
#[doc(alias = "CORS")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsOrigin(String);

impl CorsOrigin {
    /// Returns scheme, host and port in lower case, or `*`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the entry is `*`.
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

impl SettingValue for CorsOrigin {
    const EXPECTED: &'static str = "origin, e.g. https://app.example.com, or *";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self(text.into()));
        }
        let origin = || {
            let uri: Uri = text.parse().ok()?;
            let known = [Some(&Scheme::HTTPS), Some(&Scheme::HTTP)].contains(&uri.scheme());
            let bare = known && matches!(uri.path(), "" | "/") && uri.query().is_none();
            let authority = uri.authority().filter(|_| bare)?.as_str();
            let plain = !uri.host().is_none_or(str::is_empty) && !authority.contains(['@', '*', ' ']);
            plain.then(|| Self(text.trim_end_matches('/').to_ascii_lowercase()))
        };
        origin().ok_or_else(|| {
            format!("`{text}` is not an origin: use scheme, host and optional port, without a path or a wildcard, such as https://app.example.com")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_browsers_send_and_nothing_else() {
        for (text, expected) in [
            ("https://app.example.com", Some("https://app.example.com")),
            ("HTTPS://App.Example.com/", Some("https://app.example.com")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("http://[::1]:3000", Some("http://[::1]:3000")),
            ("*", Some("*")),
            ("app.example.com", None),
            ("//app.example.com", None),
            ("https://app.example.com/start", None),
            ("https://app.example.com/?a", None),
            ("https://*.example.com", None),
            ("https://*", None),
            ("https://app example.com", None),
            ("https://ada@app.example.com", None),
            ("ftp://app.example.com", None),
            ("https://", None),
            ("null", None),
        ] {
            let origin = CorsOrigin::parse(text);
            assert_eq!(origin.as_ref().ok().map(CorsOrigin::as_str), expected, "{text}: {origin:?}");
        }
    }
}
