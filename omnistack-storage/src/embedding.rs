//! The pages that may embed a file, for example as a picture.

use std::sync::Arc;

use ::http::{HeaderMap, Uri, header};
use omnistack_core::http::{CorsOrigin, HttpSettings};

/// The pages that may embed a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmbeddedBy {
    /// Pages of the app's own origin.
    App,
    /// The page that has sent the request, of an origin in `CORS_ORIGINS`.
    AllowedOrigin,
    /// Pages of every origin, as with signed URLs of a bucket.
    Everyone,
}

impl EmbeddedBy {
    /// Returns the `Cross-Origin-Resource-Policy` (Fetch, section 3.7). The page of an allowed origin has the site of the
    /// app: browsers send the cookies of the session to no other.
    pub(crate) const fn resource_policy(self) -> &'static str {
        match self {
            Self::App => "same-origin",
            Self::AllowedOrigin => "same-site",
            Self::Everyone => "cross-origin",
        }
    }
}

/// The origins in `CORS_ORIGINS`. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddingOrigins(Arc<[CorsOrigin]>);

impl EmbeddingOrigins {
    pub(crate) fn new(http: Option<&HttpSettings>) -> Self {
        let origins = http.into_iter().flat_map(|http| http.cors_origins.iter());
        // `*` allows every page to read responses without cookies, and none to send cookies.
        Self(origins.filter(|origin| !origin.is_any()).cloned().collect())
    }

    /// Returns the pages that may embed the response to a request with the user's cookies. No page can send the `Referer`
    /// of another origin.
    pub(crate) fn embedded_by(&self, headers: &HeaderMap) -> EmbeddedBy {
        let page = headers.get(header::REFERER).and_then(|referer| origin_of(referer.to_str().ok()?));
        let is_allowed = page.is_some_and(|page| self.0.iter().any(|origin| origin.as_str() == page));
        if is_allowed { EmbeddedBy::AllowedOrigin } else { EmbeddedBy::App }
    }
}

/// Returns the scheme, host and port of a URL, as browsers send an origin.
fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use omnistack_core::config::Config;

    use super::*;

    #[test]
    fn only_pages_of_listed_origins_embed_files_from_elsewhere() {
        let http: HttpSettings =
            Config::from_pairs([("CORS_ORIGINS", "https://app.example.com,http://localhost:5173,*")])
                .read_settings()
                .unwrap();
        let origins = EmbeddingOrigins::new(Some(&http));
        for (referer, expected) in [
            ("https://app.example.com/", EmbeddedBy::AllowedOrigin),
            ("https://App.Example.com/teams/7?tab=files", EmbeddedBy::AllowedOrigin),
            ("http://localhost:5173/", EmbeddedBy::AllowedOrigin),
            ("http://localhost:8080/", EmbeddedBy::App),
            ("http://app.example.com/", EmbeddedBy::App),
            ("https://app.example.com:8443/", EmbeddedBy::App),
            ("https://app.example.com.evil.example/", EmbeddedBy::App),
            ("https://app.example.com@evil.example/", EmbeddedBy::App),
            ("https://evil.example/https://app.example.com/", EmbeddedBy::App),
            ("*", EmbeddedBy::App),
            ("", EmbeddedBy::App),
        ] {
            let headers = HeaderMap::from_iter([(header::REFERER, referer.parse().unwrap())]);
            assert_eq!(origins.embedded_by(&headers), expected, "{referer}");
        }
        assert_eq!(origins.embedded_by(&HeaderMap::new()), EmbeddedBy::App);
        assert_eq!(EmbeddingOrigins::new(None).embedded_by(&HeaderMap::new()), EmbeddedBy::App);
    }
}
