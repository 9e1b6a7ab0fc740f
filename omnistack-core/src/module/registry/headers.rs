//! Headers that modules read and send.

use http::HeaderName;

use super::Registry;

/// Headers that modules declare.
#[derive(Debug, Default)]
pub(crate) struct DeclaredHeaders {
    pub(crate) request: Vec<HeaderName>,
    pub(crate) response: Vec<HeaderName>,
}

impl Registry {
    /// Declares request headers that the module reads. Browsers from the origins in `CORS_ORIGINS` may send them, and
    /// a request that repeats one is rejected with 400 `REPEATED_HEADER`.
    ///
    /// ```
    /// # use omnistack_core::{module::Registry, http::HeaderName};
    /// # fn register(registry: &mut Registry) {
    /// registry.request_headers([HeaderName::from_static("x-workspace")]);
    /// # }
    /// ```
    pub fn request_headers(&mut self, names: impl IntoIterator<Item = HeaderName>) -> &mut Self {
        self.headers.request.extend(names);
        self
    }

    /// Declares response headers that the module sends. Scripts from the origins in `CORS_ORIGINS` may read them.
    pub fn response_headers(&mut self, names: impl IntoIterator<Item = HeaderName>) -> &mut Self {
        self.headers.response.extend(names);
        self
    }
}
