//! Routes of social sign-in, linked identities and webhooks of identity providers.

pub(crate) mod social;
pub(crate) mod webhooks;
