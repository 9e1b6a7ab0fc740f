//! Core through its public door.

mod audit;
mod cache;
mod crypto;
mod database;
mod events;
mod http;
mod jobs;
mod lines;
mod pubsub;
mod rates;
mod resilience;
mod services;
