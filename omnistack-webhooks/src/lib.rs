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
