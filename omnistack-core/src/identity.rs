//! The identity of the caller of a request.
//!
//! Core does not store accounts. A module that does (`omnistack-auth`, or [`DevIdentity`](crate::app::DevIdentity) during development)
//! provides an [`Authenticator`]. The guard of a mount calls it, and handlers extract the [`Identity`].

mod access_level;
mod entitlement_layer;
mod entitlements;
mod gate;
mod guard;
mod limited_resources;
mod permissions;
mod plan;
mod require;
mod scope;

pub use crate::id::{ApiKeyId, ApiKeyMarker, SessionId, SessionMarker, TenantId, TenantMarker, UserId, UserMarker};
pub use access_level::AccessLevel;
pub use entitlement_layer::{EntitlementLayer, EntitlementService};
pub use entitlements::{Entitlements, PlanNeed, PlanSource, PlanUpgrade, TenantPlan};
pub use gate::{Gate, GateLayer, GateSource};
pub(crate) use guard::ErrorCaller;
pub use guard::GuardLayer;
pub use limited_resources::LimitedResources;
pub use permissions::{PermissionCatalog, PermissionError, Permissions};
pub use plan::Plan;
pub use require::{Require, RequireLayer};
pub use scope::{IDENTITY_CHANGES_TOPIC, IdentityScope, InvalidIdentityScope};

use std::{fmt, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{
    clock::Timestamp,
    http::{
        Error,
        layer::{ClientAddr, RequestId},
    },
};

/// When and how the caller signed in.
///
/// ```
/// use std::time::Duration;
/// use omnistack_core::{clock::MockClock, identity::{Identity, AuthenticationContext, Require}};
/// # use omnistack_core::id::Id;
///
/// let mock = MockClock::at("2030-01-01T12:00:00Z".parse()?);
/// let proof = AuthenticationContext { authenticated_at: mock.clock().now(), second_factor: true };
/// let caller = Identity::user(Id::new(proof.authenticated_at)).with_authentication(proof);
///
/// let recent = Require::fresh_sign_in(Duration::from_secs(300)).second_factor();
/// assert!(recent.check(&caller, &mock.clock()).is_ok());
/// mock.advance(Duration::from_secs(301));
/// assert_eq!(recent.check(&caller, &mock.clock()).unwrap_err().code(), "REAUTHENTICATION_REQUIRED");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthenticationContext {
    /// When the user last signed in or re-authenticated in the session.
    pub authenticated_at: Timestamp,
    /// Whether a second factor was used.
    pub second_factor: bool,
}

/// The origin of a request, for audit entries.
///
/// ```
/// use http::request::Parts;
/// use omnistack_core::{audit::AuditEntry, http::layer::ClientAddr, identity::RequestOrigin};
///
/// // Before the sign-in there is no `Identity` that has the origin.
/// fn refused(request: &Parts) -> AuditEntry {
///     let mut entry = AuditEntry::new("sign_in.refused");
///     entry.origin = RequestOrigin::from_request(request);
///     entry
/// }
///
/// # let (mut request, ()) = http::Request::new(()).into_parts();
/// request.extensions.insert(ClientAddr("192.0.2.7".parse()?));
/// assert_eq!(refused(&request).origin.address, Some("192.0.2.7".parse()?));
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestOrigin {
    /// The address of the client.
    pub address: Option<IpAddr>,
    /// The id of the request.
    pub request: Option<RequestId>,
}

impl RequestOrigin {
    /// Returns the origin of a request.
    pub fn from_request(request: &Parts) -> Self {
        let address = request.extensions.get::<ClientAddr>().map(|client| client.0);
        Self { address, request: request.extensions.get::<RequestId>().cloned() }
    }
}

/// The authenticated caller of a request.
///
/// Extract it in a handler. On a public mount no caller is authenticated, and the extractor fails with 401
/// `UNAUTHORIZED`: mount routes that need the caller with [`Mount::app`](crate::module::Mount::app).
///
/// ```
/// use omnistack_core::{http::{Error, StatusCode}, identity::Identity};
///
/// async fn delete(caller: Identity) -> Result<StatusCode, Error> {
///     caller.require("projects:write")?;
///     let tenant = caller.require_tenant()?;
///     // … delete the project of that tenant …
///     Ok(StatusCode::NO_CONTENT)
/// }
///
/// # use omnistack_core::{clock::Clock, id::Id};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let now = Clock::system().now();
/// # let (user, tenant) = (Id::new(now), Id::new(now));
/// let reader = Identity::user(user).for_tenant(tenant).with_permissions("*:read".parse()?);
/// assert_eq!(delete(reader.clone()).await.unwrap_err().code(), "PERMISSION_DENIED");
/// let developer = reader.with_permissions("projects:*".parse()?);
/// assert_eq!(delete(developer).await?, StatusCode::NO_CONTENT);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "current user")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The user. For a program, the user who owns its API key.
    pub user: UserId,
    /// The tenant the request is for.
    pub tenant: Option<TenantId>,
    /// Whether the caller is an operator of the app.
    pub operator: bool,
    /// Whether the caller is a program with an API key.
    pub service_account: bool,
    /// The permissions of the caller in the tenant.
    pub permissions: Permissions,
    /// The session of the request.
    pub session: Option<SessionId>,
    /// The API key of a program.
    pub api_key: Option<ApiKeyId>,
    /// The operator who impersonates the user; `None` if the user signed in.
    pub impersonator: Option<UserId>,
    /// When and how the caller signed in; `None` for programs.
    pub authentication: Option<AuthenticationContext>,
    /// The origin of the request, set by the guard of the mount.
    pub origin: RequestOrigin,
}

impl Identity {
    /// Creates the identity of a signed-in user without a tenant and without permissions.
    pub fn user(user: UserId) -> Self {
        Self {
            user,
            tenant: None,
            operator: false,
            service_account: false,
            permissions: Permissions::none(),
            session: None,
            api_key: None,
            impersonator: None,
            authentication: None,
            origin: RequestOrigin::default(),
        }
    }

    /// Sets the tenant.
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Sets the permissions in the tenant.
    pub fn with_permissions(mut self, permissions: Permissions) -> Self {
        self.permissions = permissions;
        self
    }

    /// Sets the session.
    pub fn with_session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// Sets the API key.
    pub fn with_api_key(mut self, key: ApiKeyId) -> Self {
        self.api_key = Some(key);
        self
    }

    /// Sets the operator who impersonates the user.
    #[doc(alias = "impersonation")]
    pub fn with_impersonator(mut self, actor: UserId) -> Self {
        self.impersonator = Some(actor);
        self
    }

    /// Sets when and how the caller signed in.
    pub fn with_authentication(mut self, proof: AuthenticationContext) -> Self {
        self.authentication = Some(proof);
        self
    }

    /// Makes the caller an operator of the app.
    pub fn into_operator(mut self) -> Self {
        self.operator = true;
        self
    }

    /// Marks the caller as a program with an API key.
    pub fn into_service_account(mut self) -> Self {
        self.service_account = true;
        self
    }

    /// Returns whether the caller has the permission in the tenant.
    pub fn can(&self, permission: &str) -> bool {
        self.permissions.allows(permission)
    }

    /// Fails unless the caller has the permission in the tenant.
    ///
    /// # Errors
    /// 403 `PERMISSION_DENIED`, with the permission in its details.
    pub fn require(&self, permission: &str) -> Result<(), Error> {
        if self.can(permission) {
            return Ok(());
        }
        let message = format!("this needs the permission `{permission}`");
        Err(Error::new(http::StatusCode::FORBIDDEN, "PERMISSION_DENIED", message).with_detail("permission", permission))
    }

    /// Fails unless the user has signed in themselves. Use it for sessions, credentials, the profile, exports and
    /// deletion, which are closed to API keys and to operators who impersonate the user.
    /// [`Mount::in_person`](crate::module::Mount::in_person) applies it to a whole mount.
    ///
    /// # Errors
    /// 403 `API_KEY_REFUSED` for an API key, 403 `IMPERSONATION_REFUSED` for an operator who impersonates the
    /// user.
    pub fn require_in_person(&self) -> Result<(), Error> {
        if self.service_account {
            let message = "an API key can't be used for this; sign in as the user";
            return Err(Error::new(http::StatusCode::FORBIDDEN, "API_KEY_REFUSED", message));
        }
        self.deny_impersonation()
    }

    /// Fails if an operator impersonates the user. Use it for effects that outlast the impersonation, such as a
    /// role, an invitation or a link. API keys with the permission pass.
    ///
    /// # Errors
    /// 403 `IMPERSONATION_REFUSED` for an operator who impersonates the user.
    pub fn deny_impersonation(&self) -> Result<(), Error> {
        if self.impersonator.is_none() {
            return Ok(());
        }
        let message = "an operator who impersonates a user can't do this; the user must sign in and do it";
        Err(Error::new(http::StatusCode::FORBIDDEN, "IMPERSONATION_REFUSED", message))
    }

    /// Returns the tenant.
    ///
    /// # Errors
    /// 403 `TENANT_REQUIRED` if the caller has selected no tenant.
    pub fn require_tenant(&self) -> Result<TenantId, Error> {
        self.tenant.ok_or_else(|| {
            Error::new(http::StatusCode::FORBIDDEN, "TENANT_REQUIRED", "this needs a tenant; select one")
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Error::unauthorized("sign in first"))
    }
}

/// Authentication of callers, as implemented by a module.
///
/// ```
/// use http::request::Parts;
/// use omnistack_core::{async_trait, http::Error, identity::{Authenticate, Identity}};
///
/// /// Users are signed in by a proxy, and the app can be reached only through it.
/// struct Proxy;
///
/// #[async_trait]
/// impl Authenticate for Proxy {
///     async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
///         let Some(user) = request.headers.get("x-user") else { return Ok(None) };
///         let user = user.to_str().ok().and_then(|user| user.parse().ok());
///         let user = user.ok_or_else(|| Error::unauthorized("`X-User` is not the id of a user"))?;
///         Ok(Some(Identity::user(user)))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (mut request, ()) = http::Request::new(()).into_parts();
/// assert_eq!(Proxy.authenticate(&request).await?, None);
/// request.headers.insert("x-user", "0190a7c8-0000-7000-8000-000000000001".parse()?);
/// assert!(Proxy.authenticate(&request).await?.is_some());
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Authenticate: Send + Sync + 'static {
    /// Returns the caller of a request, or `None` if the request carries no credentials.
    ///
    /// # Errors
    /// 401 if the credentials are wrong or expired; 503 if they can't be checked now.
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error>;
}

/// The authenticator of the app. One module provides it, and the guards of all mounts use it.
///
/// ```
/// use omnistack_core::{module::{Module, Registry}, identity::{Authenticate, Authenticator, Identity}};
/// # use omnistack_core::{async_trait, app::App, config::Config, http::Error};
///
/// #[derive(Clone)]
/// struct Proxy;
/// # #[async_trait]
/// # impl Authenticate for Proxy {
/// #     async fn authenticate(&self, _: &http::request::Parts) -> Result<Option<Identity>, Error> { Ok(None) }
/// # }
///
/// impl Module for Proxy {
///     fn name(&self) -> &'static str {
///         "proxy"
///     }
///
///     fn register(&self, registry: &mut Registry) {
///         registry.provide(Authenticator::new(self.clone()));
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).with(Proxy).build()?;
/// let authenticator: Authenticator = app.context().get()?;
/// # let (request, ()) = http::Request::new(()).into_parts();
/// assert_eq!(authenticator.authenticate(&request).await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Authenticator(Arc<dyn Authenticate>);

impl Authenticator {
    /// Creates an authenticator.
    pub fn new(authenticate: impl Authenticate) -> Self {
        Self(Arc::new(authenticate))
    }

    /// Calls [`Authenticate::authenticate`].
    ///
    /// # Errors
    /// The errors of [`Authenticate::authenticate`].
    pub async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        self.0.authenticate(request).await
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator")
    }
}

/// Returns the token of `Authorization: Bearer TOKEN` (RFC 6750, section 2.1), or `None` if the request has no
/// such header. Returns the empty string, which authenticates no caller, if the token contains non-ASCII bytes.
pub fn bearer_token(request: &Parts) -> Option<&str> {
    let value = request.headers.get(http::header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| credential_text(token))
}

/// Returns the text of a credential from a header, without surrounding spaces. Returns the empty string if it
/// contains non-ASCII bytes.
pub fn credential_text(credential: &[u8]) -> &str {
    std::str::from_utf8(credential).ok().filter(|text| text.is_ascii()).unwrap_or_default().trim()
}
