//! Who is calling, and for which tenant.
//!
//! Core knows no accounts. A module that does (`omnistack-auth`, or [`DevIdentity`] until there is one) provides an
//! [`Authenticator`]; the guard of a mount asks it, and handlers extract the [`Identity`].

mod dev;
mod guard;
mod plan;

pub use dev::{DevIdentity, DevIdentitySettings};
pub use guard::{Guard, GuardLayer};
pub use plan::{Entitlements, Plan, PlanSource};

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{http::Error, id::Id};

/// Whose ids are [`UserId`]s.
#[derive(Debug)]
pub enum User {}

/// Whose ids are [`TenantId`]s.
#[derive(Debug)]
pub enum Tenant {}

/// Whose ids are [`ApiKeyId`]s.
#[derive(Debug)]
pub enum ApiKey {}

/// A user.
pub type UserId = Id<User>;

/// A tenant: the boundary of data and of billing.
pub type TenantId = Id<Tenant>;

/// An API key, not its secret.
pub type ApiKeyId = Id<ApiKey>;

/// A caller who has been recognised.
///
/// Extract it in a handler. On a public mount nobody is recognised, and extracting it answers 401: a route that wants to
/// know its caller belongs under [`Mount::app`](crate::app::Mount::app).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The user, or the one a machine acts for.
    pub user: UserId,
    /// The tenant this request is for.
    pub tenant: Option<TenantId>,
    /// Whether the caller operates the whole app.
    pub admin: bool,
    /// Whether a program calls, with an API key.
    pub machine: bool,
    /// The API key it came with.
    pub key: Option<ApiKeyId>,
}

impl Identity {
    /// A signed-in user without a tenant.
    pub fn user(user: UserId) -> Self {
        Self { user, tenant: None, admin: false, machine: false, key: None }
    }

    /// For this tenant.
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// With the right to operate the app.
    pub fn into_admin(mut self) -> Self {
        self.admin = true;
        self
    }

    /// A program with an API key.
    pub fn into_machine(mut self) -> Self {
        self.machine = true;
        self
    }

    /// With this API key.
    pub fn with_key(mut self, key: ApiKeyId) -> Self {
        self.key = Some(key);
        self
    }

    /// The tenant.
    ///
    /// # Errors
    /// 403 `TENANT_REQUIRED` for a caller without one.
    pub fn require_tenant(&self) -> Result<TenantId, Error> {
        self.tenant.ok_or_else(|| {
            Error::new(
                http::StatusCode::FORBIDDEN,
                "TENANT_REQUIRED",
                "this is done for a tenant, and you have chosen none",
            )
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Error::unauthorized("sign in first"))
    }
}

/// Recognises callers.
#[async_trait]
pub trait Authenticate: Send + Sync + 'static {
    /// Who sent this request: `None` when it carries no credentials.
    ///
    /// # Errors
    /// 401 for credentials that are wrong or expired; 503 when that can't be told now.
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error>;
}

/// The app's way to recognise callers. One module provides it; the guards of all mounts use it.
#[derive(Clone)]
pub struct Authenticator(Arc<dyn Authenticate>);

impl Authenticator {
    /// Recognises callers in this way.
    pub fn new(authenticate: impl Authenticate) -> Self {
        Self(Arc::new(authenticate))
    }

    /// See [`Authenticate::authenticate`].
    pub async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        self.0.authenticate(request).await
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator")
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, section 2.1).
pub fn bearer_token(request: &Parts) -> Option<&str> {
    let value = request.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
