//! The end of subscriptions at a provider that the app itself requires.

use omnistack_core::payment::{CancelTime, PaymentError, PaymentProvider};

/// Cancels a subscription at its provider now. One that has ended, or that the provider does not have, is no error.
///
/// # Errors
/// The errors of the provider. The subscription may still be billed then.
pub(super) async fn cancel_now(provider: &dyn PaymentProvider, id: &str, key: &str) -> Result<(), PaymentError> {
    let rejected = match provider.cancel_subscription(id, CancelTime::Now, key).await {
        Ok(_) | Err(PaymentError::NotFound { .. }) => return Ok(()),
        Err(error @ PaymentError::Rejected { .. }) => error,
        Err(error) => return Err(error),
    };
    // Providers reject it if the subscription has ended already, and for other reasons.
    match provider.subscription(id).await {
        Ok(read) if read.status.is_final() => Ok(()),
        Err(PaymentError::NotFound { .. }) => Ok(()),
        Ok(_) => Err(rejected),
        Err(error) => Err(error),
    }
}
