//! Core through its public door.

mod audit;
mod cache;
mod crypto;
mod database;
mod events;
mod http;
mod jobs;
mod pubsub;
mod resilience;
mod services;
