//! The rate limit of requests, as a tower layer.
//!
//! [`RateLimitLayer`] counts requests by [`RateLimitKey`]: by client address, user, tenant or API key. An app puts one
//! around every mount that sets [`Mount::rate_limit`](crate::module::Mount::rate_limit). The rates and the counters
//! themselves are [`Rate`](crate::http::Rate) and [`RateLimits`](crate::http::RateLimits).

mod exempt;
mod key;
mod layer;

pub use key::RateLimitKey;
pub use layer::RateLimitLayer;

pub(crate) use exempt::ExemptRoutes;
pub(crate) use layer::RateLimitService;
