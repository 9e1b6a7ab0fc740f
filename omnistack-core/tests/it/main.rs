//! Core through its public door.

mod audit;
mod cache;
mod crypto;
mod database;
#[cfg(feature = "email")]
mod email;
mod http;
mod jobs;
mod outbox;
mod pubsub;
mod resilience;
mod services;
