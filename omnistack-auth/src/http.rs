//! The routes, by what they are about.

pub(crate) mod account;
pub(crate) mod credential;
pub(crate) mod factor;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod me;
pub(crate) mod session;
mod visitor;
pub(crate) mod webhook;
