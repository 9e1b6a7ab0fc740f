//! Tests of plans, usage and credits.

mod accounts;
mod app_store;
mod invoice;
mod ledger;
mod meter_report;
mod peers;
mod quotas;
mod reports;
mod requests;
mod revenue;
mod subscriptions;
mod wallets;
