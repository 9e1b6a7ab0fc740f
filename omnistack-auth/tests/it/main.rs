//! Accounts, through the router and on real databases.

mod issuers;
mod sessions;
mod support;
