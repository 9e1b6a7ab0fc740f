//! Plans, entitlements and usage.

mod account;
mod ledger;
mod meter;
mod module;
mod period;
mod plan;
mod quantity;
mod quota;
mod report;
mod settings;
mod wallet;
mod window;

pub use meter::{Aggregation, LatePolicy, MAX_METER_NAME_BYTES, Meter};
pub use module::Billing;
pub use period::{BillingAnchor, BillingInterval, BillingPeriod, IntervalUnit, InvalidInterval, PeriodSchedule};
pub use quantity::{MAX_METER_DECIMALS, Quantity, QuantityError};
