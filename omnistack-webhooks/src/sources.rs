//! The providers whose webhooks the app receives, each if its secrets are set.

pub(crate) mod apple;
pub(crate) mod fuzzing;
mod generic;
mod github;
pub(crate) mod google;
mod keys;
pub(crate) mod payload;
mod paypal;
mod provider_api;
mod razorpay;
mod settings;
mod sign;
mod standard;
mod stripe;
mod supabase_database;

use omnistack_core::module::Registry;

pub use generic::{GenericSource, GenericSourceError, HmacAlgorithm, SignatureEncoding};
pub use github::github_payload;
pub use paypal::{FetchPayPalCertificate, PayPalAuthorities, PayPalSource};
pub use razorpay::RazorpayCheckout;

/// Registers each source that is configured.
pub(crate) fn register(registry: &mut Registry) {
    stripe::register(registry);
    github::register(registry);
    razorpay::register(registry);
    standard::register(registry);
    supabase_database::register(registry);
    generic::register(registry);
    apple::register(registry);
    paypal::register(registry);
    google::register(registry);
}
