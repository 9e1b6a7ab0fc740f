//! Tests of accounts through the router, on real databases.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by a panic")]
#![expect(clippy::large_futures, reason = "the futures of tests are not nested further")]

mod accounts;
mod admin;
mod api_keys;
mod bending;
mod gone;
mod headers;
mod in_person;
mod isolation;
mod issuers;
mod notes;
mod operations;
mod own_tokens;
mod pages;
mod production;
mod routes;
mod security_page;
mod sessions;
mod social;
mod strangers;
mod support;
mod teams;
mod tenant_databases;
