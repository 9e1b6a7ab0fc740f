//! The signatures of Razorpay's checkout.

use omnistack_core::crypto::{self, HmacKey};
use secrecy::{ExposeSecret as _, SecretString};

/// The key secret of an account at Razorpay, with which its page signs the callback in the payer's browser. Each kind
/// of page signs other values in another order. Webhooks are signed with a secret of their own.
///
/// A callback says that a payment was made. Ask the provider for the payment before you act on it.
///
/// ```
/// use omnistack_payments::RazorpayCallback;
///
/// let callback = RazorpayCallback::new(&"key secret".into()).unwrap();
/// assert!(!callback.verify_order("order_1", "pay_1", "00"));
/// ```
#[derive(Clone, Debug)]
pub struct RazorpayCallback(HmacKey);

impl RazorpayCallback {
    /// Creates the key.
    ///
    /// # Errors
    /// Fails if the secret is empty.
    pub fn new(key_secret: &SecretString) -> Result<Self, crypto::Error> {
        HmacKey::new(key_secret.expose_secret()).map(Self)
    }

    /// Returns whether Razorpay has signed this payment of this order: `{order}|{payment}`. Pass the id of the order
    /// that the app has created, not one that the browser sends.
    pub fn verify_order(&self, order: &str, payment: &str, signature: &str) -> bool {
        self.verify(&[order, payment], signature)
    }

    /// Returns whether Razorpay has signed this payment of this subscription: `{payment}|{subscription}`. Pass the id
    /// of the subscription that the app has created, not one that the browser sends.
    pub fn verify_subscription(&self, payment: &str, subscription: &str, signature: &str) -> bool {
        self.verify(&[payment, subscription], signature)
    }

    /// Returns whether Razorpay has signed this payment of this link: `{link}|{reference}|{status}|{payment}`. Pass the
    /// id and the reference of the link that the app has created, not those that the browser sends.
    pub fn verify_link(&self, link: &str, reference: &str, status: &str, payment: &str, signature: &str) -> bool {
        self.verify(&[link, reference, status, payment], signature)
    }

    fn verify(&self, parts: &[&str], signature: &str) -> bool {
        // With the separator inside of a part, other parts could have the same signature.
        let are_plain = parts.iter().all(|part| !part.is_empty() && !part.contains('|'));
        are_plain && self.0.verify_hex(parts.join("|"), signature)
    }
}
