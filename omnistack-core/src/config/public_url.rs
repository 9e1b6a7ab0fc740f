//! The public address of the app.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use http::{Uri, uri::Scheme};

use super::SettingValue;

/// The address at which users reach the app, `PUBLIC_URL`. Links in emails and to files start with it. It has no
/// path and no trailing slash: the app is served at the root of its host. Without `PUBLIC_URL`, the address is made of
/// `HOST` and `PORT`.
///
/// ```
/// use omnistack_core::config::{SettingValue, PublicUrl};
///
/// let url = PublicUrl::parse("https://app.example.com/")?;
/// assert_eq!(url.as_str(), "https://app.example.com");
/// assert_eq!(url.host(), "app.example.com");
/// assert!(PublicUrl::parse("app.example.com").is_err());
/// assert!(PublicUrl::parse("https://example.com/app").is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    text: String,
    host: String,
}

impl PublicUrl {
    pub(crate) const DEFAULT: &str = "http://127.0.0.1:8080";

    /// Creates the address of a server on this machine, for an app without `PUBLIC_URL`. A server on all addresses is
    /// reached at the local one. The default address takes the place of a free port, which is not known before the start.
    pub(crate) fn of_server(host: IpAddr, port: u16) -> Self {
        if port == 0 {
            return Self::default();
        }
        let host = match host {
            host if host.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            IpAddr::V4(host) => host.to_string(),
            IpAddr::V6(host) => format!("[{host}]"),
        };
        // Browsers leave out the port of the scheme.
        let text = if port == 80 { format!("http://{host}") } else { format!("http://{host}:{port}") };
        Self { text, host }
    }

    /// Returns the address without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host without its port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns whether users reach the app over TLS.
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https://")
    }
}

impl SettingValue for PublicUrl {
    const EXPECTED: &'static str = "address, e.g. https://app.example.com";

    fn parse(text: &str) -> Result<Self, String> {
        let root = |uri: &Uri| {
            let scheme = uri.scheme().filter(|scheme| [Scheme::HTTPS, Scheme::HTTP].contains(scheme))?;
            let authority = uri.authority().filter(|at| !at.as_str().contains('@') && !at.host().is_empty())?;
            uri.query().is_none().then(|| format!("{scheme}://{authority}"))
        };
        let uri = text.parse::<Uri>().ok();
        let read = uri.as_ref().and_then(|uri| Some((root(uri)?, uri.host()?, uri.path().trim_end_matches('/'))));
        match read {
            None => Err(format!("`{text}` is not an {}", Self::EXPECTED)),
            Some((root, host, "")) => Ok(Self { text: root, host: host.to_owned() }),
            Some((root, _, path)) => Err(format!(
                "`{text}` has the path `{path}`, and the app is served at the root of its host; use `{root}`, or another host"
            )),
        }
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
    fn a_server_on_this_machine_has_an_address() {
        for (host, port, expected, name) in [
            ("127.0.0.1", 8137, "http://127.0.0.1:8137", "127.0.0.1"),
            ("0.0.0.0", 8137, "http://127.0.0.1:8137", "127.0.0.1"),
            ("::", 8080, "http://127.0.0.1:8080", "127.0.0.1"),
            ("::1", 8080, "http://[::1]:8080", "[::1]"),
            ("192.0.2.7", 80, "http://192.0.2.7", "192.0.2.7"),
            ("192.0.2.7", 0, PublicUrl::DEFAULT, "127.0.0.1"),
        ] {
            let url = PublicUrl::of_server(host.parse().unwrap(), port);
            assert_eq!((url.as_str(), url.host()), (expected, name), "{host} {port}");
            assert_eq!(PublicUrl::parse(url.as_str()), Ok(url));
        }
    }

    #[test]
    fn addresses_and_what_is_none() {
        for (text, expected) in [
            ("https://app.example.com", Some(("https://app.example.com", "app.example.com"))),
            ("https://app.example.com/", Some(("https://app.example.com", "app.example.com"))),
            ("https://example.com//", Some(("https://example.com", "example.com"))),
            ("https://example.com/app/", None),
            ("https://example.com/app", None),
            ("https://example.com/a/b", None),
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
        let refused = PublicUrl::parse("https://example.com/app/").unwrap_err();
        assert!(refused.contains("has the path `/app`") && refused.contains("use `https://example.com`"), "{refused}");
    }
}
