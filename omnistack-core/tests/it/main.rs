//! Core through its public door.

mod database;
mod http;
mod resilience;
mod services;
