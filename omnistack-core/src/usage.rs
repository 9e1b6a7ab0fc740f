//! Usage: what tenants have used, for plans, quotas and bills.
//!
//! A module records a [`UsageEvent`] through [`UsageSink`], which is in the [`Context`](crate::module::Context) of
//! every app. The module of the feature `billing` keeps the events in a ledger and adds them up; without it, events are
//! only logged, at debug level.
//!
//! There are two ways to record an event:
//!
//! - [`UsageSink::record_in`] stores the event in the caller's transaction, with the rows that it counts. Neither can
//!   be lost without the other. Whatever a bill or a quota depends on is recorded in this way.
//! - [`UsageSink::count`] adds to a counter in memory, which is stored a few seconds later. It costs no query. A crash
//!   loses what is not stored yet, so it is for counters of requests.
//!
//! ```
//! use omnistack_core::{
//!     clock::Timestamp,
//!     db::{Db, Error},
//!     identity::{Identity, TenantId},
//!     usage::{UsageEvent, UsageSink, meters},
//! };
//!
//! /// Stores a report, and counts its pages once, however often the request is repeated.
//! async fn store_report(db: &Db, usage: &UsageSink, tenant: TenantId, id: u64, pages: u32, now: Timestamp) -> Result<(), Error> {
//!     let mut tx = db.tenant(tenant).begin().await?;
//!     // … insert the report …
//!     let event = UsageEvent::new(tenant, "pages", pages, now).once("reports", format!("report/{id}"));
//!     usage.record_in(&mut tx, [event]).await?;
//!     tx.commit().await
//! }
//!
//! /// Counts a request.
//! fn count_request(usage: &UsageSink, caller: &Identity, route: &'static str, now: Timestamp) {
//!     if let Some(tenant) = caller.tenant {
//!         usage.count(UsageEvent::new(tenant, meters::API_REQUESTS, 1, now).category(route).user(caller.user));
//!     }
//! }
//! # let _ = (store_report, count_request);
//! ```

mod event;
pub mod meters;
mod sink;

pub use crate::data_environment::DataEnvironment;
pub use event::UsageEvent;
pub use rust_decimal::Decimal;
pub use sink::{UsageRecorder, UsageSink};
