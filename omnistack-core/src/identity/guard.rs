//! The guard of a mount.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::response::IntoResponse as _;
use futures_util::future::BoxFuture;
use http::Method;
use tower::{Layer, Service};
use tracing::field;

use super::{Authenticator, Identity, RequestOrigin, TenantId, UserId};
use crate::{
    http::{Error, Request, Response},
    identity::AccessLevel,
    maintenance::MaintenanceMode,
    metrics::AUTH_FAILURES,
    trace::{self, attribute},
};

/// A layer that passes only requests of its access level and puts their [`Identity`] into the request's
/// extensions.
///
/// ```
/// use axum::{Router, routing::get};
/// use omnistack_core::{identity::{AccessLevel, Authenticator, GuardLayer, Identity}, http::StatusCode};
/// # use axum::{body::Body, http::Request};
/// # use omnistack_core::{async_trait, clock::Clock, http::Error, id::Id, identity::Authenticate};
/// # use tower::ServiceExt as _;
/// # struct Known(Identity);
/// # #[async_trait]
/// # impl Authenticate for Known {
/// #     async fn authenticate(&self, _: &http::request::Parts) -> Result<Option<Identity>, Error> {
/// #         Ok(Some(self.0.clone()))
/// #     }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let caller = Identity::user(Id::new(Clock::system().now())).with_permissions("*:read".parse()?);
/// # let authenticator = Authenticator::new(Known(caller));
/// // For a plain axum app; an `App` adds the guards of its mounts itself.
/// let guard = GuardLayer::new(AccessLevel::App, authenticator).permissions("projects");
/// let list = |caller: Identity| async move { format!("the projects of {}", caller.user) };
/// let app = Router::new().route("/projects", get(list).post(list)).layer(guard);
///
/// // The caller only has `*:read`.
/// let look = app.clone().oneshot(Request::get("/projects").body(Body::empty())?).await?;
/// let change = app.oneshot(Request::post("/projects").body(Body::empty())?).await?;
/// assert_eq!((look.status(), change.status()), (StatusCode::OK, StatusCode::FORBIDDEN));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GuardLayer {
    audience: AccessLevel,
    authenticator: Authenticator,
    permissions: Option<Arc<RequiredPermissions>>,
    in_person: bool,
    closed_by: Option<MaintenanceMode>,
}

/// The permissions for reading and for writing.
#[derive(Debug)]
struct RequiredPermissions {
    read: String,
    write: String,
}

impl GuardLayer {
    /// Creates a guard for an access level. A public guard does not require an identity.
    pub fn new(audience: AccessLevel, authenticator: Authenticator) -> Self {
        Self { audience, authenticator, permissions: None, in_person: false, closed_by: None }
    }

    /// Requires `RESOURCE:read` for GET and HEAD and `RESOURCE:write` for all other methods.
    #[must_use]
    pub fn permissions(mut self, resource: &str) -> Self {
        self.permissions = Some(Arc::new(RequiredPermissions {
            read: format!("{resource}:read"),
            write: format!("{resource}:write"),
        }));
        self
    }

    /// Refuses API keys and operators who impersonate a user: see [`Identity::require_in_person`].
    #[must_use]
    pub fn in_person(mut self) -> Self {
        self.in_person = true;
        self
    }

    /// Refuses callers during maintenance, except operators, also while they impersonate a user.
    pub(crate) fn closed_by(mut self, maintenance: MaintenanceMode) -> Self {
        self.closed_by = Some(maintenance);
        self
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, layer: self.clone() }
    }
}

/// The service of [`GuardLayer`].
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
    layer: GuardLayer,
}

impl<S> Service<Request> for Guard<S>
where
    S: Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: axum::response::IntoResponse,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let GuardLayer { audience, authenticator, permissions, in_person, closed_by } = self.layer.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let identity = match authenticator.authenticate(&parts).await {
                Ok(identity) => identity,
                Err(error) => {
                    AUTH_FAILURES.counter([error.code().to_ascii_lowercase()]).increment(1);
                    return Ok(error.into_response());
                }
            };
            let needed = permissions.as_deref().map(|needed| needed.for_method(&parts.method));
            match check_access(audience, identity, needed, in_person) {
                Ok(Some(mut identity)) => {
                    let is_operator = identity.operator || identity.impersonator.is_some();
                    if let Some(error) = closed_by.filter(|_| !is_operator).and_then(|mode| mode.refusal()) {
                        return Ok(error.into_response());
                    }
                    identity.origin = RequestOrigin::from_request(&parts);
                    name_in_log_and_trace(&identity);
                    parts.extensions.insert(identity);
                }
                Ok(None) => {}
                Err(error) => return Ok(error.into_response()),
            }
            let caller = parts
                .extensions
                .get::<Identity>()
                .map(|identity| ErrorCaller { tenant: identity.tenant, user: Some(identity.user) });
            let Ok(response) = inner.call(Request::from_parts(parts, body)).await;
            let mut response = response.into_response();
            if let Some(caller) = caller
                && (response.status().is_client_error() || response.status().is_server_error())
            {
                response.extensions_mut().insert(caller);
            }
            Ok(response)
        })
    }
}

/// The caller of a request that failed, in the extensions of its response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ErrorCaller {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) user: Option<UserId>,
}

/// Adds the user and the tenant to the log lines and the span of the request.
fn name_in_log_and_trace(identity: &Identity) {
    let log = tracing::Span::current();
    log.record("user", field::display(&identity.user));
    trace::set_attribute(attribute::USER_ID, || identity.user.to_string());
    if let Some(tenant) = &identity.tenant {
        log.record("tenant", field::display(tenant));
        trace::set_attribute(attribute::OMNISTACK_TENANT_ID, || tenant.to_string());
    }
}

impl RequiredPermissions {
    fn for_method(&self, method: &Method) -> &str {
        if matches!(*method, Method::GET | Method::HEAD) { &self.read } else { &self.write }
    }
}

/// Returns the identity if the access level and the permissions allow it. Fails with 401 without an identity, and
/// with 403 for an identity that is not allowed.
fn check_access(
    audience: AccessLevel,
    identity: Option<Identity>,
    needed: Option<&str>,
    in_person: bool,
) -> Result<Option<Identity>, Error> {
    if let Some(identity) = identity.as_ref().filter(|_| audience != AccessLevel::Public) {
        if in_person {
            identity.require_in_person()?;
        }
        if let Some(needed) = needed {
            identity.require(needed)?;
        }
    }
    match (audience, identity) {
        (AccessLevel::Public, identity) => Ok(identity),
        (_, None) => Err(Error::unauthorized("sign in first: send `Authorization: Bearer …`")),
        (AccessLevel::App, Some(identity)) => Ok(Some(identity)),
        (AccessLevel::Admin, Some(identity)) if identity.operator => Ok(Some(identity)),
        (AccessLevel::Admin, Some(_)) => Err(Error::forbidden("this is for operators of the app")),
        (AccessLevel::Machine, Some(identity)) if identity.service_account => Ok(Some(identity)),
        (AccessLevel::Machine, Some(_)) => Err(Error::forbidden("this is for programs: use an API key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    #[test]
    fn each_audience_admits_its_own() {
        let user = Identity::user(Id::from_uuid(uuid::Uuid::nil()));
        let (admin, machine) = (user.clone().into_operator(), user.clone().into_service_account());
        let callers = [None, Some(user), Some(admin), Some(machine)];
        let status = |audience| {
            callers.clone().map(|caller| {
                check_access(audience, caller, None, false).map_or_else(|error| error.status().as_u16(), |_| 200)
            })
        };
        assert_eq!(status(AccessLevel::Public), [200, 200, 200, 200]);
        assert_eq!(status(AccessLevel::App), [401, 200, 200, 200]);
        assert_eq!(status(AccessLevel::Admin), [401, 403, 200, 403]);
        assert_eq!(status(AccessLevel::Machine), [401, 403, 403, 200]);
    }

    #[test]
    fn only_the_user_is_there_in_person() {
        let user = Identity::user(Id::from_uuid(uuid::Uuid::nil()));
        let operator = user.clone().with_impersonator(Id::from_uuid(uuid::Uuid::max()));
        for (caller, refused) in [
            (user.clone(), None),
            (user.clone().into_operator(), None),
            (user.into_service_account(), Some("API_KEY_REFUSED")),
            (operator.clone(), Some("IMPERSONATION_REFUSED")),
            (operator.into_operator(), Some("IMPERSONATION_REFUSED")),
        ] {
            let admitted = check_access(AccessLevel::App, Some(caller), None, true);
            assert_eq!(admitted.err().map(|error| error.code().to_owned()).as_deref(), refused);
        }
    }
}
