//! The routes, by what they are about.

pub(crate) mod keys;
pub(crate) mod me;
pub(crate) mod session;
pub(crate) mod webhook;
