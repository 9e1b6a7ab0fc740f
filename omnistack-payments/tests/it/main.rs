//! Tests of payments.

mod account_webhooks;
mod analytics;
mod app_accounts;
mod credentials;
mod fake;
mod payment;
mod payment_sdks;
#[cfg(feature = "paypal")]
mod paypal;
#[cfg(feature = "razorpay")]
mod razorpay;
mod router;
mod service_limit;
#[cfg(feature = "stripe")]
mod stripe;
mod test_service;
