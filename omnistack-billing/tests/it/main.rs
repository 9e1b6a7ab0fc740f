//! Tests of plans, usage and credits.

mod accounts;
mod ledger;
mod peers;
mod quotas;
mod reports;
mod requests;
mod subscriptions;
mod wallets;
