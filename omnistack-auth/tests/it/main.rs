//! Accounts, through the router and on real databases.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod accounts;
mod issuers;
mod sessions;
mod social;
mod support;
