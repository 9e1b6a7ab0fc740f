//! Webhooks: an inbox for every provider, and signed webhooks to tenants.

mod bridge;
mod inbox;
mod module;
mod outbound;
mod signing;
mod sources;

pub use bridge::{
    PaymentData, PaymentFailed, PaymentRefunded, PaymentSucceeded, SubscriptionCanceled, SubscriptionCreated,
    SubscriptionData, SubscriptionRenewed, SubscriptionUpdated,
};
pub use module::Webhooks;
#[doc(hidden)]
pub use sources::fuzzing;
pub use sources::{
    GenericSource, GenericSourceError, HmacAlgorithm, RazorpayCheckout, SignatureEncoding, github_payload,
};
#[cfg(feature = "certificates")]
pub use sources::{FetchPayPalCertificate, PayPalAuthorities, PayPalSource};
