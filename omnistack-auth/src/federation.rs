//! External identities: tokens of external issuers, social sign-in, and the users they are provisioned and linked with.

pub(crate) mod external_identity;
pub mod issuer;
pub(crate) mod linked_identities;
pub(crate) mod linking;
pub(crate) mod provisioning;
pub(crate) mod routes;
pub mod social;
pub(crate) mod store;
