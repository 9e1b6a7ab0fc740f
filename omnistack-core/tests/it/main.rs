//! Core through its public door.

mod audit;
mod cache;
mod crypto;
mod database;
mod http;
mod jobs;
mod outbox;
mod pubsub;
mod resilience;
mod services;
