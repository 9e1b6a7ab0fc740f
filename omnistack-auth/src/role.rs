//! What the members of a tenant may do.
//!
//! Permissions are written `resource:action`. Modules use three actions: `read`, `write`, and `manage` for what concerns
//! the tenant itself (members, roles, billing). Whatever else there is (`tenant:transfer`, `tenant:delete`) is the owner's.

use omnistack_core::identity::Permissions;

/// The roles every tenant has, and what each may do, from the most to the least.
pub const ROLES: [(&str, &str); 4] =
    [("owner", "*"), ("admin", "*:read *:write *:manage"), ("developer", "*:read *:write"), ("viewer", "*:read")];

/// Who may do everything, and can't be the last to leave.
pub const OWNER: &str = "owner";

/// Permissions that are the owner's alone: giving one of them is giving a share in the ownership.
pub(crate) const OWNERSHIP: [&str; 2] = ["tenant:transfer", "tenant:delete"];

/// What a role that every tenant has may do; nothing for the name of any other.
pub fn built_in(role: &str) -> Option<Permissions> {
    ROLES.iter().find(|(name, _)| *name == role).and_then(|(_, permissions)| permissions.parse().ok())
}

/// What these routes ask for, so that roles can be made of them.
pub(crate) const KNOWN: [&str; 9] = [
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

/// What the holder of a role may do: of one every tenant has, or of one of the tenant's own, which lists its permissions.
/// Of one that is gone: nothing.
pub(crate) fn permissions(role: &str, own: Option<&str>) -> Permissions {
    built_in(role).or_else(|| own?.parse().ok()).unwrap_or_default()
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
            let allowed = ROLES.map(|(role, _)| built_in(role).unwrap().allows(permission));
            assert_eq!(allowed, expected, "{permission}");
        }
        assert_eq!(built_in("root"), None);
    }
}
