//! All SQL of the crate, one module for each subject.

pub(crate) mod account;
pub(crate) mod admin;
pub(crate) mod api_key;
pub(crate) mod attempt;
pub(crate) mod factor;
pub(crate) mod identity;
pub(crate) mod invitation;
pub(crate) mod member;
pub(crate) mod one_time;
#[cfg(feature = "passkeys")]
pub(crate) mod passkey;
pub(crate) mod session;
pub(crate) mod signing;
#[cfg(feature = "sms")]
pub(crate) mod sms_code;
pub(crate) mod tenant;
pub(crate) mod user;
