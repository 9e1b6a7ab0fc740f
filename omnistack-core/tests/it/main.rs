//! Core through its public door.

mod crypto;
mod database;
mod http;
mod services;
