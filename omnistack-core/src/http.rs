//! HTTP: errors, extractors, lists, layers, rate limits.
//!
//! - [`Error`] is the error of handlers and the format of every error response.
//! - [`Json`], [`Query`], [`Path`] and, with the feature `multipart`, `Multipart` are extractors. They fail with
//!   [`Error`], and `Json` and `Query` validate the value with [`garde`].
//! - [`CursorPage`] and [`PageRequest`] are for lists; [`Envelope`] wraps the responses of version 2 and later.
//! - [`layer`] contains the tower layers of the default stack. Each can be used without the builder.
//! - [`RateLimits`] counts requests for all replicas; [`Rate`] is a number of requests per period.
//! - `client`, with the feature `http-client`, is for calls to providers.
//! - [`Preconditions`] evaluates `If-Match`, `If-None-Match` and the like; [`prefers`] evaluates `Accept`.
//!
//! ```
//! use garde::Validate;
//! use omnistack_core::http::{Error, Json};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, Validate)]
//! struct Signup {
//!     #[garde(length(chars, min = 1, max = 100))]
//!     name: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Welcome { greeting: String }
//!
//! async fn signup(Json(signup): Json<Signup>) -> Result<Json<Welcome>, Error> {
//!     Ok(Json(Welcome { greeting: format!("Hello, {}!", signup.name) }))
//! }
//! # let _: axum::Router = axum::Router::new().route("/signup", axum::routing::post(signup));
//! ```

#[cfg(feature = "http-client")]
pub mod client;
pub mod layer;

mod accept;
mod cors_origin;
pub(crate) mod envelope;
mod error;
mod extract;
mod fields;
mod json;
#[cfg(feature = "multipart")]
mod multipart;
mod page;
mod preconditions;
mod rate;
mod settings;
mod version;

pub use accept::prefers;
pub use cors_origin::CorsOrigin;
pub use envelope::{Envelope, Meta, MetaBody};
pub use error::{Error, ErrorBody, ErrorEnvelope, ErrorForm, FieldError};
pub use extract::{Path, Query};
pub use fields::header_parts;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
pub use json::{Json, Patch};
#[cfg(feature = "multipart")]
pub use multipart::{Field, Multipart};
pub use page::{CursorPage, MAX_COUNTED_ROWS, MAX_PAGE_SIZE, NumberedPage, PageRequest};
pub use preconditions::{Freshness, Preconditions, Validators};
pub use rate::{Algorithm, Rate, RateLimitDecision, RateLimiter, RateLimits, RateSetting, SharedRateLimiter};
pub use settings::HttpSettings;
pub use version::{ApiVersion, VersionPolicy};

pub(crate) use error::{ErrorFormat, ProblemDetails, RenderableError};
pub(crate) use extract::check_url_text;
pub(crate) use json::{body_error, too_large};
#[cfg(feature = "redis")]
pub(crate) use rate::{CompiledAlgorithm, CountResult, RateState, RateStore};
pub(crate) use rate::{CompiledRate, RateLimitHeaderTemplate, RateLimitHeaders, TimeUnit};

/// A request, as the layers receive it.
pub type Request = axum::extract::Request;
/// A response, as the layers return it.
pub type Response = axum::response::Response;
