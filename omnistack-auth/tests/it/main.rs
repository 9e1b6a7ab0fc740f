//! Accounts, through the router and on real databases.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod issuers;
mod sessions;
mod support;
