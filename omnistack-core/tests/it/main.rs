//! Tests of core through its public API.

mod audit;
mod cache;
#[cfg(feature = "contact")]
mod contact;
mod crypto;
mod database;
#[cfg(feature = "email")]
mod email;
mod events;
#[cfg(feature = "flags")]
mod flags;
mod http;
mod jobs;
mod lines;
mod outbox;
mod pubsub;
mod rates;
mod resilience;
mod services;
#[cfg(feature = "sms")]
mod sms;
mod tenant_databases;
