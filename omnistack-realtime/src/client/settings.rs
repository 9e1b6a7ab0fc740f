//! The options of a client.

use std::{fmt, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderName, HeaderValue};
use omnistack_core::{BoxError, SecretString, identity::TenantId};

/// Number of events of a subscription that wait until the app reads them, unless the options set another.
const DEFAULT_BUFFERED_EVENTS: usize = 1024;

/// The header that selects the tenant.
const TENANT_HEADER: HeaderName = HeaderName::from_static("x-tenant-id");

/// The call of a function that gets an access token.
pub(super) type TokenFuture = BoxFuture<'static, Result<String, BoxError>>;

/// The options of a [`RealtimeClient`](super::RealtimeClient).
#[derive(Clone)]
#[must_use]
pub struct ClientOptions {
    pub(super) token: TokenSource,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) buffered_events: usize,
}

/// The source of access tokens.
#[derive(Clone)]
pub(super) enum TokenSource {
    /// The headers name the caller.
    Headers,
    Value(SecretString),
    Function(Arc<dyn Fn() -> TokenFuture + Send + Sync>),
}

impl ClientOptions {
    /// Creates options without a token.
    pub fn new() -> Self {
        Self { token: TokenSource::Headers, headers: Vec::new(), buffered_events: DEFAULT_BUFFERED_EVENTS }
    }

    /// Sets the access token. When it expires, the client ends with
    /// [`TokenExpired`](super::ClientError::TokenExpired).
    pub fn token(mut self, token: impl Into<String>) -> Self {
        let token: String = token.into();
        self.token = TokenSource::Value(token.into());
        self
    }

    /// Sets the function that gets an access token. It is called to connect, shortly before the token expires, and when
    /// the server says that it has expired. If it fails, it is called again later.
    pub fn token_from<F>(mut self, token: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        self.token = TokenSource::Function(Arc::new(move || token().boxed()));
        self
    }

    /// Adds a header to the request that opens the connection, such as `X-API-Key`.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Selects the tenant, by the header `X-Tenant-Id`.
    pub fn tenant(self, tenant: TenantId) -> Self {
        match HeaderValue::try_from(tenant.to_string()) {
            Ok(value) => self.header(TENANT_HEADER, value),
            Err(_) => self,
        }
    }

    /// Sets how many events of each subscription may wait until the app reads them. A subscription with more ends. It
    /// should be larger than the server's `REALTIME_RECOVERY_LIMIT`, because recovered messages arrive at once.
    /// Default: 1,024.
    pub fn buffer(mut self, events: usize) -> Self {
        self.buffered_events = events.max(1);
        self
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of headers may be secret.
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("ClientOptions")
            .field("headers", &headers)
            .field("buffered_events", &self.buffered_events)
            .finish_non_exhaustive()
    }
}
