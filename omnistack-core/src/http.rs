//! Everything between the socket and a handler.
//!
//! - [`Error`] is what a handler returns when it can't do what was asked, and the form of every error answer.
//! - [`Json`], [`Query`], [`Path`] and [`Multipart`] read requests. They refuse with [`Error`], and what they read has
//!   been validated ([`garde`]).
//! - [`Page`] and [`PageRequest`] are lists; [`Envelope`] wraps answers of version 2 and later.
//! - [`layer`] holds the tower layers of the default stack, each of use without the builder too.
//! - [`RateLimits`] counts how often somebody comes, for all replicas; [`Rate`] says how often they may.
//! - `client`, with the feature `http-client`, is for calls to others.
//! - [`Preconditions`] answers `If-Match`, `If-None-Match` and the like; [`prefers`] reads `Accept`.
//! - [`idempotency`] carries out a request with an `Idempotency-Key` once, however often it is sent.
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
pub mod idempotency;
pub mod layer;

mod accept;
mod cors_origin;
pub(crate) mod envelope;
mod error;
mod extract;
mod fields;
mod json;
mod multipart;
mod page;
mod preconditions;
mod rate;
mod schema;
mod settings;
mod version;

pub use accept::prefers;
pub use cors_origin::CorsOrigin;
pub use envelope::{Envelope, Meta, MetaBody};
pub use error::{Error, ErrorBody, ErrorEnvelope, FieldProblem};
pub use extract::{Path, Query};
pub use fields::header_parts;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
pub use idempotency::Idempotency;
pub use json::{Json, Patch};
pub use multipart::{Field, Multipart};
pub use page::{MAX_COUNTED_ROWS, MAX_PAGE_SIZE, NumberedPage, Page, PageRequest};
pub use preconditions::{Freshness, Preconditions, Validators};
pub use rate::{Algorithm, Checking, Rate, RateLimiter, RateLimits, RateSetting, SharedRateLimiter, Verdict};
pub use settings::HttpSettings;
pub use version::{ApiVersion, VersionPolicy};

pub(crate) use error::{ErrorForm, ProblemDetails, Rendered};
pub(crate) use extract::readable;
pub(crate) use json::too_large;
#[cfg(feature = "redis")]
pub(crate) use rate::{Counted, RateStore, Rule, State};
pub(crate) use rate::{Terms, Tick};

/// A request as the layers see it.
pub type Request = axum::extract::Request;
/// A response as the layers see it.
pub type Response = axum::response::Response;
