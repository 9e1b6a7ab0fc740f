//! The envelope of responses, from version 2 on.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::FromRequestParts,
    middleware::Next,
    response::IntoResponse as _,
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema as _, ToSchema,
    openapi::{ObjectBuilder, Paths, Ref, RefOr, Schema},
};

use super::{ApiVersion, Error, Request, Response, layer::RequestId};
use crate::clock::{Clock, Timestamp};

/// The envelope of a response: `{ "data": …, "meta": { "request_id", "timestamp", "version" } }`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Envelope<T> {
    /// The requested data.
    pub data: T,
    /// Metadata of the response.
    pub meta: MetaBody,
}

/// Metadata of a response.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MetaBody {
    /// Id of the request, as in the header `X-Request-Id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_id: Option<String>,
    /// Time at which the request arrived.
    pub timestamp: Timestamp,
    /// API version of the response, such as `v2`.
    #[schema(examples("v2"))]
    pub version: String,
}

/// Extractor of the response metadata. Use it to wrap the data: `Json(meta.wrap(data))`.
#[derive(Clone, Debug)]
pub struct Meta(MetaBody);

impl Meta {
    /// Wraps data in the envelope.
    pub fn wrap<T>(self, data: T) -> Envelope<T> {
        Envelope { data, meta: self.0 }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Meta {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let version = parts.extensions.get::<ApiVersion>().copied().unwrap_or_default();
        let request = parts.extensions.get::<RequestId>();
        Ok(Self(MetaBody {
            request_id: request.map(|id| id.as_str().to_owned()),
            timestamp: request.map_or_else(|| Clock::system().now(), RequestId::received),
            version: version.to_string(),
        }))
    }
}

const JSON: &str = "application/json";

/// The metadata of the envelope in which a response is wrapped after its handler has ended. It is an extension of
/// requests whose handlers may store the response.
#[derive(Clone, Debug, Default)]
pub(crate) struct LaterEnvelope(Arc<OnceLock<MetaBody>>);

impl LaterEnvelope {
    /// Returns the body in its envelope, or unchanged if the response is not wrapped.
    pub(crate) fn wrap(&self, status: StatusCode, headers: &HeaderMap, data: Bytes) -> Result<Bytes, Error> {
        match self.0.get().filter(|_| is_wrapped(status, headers)) {
            Some(meta) => enveloped(&data, meta).map(Bytes::from),
            None => Ok(data),
        }
    }
}

/// Wraps successful JSON responses in the envelope.
pub(crate) async fn wrap_responses(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(Meta(meta)) = Meta::from_request_parts(&mut parts, &()).await;
    if let Some(later) = parts.extensions.get::<LaterEnvelope>() {
        _ = later.0.set(meta.clone());
    }
    let response = next.run(Request::from_parts(parts, body)).await;
    if !is_wrapped(response.status(), response.headers()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // The handler has created the whole body: JSON responses here are not streams.
    let data = to_bytes(body, usize::MAX).await.map_err(Error::internal);
    match data.and_then(|data| enveloped(&data, &meta)) {
        Ok(wrapped) => {
            head.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(head, Body::from(wrapped))
        }
        Err(error) => error.into_response(),
    }
}

/// Returns whether a response is wrapped: a successful one with JSON.
fn is_wrapped(status: StatusCode, headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    status.is_success() && kind.is_some_and(|kind| kind.as_bytes().starts_with(JSON.as_bytes()))
}

fn enveloped(data: &[u8], meta: &MetaBody) -> Result<Vec<u8>, Error> {
    let meta = serde_json::to_vec(meta).map_err(Error::internal)?;
    Ok([b"{\"data\":", data, b",\"meta\":", &meta, b"}"].concat())
}

/// Wraps the schemas of successful JSON responses in the OpenAPI description.
pub(crate) fn wrap_schemas(paths: &mut Paths) {
    for item in paths.paths.values_mut() {
        let all = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in all.into_iter().flatten() {
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                let content = response.content.get_mut(JSON).filter(|_| status.starts_with('2'));
                let Some(RefOr::T(content)) = content else { continue };
                let Some(data) = content.schema.take() else { continue };
                let meta = Ref::from_schema_name(MetaBody::name());
                let envelope = ObjectBuilder::new().property("data", data).required("data");
                content.schema = Some(envelope.property("meta", meta).required("meta").into());
            }
        }
    }
}

/// Returns the schemas that [`describe`] refers to.
pub(crate) fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(MetaBody::name().into_owned(), MetaBody::schema())];
    MetaBody::schemas(&mut schemas);
    schemas
}
