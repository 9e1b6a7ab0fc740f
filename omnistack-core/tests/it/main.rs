//! Core through its public door.

mod database;
mod http;
mod jobs;
mod services;
