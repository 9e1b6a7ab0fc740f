//! Routes of tenants, teams, members, roles and invitations.

pub(crate) mod current;
pub(crate) mod invitations;
pub(crate) mod members;
pub(crate) mod roles;
pub(crate) mod teams;
