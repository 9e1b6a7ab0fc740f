//! Tests of webhooks.

#[cfg(feature = "certificates")]
mod apple;
#[cfg(feature = "google")]
mod google;
#[cfg(any(feature = "certificates", feature = "google"))]
mod store_events;
