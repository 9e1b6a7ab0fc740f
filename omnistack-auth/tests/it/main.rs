//! Accounts, through the router and on real databases.

mod admin;
mod api_keys;
mod isolation;
mod sessions;
mod support;
mod teams;
