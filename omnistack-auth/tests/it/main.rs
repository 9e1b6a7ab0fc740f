//! Accounts, through the router and on real databases.

mod sessions;
mod support;
