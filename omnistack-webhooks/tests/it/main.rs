//! Tests of webhooks.

mod apple;
mod bridge;
mod crash;
mod dashboard;
mod delivery;
mod delivery_isolation;
mod delivery_leases;
mod delivery_retries;
mod google;
mod inbox;
mod outage;
mod outbound;
mod peers;
mod second_opinion;
mod signing;
mod sources;
mod store_events;
mod traces;
