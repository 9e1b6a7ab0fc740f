//! Where users reach the app.

use std::fmt;

use http::{Uri, uri::Scheme};

use super::Form;

/// Where users reach the app, `PUBLIC_URL`: what links in mails and to files begin with. It has no slash at its end.
///
/// ```
/// use omnistack_core::config::{Form, PublicUrl};
///
/// let url = PublicUrl::parse("https://app.example.com/")?;
/// assert_eq!(url.as_str(), "https://app.example.com");
/// assert_eq!(url.host(), "app.example.com");
/// assert!(PublicUrl::parse("app.example.com").is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    text: String,
    host: String,
}

impl PublicUrl {
    pub(crate) const DEFAULT: &str = "http://127.0.0.1:8080";

    /// The address, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether users reach it over TLS.
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https://")
    }
}

impl Form for PublicUrl {
    const FORM: &'static str = "address, e.g. https://app.example.com";

    fn parse(text: &str) -> Result<Self, String> {
        let address = || {
            let uri: Uri = text.parse().ok()?;
            let known = [Some(&Scheme::HTTPS), Some(&Scheme::HTTP)].contains(&uri.scheme());
            let bare = uri.query().is_none() && uri.authority().is_some_and(|at| !at.as_str().contains('@'));
            let host = uri.host().filter(|host| known && bare && !host.is_empty())?.to_owned();
            Some(Self { text: uri.to_string().trim_end_matches('/').to_owned(), host })
        };
        address().ok_or_else(|| format!("`{text}` is no {}", Self::FORM))
    }
}

impl Default for PublicUrl {
    fn default() -> Self {
        Self { text: Self::DEFAULT.into(), host: "127.0.0.1".into() }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_what_is_none() {
        for (text, expected) in [
            ("https://app.example.com", Some(("https://app.example.com", "app.example.com"))),
            ("https://app.example.com/", Some(("https://app.example.com", "app.example.com"))),
            ("https://example.com/app/", Some(("https://example.com/app", "example.com"))),
            ("http://127.0.0.1:8080", Some(("http://127.0.0.1:8080", "127.0.0.1"))),
            ("http://[::1]:8080", Some(("http://[::1]:8080", "[::1]"))),
            ("https://", None),
            ("https:///a", None),
            ("app.example.com", None),
            ("/app", None),
            ("ftp://app.example.com", None),
            ("https://ada@app.example.com", None),
            ("https://app.example.com/?a", None),
            ("https://app example.com", None),
            ("", None),
        ] {
            let url = PublicUrl::parse(text);
            assert_eq!(url.as_ref().ok().map(|url| (url.as_str(), url.host())), expected, "{text}: {url:?}");
        }
        assert_eq!(PublicUrl::parse(PublicUrl::DEFAULT), Ok(PublicUrl::default()));
    }
}
