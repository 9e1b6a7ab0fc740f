//! Routes of the built-in accounts.

pub(crate) mod credentials;
pub(crate) mod invitation_signup;
#[cfg(feature = "passkeys")]
pub(crate) mod passkeys;
pub(crate) mod registration;
pub(crate) mod second_factors;
pub(crate) mod sessions;
pub(crate) mod sign_in;
#[cfg(feature = "sms")]
pub(crate) mod sms_codes;
