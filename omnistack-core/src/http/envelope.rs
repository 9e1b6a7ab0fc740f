//! The wrapping of answers from version 2 on.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApiVersion, layer::RequestId};
use crate::clock::{Clock, Timestamp};

/// `{ "data": …, "meta": { "request_id", "timestamp", "version" } }`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Envelope<T> {
    /// What was asked for.
    pub data: T,
    /// About this answer.
    pub meta: MetaBody,
}

/// About an answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MetaBody {
    /// The same as in the header `X-Request-Id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When the request came.
    pub timestamp: Timestamp,
    /// The version that answered: `v2`.
    #[schema(examples("v2"))]
    pub version: String,
}

/// What an answer says about itself. Extract it and wrap: `Json(meta.wrap(data))`.
#[derive(Clone, Debug)]
pub struct Meta(MetaBody);

impl Meta {
    /// Wraps an answer.
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
