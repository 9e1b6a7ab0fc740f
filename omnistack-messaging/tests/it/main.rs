//! Tests of messages through the public API.

#[cfg(feature = "contact")]
mod contact;
#[cfg(feature = "email")]
mod email;
#[cfg(feature = "email")]
mod outbox;
#[cfg(feature = "sms")]
mod sms;
