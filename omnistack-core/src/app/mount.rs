//! Where routes hang, and for whom.

use std::{borrow::Cow, fmt, time::Duration};

use super::RateLimit;
use crate::http::ApiVersion;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// Anybody.
    Public,
    /// Signed-in callers.
    App,
    /// Operators of the app.
    Admin,
    /// Programs with an API key.
    Machine,
}

impl Audience {
    /// As in the path: `/api/v1/app`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::App => "app",
            Self::Admin => "admin",
            Self::Machine => "machine",
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a module's routes hang, who may call them and within which limits. The guard comes with it.
///
/// ```
/// use omnistack_core::app::Mount;
/// use omnistack_core::http::Rate;
///
/// assert_eq!(Mount::app("/projects").prefix(), "/api/v1/app/projects");
/// assert_eq!(Mount::admin("/projects").v2().prefix(), "/api/v2/admin/projects");
/// let _ = Mount::public("/contact").body_limit(64 * 1024).rate_limit(Rate::per_minute(5));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Mount {
    pub(super) audience: Audience,
    path: String,
    /// None for a root mount.
    pub(super) version: Option<ApiVersion>,
    pub(super) body_limit: Option<u64>,
    pub(super) timeout: Option<Option<Duration>>,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) keys: Keys,
    pub(super) resource: Option<Cow<'static, str>>,
    /// What the ids of its operations begin with.
    pub(super) operation_prefix: Cow<'static, str>,
    pub(super) in_person: bool,
}

/// What becomes of `Idempotency-Key` on a mount's POST and PATCH routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// A request with one is carried out once.
    Heeded,
    /// A request without one is refused.
    Required,
    /// The header means nothing.
    Ignored,
}

impl Mount {
    /// For anybody, under `/api/v1/public`.
    pub fn public(path: impl Into<String>) -> Self {
        Self::new(Audience::Public, path, Some(ApiVersion(1)))
    }

    /// For signed-in callers, under `/api/v1/app`.
    pub fn app(path: impl Into<String>) -> Self {
        Self::new(Audience::App, path, Some(ApiVersion(1)))
    }

    /// For operators of the app, under `/api/v1/admin`.
    pub fn admin(path: impl Into<String>) -> Self {
        Self::new(Audience::Admin, path, Some(ApiVersion(1)))
    }

    /// For programs, under `/api/v1/machine`.
    pub fn machine(path: impl Into<String>) -> Self {
        Self::new(Audience::Machine, path, Some(ApiVersion(1)))
    }

    /// Exactly here, for paths a protocol fixes: `Mount::root("/v1", Audience::Machine)`.
    pub fn root(path: impl Into<String>, audience: Audience) -> Self {
        Self::new(audience, path, None)
    }

    fn new(audience: Audience, path: impl Into<String>, version: Option<ApiVersion>) -> Self {
        let path = path.into();
        let path = match path.trim_matches('/') {
            "" => String::new(),
            path => format!("/{path}"),
        };
        Self {
            audience,
            path,
            version,
            body_limit: None,
            timeout: None,
            rate_limit: None,
            keys: Keys::Heeded,
            resource: None,
            operation_prefix: if audience == Audience::Admin { "admin" } else { "" }.into(),
            in_person: false,
        }
    }

    /// In version 2 of the API.
    pub fn v2(self) -> Self {
        self.in_version(ApiVersion(2))
    }

    /// In a version of the API. A root mount has none and keeps its path.
    pub fn in_version(mut self, version: ApiVersion) -> Self {
        self.version = self.version.map(|_| version);
        self
    }

    /// Accepts bodies of this many bytes, in place of `HTTP_BODY_LIMIT`. Where two mounts share a path, each for its own
    /// methods, the wider of their limits holds for both; so it is with timeouts.
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    /// Lets a request take this long, in place of `HTTP_TIMEOUT`.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(Some(after));
        self
    }

    /// Lets a request wait as long as it likes: for long polls.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = Some(None);
        self
    }

    /// Limits how often these routes may be called: a [`Rate`](crate::http::Rate) for each caller (or each address, of those
    /// not signed in) on all of them together, or a [`RateLimit`] that says more.
    pub fn rate_limit(mut self, limit: impl Into<RateLimit>) -> Self {
        self.rate_limit = Some(limit.into());
        self
    }

    /// Asks callers for the permission `RESOURCE:read` to look (GET, HEAD) and `RESOURCE:write` for anything else:
    /// `Mount::app("/projects").permissions("projects")`. For finer ones see [`Api::guarded`](super::Api::guarded).
    pub fn permissions(mut self, resource: impl Into<Cow<'static, str>>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Begins the ids of these operations with a word: `listProjects` becomes `publicListProjects`. For a second mount of an
    /// [`Api`](super::Api), since an id occurs once. Routes of operators begin with `admin` unless this says otherwise.
    pub fn operation_prefix(mut self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.operation_prefix = prefix.into();
        self
    }

    /// Refuses API keys (403 `API_KEY_REFUSED`) and operators who act as a user (403 `IMPERSONATION_REFUSED`): for what only the
    /// user may do, such as credentials, sessions, exports and deletion. It is for mounts of signed-in callers and of operators.
    pub fn in_person(mut self) -> Self {
        self.in_person = true;
        self
    }

    /// Refuses a POST or PATCH without an `Idempotency-Key`: for what charges or can't be undone.
    pub fn require_idempotency_key(mut self) -> Self {
        self.keys = Keys::Required;
        self
    }

    /// Takes no notice of `Idempotency-Key`: for uploads too large to be held in memory, answers that stream, and answers
    /// with secrets that must not be stored.
    pub fn without_idempotency(mut self) -> Self {
        self.keys = Keys::Ignored;
        self
    }

    /// Who may call.
    pub fn audience(&self) -> Audience {
        self.audience
    }

    /// The path every route of it begins with.
    pub fn prefix(&self) -> String {
        match self.version {
            Some(version) => format!("/api/{version}/{}{}", self.audience, self.path),
            None => self.path.clone(),
        }
    }

    /// The full path of one of its routes.
    pub(super) fn join(&self, path: &str) -> String {
        let prefix = self.prefix();
        match (prefix.as_str(), path.strip_prefix('/').unwrap_or(path)) {
            ("", "") => "/".into(),
            (_, "") => prefix,
            (_, path) => format!("{prefix}/{path}"),
        }
    }
}
