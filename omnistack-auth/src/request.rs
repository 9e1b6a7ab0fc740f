//! The caller of a request: authentication of its credentials, and the tenant it selects.

pub(crate) mod authenticator;
pub(crate) mod tenant_selection;
