//! Core through its public door.

mod audit;
mod crypto;
mod database;
mod http;
mod jobs;
mod resilience;
mod services;
