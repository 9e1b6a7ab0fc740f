//! Accounts, through the router and on real databases.
#![expect(clippy::unwrap_used, reason = "what tests share fails them")]

mod issuers;
mod sessions;
mod support;
