//! The tower layers of the default stack.
//!
//! Each layer can be used alone in a plain axum app:
//!
//! ```
//! use axum::{Router, routing::get};
//! use omnistack_core::{clock::Clock, http::layer::{ErrorLayer, RequestIdLayer, SecurityHeadersLayer}};
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(ErrorLayer::new(Clock::system()))
//!     .layer(SecurityHeadersLayer::default())
//!     .layer(RequestIdLayer::new(Clock::system()));
//! # let _ = app;
//! ```

mod api_version;
mod body_limit;
mod client_addr;
#[cfg(feature = "compression")]
mod compression;
mod content_encoding;
mod errors;
mod hook;
mod malformed_request;
mod observe;
mod panic;
mod request_id;
mod route;
mod security_headers;
mod singletons;
mod timeout;

pub use api_version::ApiVersionLayer;
pub use body_limit::BodyLimitLayer;
pub use client_addr::{ClientAddr, ClientAddrLayer, PeerAddr};
pub(crate) use client_addr::{peer, peer_address};
#[cfg(feature = "compression")]
pub use compression::CompressionLayer;
pub use content_encoding::ContentEncodingLayer;
pub use errors::ErrorLayer;
pub use observe::ObserveLayer;
pub use panic::CatchPanicLayer;
pub use request_id::{RequestId, RequestIdLayer};
pub use route::MatchedRoute;
pub use security_headers::SecurityHeadersLayer;
pub use singletons::SingletonHeadersLayer;
pub use timeout::TimeoutLayer;

pub(crate) use api_version::UnversionedUri;
#[cfg(feature = "compression")]
pub(crate) use compression::Compress;
pub(crate) use errors::{ErrorForms, no_such_route};
pub(crate) use hook::{HookLayer, HookService, RequestHook, ResponseHook, step_layer};
pub(crate) use malformed_request::MalformedRequest;
pub(crate) use observe::Observe;
pub(crate) use panic::{CatchPanic, Panicked};
pub(crate) use route::{RouteLimits, RouteLimitsLayer, RouteLimitsService};

#[cfg(test)]
mod tests;
