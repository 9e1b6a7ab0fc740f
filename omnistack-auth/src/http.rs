//! The HTTP routes, one module for each subject.

pub(crate) mod account;
pub(crate) mod admin;
pub(crate) mod api_key;
pub(crate) mod credential;
pub(crate) mod factor;
pub(crate) mod invitation;
pub(crate) mod invited;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod me;
pub(crate) mod member;
#[cfg(feature = "passkeys")]
pub(crate) mod passkey;
pub(crate) mod role;
pub(crate) mod session;
#[cfg(feature = "sms")]
pub(crate) mod sms_code;
pub(crate) mod social;
pub(crate) mod team;
pub(crate) mod tenant;
mod visitor;
pub(crate) mod webhook;
