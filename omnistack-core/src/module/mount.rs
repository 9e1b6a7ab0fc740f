//! Mounts: path prefixes with an access level.

use std::{borrow::Cow, time::Duration};

use super::{MountRateLimit, RouteMoves};
use crate::{
    http::{ApiVersion, ErrorForm},
    identity::AccessLevel,
};

/// A path prefix for a module's routes, with the access level and the limits of everything under it. The routes are
/// guarded accordingly.
///
/// ```
/// use omnistack_core::module::Mount;
/// use omnistack_core::http::Rate;
///
/// assert_eq!(Mount::app("/projects").prefix(), "/api/v1/app/projects");
/// assert_eq!(Mount::admin("/projects").v2().prefix(), "/api/v2/admin/projects");
/// let _ = Mount::public("/contact").body_limit(64 * 1024).rate_limit(Rate::per_minute(5));
/// ```
#[derive(Clone, Debug)]
#[must_use]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each set by a method")]
pub struct Mount {
    pub(crate) audience: AccessLevel,
    path: String,
    /// `None` for a root mount.
    pub(crate) version: Option<ApiVersion>,
    pub(crate) body_limit: Option<u64>,
    pub(crate) timeout: Option<Option<Duration>>,
    pub(crate) rate_limit: Option<MountRateLimit>,
    /// Whether `HTTP_RATE_LIMIT` limits each client address.
    pub(crate) address_limit: bool,
    /// Whether the hard limit of `api_requests` in the tenant's plan refuses requests.
    pub(crate) plan_limits: bool,
    /// Whether requests count as `api_requests` of the tenant.
    pub(crate) counted: bool,
    pub(crate) keys: IdempotencyPolicy,
    pub(crate) resource: Option<Cow<'static, str>>,
    /// Prefix of the operation ids.
    pub(crate) operation_prefix: Cow<'static, str>,
    pub(crate) in_person: bool,
    /// Whether lists may be read from the standby of `DATABASE_REPLICA_URL`.
    pub(crate) reads_from_replica: bool,
    /// Whether requests are served during maintenance.
    pub(crate) during_maintenance: bool,
    /// The form of errors, if a protocol fixes it.
    pub(crate) error_form: Option<ErrorForm>,
    /// The paths at which the app serves routes in place of those that the module declares.
    moves: RouteMoves,
}

/// The treatment of `Idempotency-Key` by a mount's POST and PATCH routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdempotencyPolicy {
    /// A request with a key is carried out once.
    Accepted,
    /// A request without a key is rejected.
    Required,
    /// The header is ignored.
    Ignored,
}

impl Mount {
    /// Creates a mount for all callers, under `/api/v1/public`.
    pub fn public(path: impl Into<String>) -> Self {
        Self::new(AccessLevel::Public, path, Some(ApiVersion(1)))
    }

    /// Creates a mount for signed-in callers, under `/api/v1/app`.
    pub fn app(path: impl Into<String>) -> Self {
        Self::new(AccessLevel::App, path, Some(ApiVersion(1)))
    }

    /// Creates a mount for operators of the app, under `/api/v1/admin`.
    pub fn admin(path: impl Into<String>) -> Self {
        Self::new(AccessLevel::Admin, path, Some(ApiVersion(1)))
    }

    /// Creates a mount for programs with an API key, under `/api/v1/machine`.
    pub fn machine(path: impl Into<String>) -> Self {
        Self::new(AccessLevel::Machine, path, Some(ApiVersion(1)))
    }

    /// Creates a mount at exactly this path, for paths that a protocol fixes: `Mount::root("/v1",
    /// Audience::Machine)`.
    pub fn root(path: impl Into<String>, audience: AccessLevel) -> Self {
        Self::new(audience, path, None)
    }

    fn new(audience: AccessLevel, path: impl Into<String>, version: Option<ApiVersion>) -> Self {
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
            address_limit: true,
            plan_limits: true,
            counted: true,
            keys: IdempotencyPolicy::Accepted,
            resource: None,
            operation_prefix: if audience == AccessLevel::Admin { "admin" } else { "" }.into(),
            in_person: false,
            reads_from_replica: false,
            during_maintenance: false,
            error_form: None,
            moves: RouteMoves::default(),
        }
    }

    /// Moves the mount to version 2 of the API.
    pub fn v2(self) -> Self {
        self.in_version(ApiVersion(2))
    }

    /// Moves the mount to a version of the API. A root mount has no version and keeps its path.
    pub fn in_version(mut self, version: ApiVersion) -> Self {
        self.version = self.version.map(|_| version);
        self
    }

    /// Sets the largest request body in bytes, in place of `HTTP_BODY_LIMIT`. Where two mounts share a path, each for
    /// its own methods, the larger of their body limits and the longer of their timeouts apply to both.
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    /// Sets the timeout of a request, in place of `HTTP_TIMEOUT`.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(Some(after));
        self
    }

    /// Removes the timeout of requests, for long polling.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = Some(None);
        self
    }

    /// Limits the rate of requests to these routes: with a [`Rate`](crate::http::Rate), per caller (or per address,
    /// if the caller is not signed in) for all routes together; with a [`MountRateLimit`], by its key and costs.
    pub fn rate_limit(mut self, limit: impl Into<MountRateLimit>) -> Self {
        self.rate_limit = Some(limit.into());
        self
    }

    /// Exempts requests to these routes from `HTTP_RATE_LIMIT`, the limit of each client address. It is for callers
    /// that send many requests from few addresses, such as providers that send webhooks. A limit of the mount itself,
    /// by [`rate_limit`](Self::rate_limit), still applies. Where two mounts share a path, the requests of both are
    /// exempt.
    pub fn without_rate_limit(mut self) -> Self {
        self.address_limit = false;
        self
    }

    /// Exempts requests to these routes from the hard limit of requests in the tenant's plan: they count as
    /// `api_requests`, and are not refused with 402 `PLAN_LIMIT_REACHED` beyond it. The rate limit of the plan still
    /// applies, and what a route requires by [`Require`](crate::identity::Require). It is for what a tenant needs to
    /// see and change its plan, or to secure its accounts. Where two mounts share a path, the requests of both are
    /// exempt.
    pub fn without_plan_limits(mut self) -> Self {
        self.plan_limits = false;
        self
    }

    /// Does not count requests to these routes as `api_requests` of the tenant, nor for the rate limit of its plan. It
    /// is for routes that call [other routes of the app](crate::app::OwnRoutes) for the caller, whose requests count.
    /// Where two mounts share a path, the requests of both are not counted.
    pub fn without_usage(mut self) -> Self {
        self.counted = false;
        self
    }

    /// Requires the permission `RESOURCE:read` for GET and HEAD, and `RESOURCE:write` for other methods:
    /// `Mount::app("/projects").permissions("projects")`. For other permissions see
    /// [`HttpApi::require`](super::Api::require).
    pub fn permissions(mut self, resource: impl Into<Cow<'static, str>>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Sets a prefix of the operation ids: with `public`, `listProjects` becomes `publicListProjects`. It is for a
    /// second mount of an [`Api`](super::Api), since an operation id must be unique. The default for operator routes
    /// is `admin`.
    pub fn operation_prefix(mut self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.operation_prefix = prefix.into();
        self
    }

    /// Rejects API keys (403 `API_KEY_REFUSED`) and operators who impersonate a user (403 `IMPERSONATION_REFUSED`):
    /// for actions that only the user may take, such as changes of credentials and sessions, exports and deletion. It
    /// is for mounts of signed-in callers and of operators.
    pub fn in_person(mut self) -> Self {
        self.in_person = true;
        self
    }

    /// Reads lists from the standby of `DATABASE_REPLICA_URL`, whose rows can be `DATABASE_REPLICA_MAX_LAG` old. It applies
    /// to GET routes that do not end with a path parameter, and there to
    /// [`begin_read`](crate::db::TenantScope::begin_read), as the lists of resources do; other routes and writes use the
    /// database itself. So do lists while the standby is away or too old, or if there is none.
    pub fn reads_from_replica(mut self) -> Self {
        self.reads_from_replica = true;
        self
    }

    /// Serves requests to these routes during [maintenance](crate::maintenance), which refuses all others but those of
    /// operators: for what operators need to sign in, and for what monitors the app.
    pub fn during_maintenance(mut self) -> Self {
        self.during_maintenance = true;
        self
    }

    /// Rejects a POST or PATCH without an `Idempotency-Key`: for requests that charge money or can't be undone.
    pub fn require_idempotency_key(mut self) -> Self {
        self.keys = IdempotencyPolicy::Required;
        self
    }

    /// Ignores `Idempotency-Key`: for uploads too large for memory, streaming responses, and responses with secrets
    /// that must not be stored.
    pub fn without_idempotency(mut self) -> Self {
        self.keys = IdempotencyPolicy::Ignored;
        self
    }

    /// Renders errors in a form that a protocol fixes: those of the handlers, and those of the layers of the app for all
    /// paths below [`prefix`](Self::prefix). It is for [root](Self::root) mounts whose clients expect that form.
    pub fn error_form(mut self, form: ErrorForm) -> Self {
        self.error_form = Some(form);
        self
    }

    /// Returns the access level.
    pub fn access_level(&self) -> AccessLevel {
        self.audience
    }

    /// Returns the prefix of all its paths.
    pub fn prefix(&self) -> String {
        match self.version {
            Some(version) => format!("/api/{version}/{}{}", self.audience, self.path),
            None => self.path.clone(),
        }
    }

    /// Sets where the app serves the routes.
    pub(super) fn moved(mut self, moves: RouteMoves) -> Self {
        self.moves = moves;
        self
    }

    /// Returns the full path of a route, where the app serves it.
    pub(crate) fn join(&self, path: &str) -> String {
        let declared = self.declared(path);
        self.moves.apply(&declared).unwrap_or(declared)
    }

    /// Returns the full path of a route, as its module declares it.
    pub(crate) fn declared(&self, path: &str) -> String {
        let prefix = self.prefix();
        match (prefix.as_str(), path.strip_prefix('/').unwrap_or(path)) {
            ("", "") => "/".into(),
            (_, "") => prefix,
            (_, path) => format!("{prefix}/{path}"),
        }
    }
}
