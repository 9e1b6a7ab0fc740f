//! Tests of requests and responses.

#![cfg(test)]

mod bodies;
mod build;
mod client_addr;
#[cfg(feature = "compression")]
mod compression;
mod cors;
#[cfg(feature = "docs-page")]
mod docs;
mod errors;
mod existing_app;
mod guarded_client;
mod guards;
mod health;
mod idempotency;
mod layers;
mod openapi;
mod own_accounts;
mod permissions;
mod plans;
mod queries;
mod rate_limit;
mod request_id;
mod route_changes;
mod security_headers;
mod support;
mod timeouts;
mod versions;
mod wire;
