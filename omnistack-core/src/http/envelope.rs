//! The envelope of responses, from version 2 on.

use std::convert::Infallible;

use axum::{
    body::{Body, to_bytes},
    extract::FromRequestParts,
    middleware::Next,
    response::IntoResponse as _,
};
use http::{HeaderMap, header, request::Parts};
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

/// Wraps successful JSON responses in the envelope.
pub(crate) async fn wrap_responses(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(meta) = Meta::from_request_parts(&mut parts, &()).await;
    let response = next.run(Request::from_parts(parts, body)).await;
    if !response.status().is_success() || !is_json(response.headers()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // The handler has created the whole body: JSON responses here are not streams.
    let wrapped = match (to_bytes(body, usize::MAX).await, serde_json::to_vec(&meta.0)) {
        (Ok(data), Ok(meta)) => [b"{\"data\":", data.as_ref(), b",\"meta\":", &meta, b"}"].concat(),
        (Err(error), _) => return Error::internal(error).into_response(),
        (_, Err(error)) => return Error::internal(error).into_response(),
    };
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(wrapped))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(JSON.as_bytes()))
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
