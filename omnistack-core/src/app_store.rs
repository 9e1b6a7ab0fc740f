//! Verification of what the App Store signs: notifications, and transactions that devices send.
//!
//! The webhooks of the App Store and the subscriptions that are bought in it are of different modules, and both verify
//! with [`AppleVerifier`].

mod notification;
mod verifier;

pub use notification::AppleNotificationSubject;
pub use verifier::AppleVerifier;

/// Apple Root CA - G3 in DER, from <https://www.apple.com/certificateauthority/>. It is valid until April 2039.
pub const APPLE_ROOT: &[u8] = include_bytes!("app_store/AppleRootCA-G3.cer");
