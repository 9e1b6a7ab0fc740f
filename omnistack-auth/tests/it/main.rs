//! Accounts, through the router and on real databases.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what tests share fails them")]
#![expect(clippy::large_futures, reason = "a test is not polled by others")]

mod accounts;
mod admin;
mod api_keys;
mod gone;
mod headers;
mod in_person;
mod isolation;
mod issuers;
mod notes;
mod own_tokens;
mod pages;
mod routes;
mod security_page;
mod sessions;
mod social;
mod strangers;
mod support;
mod teams;
mod tenant_databases;
