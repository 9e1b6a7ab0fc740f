//! The built-in roles of a tenant and their permissions.
//!
//! A permission has the form `resource:action`. Modules use three actions: `read`, `write`, and `manage` for the
//! administration of the tenant itself (members, roles, billing). All other actions (`tenant:transfer`,
//! `tenant:delete`) are reserved for owners.

use omnistack_core::identity::Permissions;

/// The built-in roles of every tenant with their permissions, from the most powerful to the least.
pub const ROLES: [(&str, &str); 4] =
    [("owner", "*"), ("admin", "*:read *:write *:manage"), ("developer", "*:read *:write"), ("viewer", "*:read")];

/// The role that has every permission. The last owner cannot leave a team.
pub const OWNER: &str = "owner";

/// The permissions that are reserved for owners: to grant one of them is to grant ownership.
pub(crate) const OWNER_PERMISSIONS: [&str; 2] = ["tenant:transfer", "tenant:delete"];

/// Returns the permissions of a built-in role, or `None` for any other name.
pub fn built_in_permissions(role: &str) -> Option<Permissions> {
    ROLES.iter().find(|(name, _)| *name == role).and_then(|(_, permissions)| permissions.parse().ok())
}

/// The permissions that this module's routes require, from which custom roles can be made.
pub(crate) const MODULE_PERMISSIONS: [&str; 9] = [
    "tenant:read",
    "tenant:manage",
    "tenant:delete",
    "tenant:transfer",
    "members:read",
    "members:manage",
    "roles:read",
    "roles:manage",
    "activity:read",
];

/// Returns the permissions of a role: of a built-in role, or of a custom role from its stored list `own`. Returns no
/// permissions for a role that does not exist any more.
pub(crate) fn permissions(role: &str, own: Option<&str>) -> Permissions {
    built_in_permissions(role).or_else(|| own?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_role_may_do() {
        for (permission, expected) in [
            ("projects:read", [true, true, true, true]),
            ("projects:write", [true, true, true, false]),
            ("members:manage", [true, true, false, false]),
            ("tenant:transfer", [true, false, false, false]),
        ] {
            let allowed = ROLES.map(|(role, _)| built_in_permissions(role).unwrap().allows(permission));
            assert_eq!(allowed, expected, "{permission}");
        }
        assert_eq!(built_in_permissions("root"), None);
    }
}
