//! The routes, by what they are about.

pub(crate) mod account;
pub(crate) mod credential;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod me;
pub(crate) mod session;
pub(crate) mod social;
mod visitor;
pub(crate) mod webhook;
