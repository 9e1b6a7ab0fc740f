//! Calls of the app's own routes by its modules.

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, request::Parts};
use tower::ServiceExt as _;

use super::AppService;
use crate::{
    http::{
        Error, Request, Response,
        layer::{PeerAddr, RequestId, peer},
    },
    module::{AgentOperation, OpenApiDocument},
};

/// Headers that belong to a request itself and not to its caller.
const HEADERS_OF_REQUEST: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-version",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-type",
    "expect",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-version",
    "x-request-id",
];

/// The finished app, as its own modules call it.
#[derive(Debug)]
pub(super) struct PublishedRoutes {
    service: AppService,
    openapi: Arc<OpenApiDocument>,
    operations: Vec<AgentOperation>,
}

/// The handle with which a module calls the app's own routes for the caller of a request. It is in the
/// [`Context`](crate::module::Context) of every app. Cheap to clone.
///
/// A call passes through the whole middleware stack, with the credentials and the address of the caller: guards, rate
/// limits, plan limits, idempotency keys and audit apply as if the caller had sent it.
///
/// The routes exist from the end of [`AppBuilder::build`](super::AppBuilder::build) until the [`App`](super::App) is
/// dropped.
#[derive(Clone, Default)]
pub struct OwnRoutes(Arc<OnceLock<Weak<PublishedRoutes>>>);

impl OwnRoutes {
    /// Publishes the routes. The app keeps the value that this returns: the handle does not own it, because the routes
    /// own the handle.
    pub(super) fn publish(
        &self,
        service: AppService,
        openapi: Arc<OpenApiDocument>,
        operations: Vec<AgentOperation>,
    ) -> Arc<PublishedRoutes> {
        let published = Arc::new(PublishedRoutes { service, openapi, operations });
        _ = self.0.set(Arc::downgrade(&published));
        published
    }

    fn published(&self) -> Result<Arc<PublishedRoutes>, Error> {
        let published = self.0.get().and_then(Weak::upgrade);
        published.ok_or_else(|| Error::unavailable("APP_NOT_RUNNING", "the app is not running; try again"))
    }

    /// Returns the OpenAPI document of the app, as JSON.
    ///
    /// # Errors
    /// 503 `APP_NOT_RUNNING` before the app is built and after it is dropped.
    pub fn openapi(&self) -> Result<Bytes, Error> {
        Ok(self.published()?.openapi.json().clone())
    }

    /// Returns the operations that modules have marked for agents, in the order of registration.
    ///
    /// # Errors
    /// 503 `APP_NOT_RUNNING` before the app is built and after it is dropped.
    pub fn agent_operations(&self) -> Result<Vec<AgentOperation>, Error> {
        Ok(self.published()?.operations.clone())
    }

    /// Calls a route for the caller of a request, and returns the response, whatever its status is. The headers of the
    /// caller that identify and describe it are added to the request, unless the request has them. The id of the
    /// caller's request becomes that of the call.
    ///
    /// # Errors
    /// 503 `APP_NOT_RUNNING` before the app is built and after it is dropped.
    pub async fn call(&self, caller: &Parts, mut request: Request) -> Result<Response, Error> {
        let service = self.published()?.service.clone();
        let headers = request.headers_mut();
        for name in caller.headers.keys() {
            if HEADERS_OF_REQUEST.contains(&name.as_str()) || headers.contains_key(name) {
                continue;
            }
            for value in caller.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if let Some(id) = caller.extensions.get::<RequestId>()
            && let Ok(id) = HeaderValue::from_str(id.as_str())
        {
            headers.insert(HeaderName::from_static("x-request-id"), id);
        }
        // Without its address, rate limits would let the call pass.
        if let Some(peer) = peer(&caller.extensions) {
            request.extensions_mut().insert(PeerAddr(peer));
        }
        let Ok(response) = service.oneshot(request).await;
        Ok(response)
    }
}

impl fmt::Debug for OwnRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnRoutes").field(&self.published().is_ok()).finish()
    }
}
