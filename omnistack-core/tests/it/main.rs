//! Tests of core through its public API.

mod audit;
mod cache;
mod crypto;
mod database;
mod events;
mod http;
mod jobs;
mod lines;
mod maintenance;
mod pubsub;
mod rates;
mod resilience;
mod seeds;
mod services;
mod tenant_databases;
mod tenant_exports;
#[cfg(feature = "billing-ports")]
mod usage;
mod webhook;
