//! Webhooks: an inbox for every provider, and signed webhooks to tenants.

mod bridge;
mod dashboard;
#[doc(hidden)]
pub mod fuzzing;
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
pub use signing::{
    InvalidWebhookKey, SigningKey, SigningScheme, VerifiedMessage, WebhookVerifier, sign,
};
pub use sources::{
    FetchPayPalCertificate, GenericSource, GenericSourceError, HmacAlgorithm, PayPalAuthorities, PayPalSource,
    RazorpayCheckout, SignatureEncoding, apple::AppleVerifier, github_payload,
};
