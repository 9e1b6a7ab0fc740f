//! Payments: many payment providers behind one API.

mod analytics;
mod credentials;
mod fake;
mod module;
mod payment;
#[cfg(feature = "paypal")]
mod paypal;
#[cfg(any(feature = "paypal", feature = "razorpay", feature = "stripe"))]
mod provider_api;
#[cfg(feature = "razorpay")]
mod razorpay;
mod router;
mod service;
mod settings;
#[cfg(feature = "stripe")]
mod stripe;
mod wire;
