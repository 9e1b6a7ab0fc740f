//! For operators.

pub(crate) mod impersonation;
pub(crate) mod tenants;
pub(crate) mod users;
