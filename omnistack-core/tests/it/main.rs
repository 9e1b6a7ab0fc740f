//! Core through its public door.

mod cache;
mod database;
mod http;
mod pubsub;
mod services;
