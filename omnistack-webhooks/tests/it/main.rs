//! Tests of webhooks through the public API.

mod delivery;
mod delivery_isolation;
mod delivery_leases;
mod delivery_retries;
