//! Tests of webhooks.

mod apple;
mod delivery;
mod delivery_isolation;
mod delivery_leases;
mod delivery_retries;
mod google;
mod inbox;
mod peers;
mod sources;
mod store_events;
