//! Accounts, through the router and on real databases.

mod accounts;
mod sessions;
mod support;
