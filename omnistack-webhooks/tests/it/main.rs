//! Tests of webhooks.

mod apple;
mod google;
mod store_events;
mod inbox;
