//! The guard in front of a mount.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::response::IntoResponse as _;
use futures_util::future::BoxFuture;
use http::Method;
use tower::{Layer, Service};

use super::{Authenticator, Identity, Origin};
use crate::{
    app::Audience,
    http::{Error, Request, Response},
};

/// Lets only its audience through, and leaves their [`Identity`] in the request's extensions.
#[derive(Clone, Debug)]
pub struct GuardLayer {
    audience: Audience,
    authenticator: Authenticator,
    permissions: Option<Arc<Needed>>,
}

/// The permissions to look and to change.
#[derive(Debug)]
struct Needed {
    read: String,
    write: String,
}

impl GuardLayer {
    /// Guards for an audience other than the public.
    pub fn new(audience: Audience, authenticator: Authenticator) -> Self {
        Self { audience, authenticator, permissions: None }
    }

    /// Asks for `RESOURCE:read` of those who look (GET, HEAD) and for `RESOURCE:write` of all others.
    #[must_use]
    pub fn permissions(mut self, resource: &str) -> Self {
        self.permissions =
            Some(Arc::new(Needed { read: format!("{resource}:read"), write: format!("{resource}:write") }));
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
        let GuardLayer { audience, authenticator, permissions } = self.layer.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let identity = match authenticator.authenticate(&parts).await {
                Ok(identity) => identity,
                Err(error) => return Ok(error.into_response()),
            };
            let needed = permissions.as_deref().map(|needed| needed.of(&parts.method));
            match admit(audience, identity, needed) {
                Ok(Some(mut identity)) => {
                    identity.origin = Origin::of(&parts);
                    parts.extensions.insert(identity);
                }
                Ok(None) => {}
                Err(error) => return Ok(error.into_response()),
            }
            let Ok(response) = inner.call(Request::from_parts(parts, body)).await;
            Ok(response.into_response())
        })
    }
}

impl Needed {
    fn of(&self, method: &Method) -> &str {
        if matches!(*method, Method::GET | Method::HEAD) { &self.read } else { &self.write }
    }
}

/// The rule: who may enter where.
fn admit(audience: Audience, identity: Option<Identity>, needed: Option<&str>) -> Result<Option<Identity>, Error> {
    if let (Some(needed), Some(identity), true) = (needed, &identity, audience != Audience::Public) {
        identity.require(needed)?;
    }
    match (audience, identity) {
        (Audience::Public, identity) => Ok(identity),
        (_, None) => Err(Error::unauthorized("sign in first: send `Authorization: Bearer …`")),
        (Audience::App, Some(identity)) => Ok(Some(identity)),
        (Audience::Admin, Some(identity)) if identity.admin => Ok(Some(identity)),
        (Audience::Admin, Some(_)) => Err(Error::forbidden("this is for operators of the app")),
        (Audience::Machine, Some(identity)) if identity.machine => Ok(Some(identity)),
        (Audience::Machine, Some(_)) => Err(Error::forbidden("this is for programs: use an API key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    #[test]
    fn each_audience_admits_its_own() {
        let user = Identity::user(Id::from_uuid(uuid::Uuid::nil()));
        let (admin, machine) = (user.clone().into_admin(), user.clone().into_machine());
        let callers = [None, Some(user), Some(admin), Some(machine)];
        let status = |audience| {
            callers
                .clone()
                .map(|caller| admit(audience, caller, None).map_or_else(|error| error.status().as_u16(), |_| 200))
        };
        assert_eq!(status(Audience::Public), [200, 200, 200, 200]);
        assert_eq!(status(Audience::App), [401, 200, 200, 200]);
        assert_eq!(status(Audience::Admin), [401, 403, 200, 403]);
        assert_eq!(status(Audience::Machine), [401, 403, 403, 200]);
    }
}
