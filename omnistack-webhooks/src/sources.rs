//! The providers whose webhooks the app receives, each if its secrets are set.

#[cfg(feature = "certificates")]
mod apple;
#[cfg(feature = "certificates")]
mod certificates;
pub mod fuzzing;
mod generic;
mod github;
#[cfg(feature = "google")]
mod google;
#[cfg(feature = "certificates")]
mod jws;
mod keys;
mod payload;
#[cfg(feature = "certificates")]
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
#[cfg(feature = "certificates")]
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
    #[cfg(feature = "certificates")]
    {
        apple::register(registry);
        paypal::register(registry);
    }
    #[cfg(feature = "google")]
    google::register(registry);
}
