//! All SQL of the crate, by what it is about.

pub(crate) mod identity;
pub(crate) mod session;
pub(crate) mod tenant;
pub(crate) mod user;
