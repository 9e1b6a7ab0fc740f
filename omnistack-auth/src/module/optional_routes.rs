//! Routes that an app can leave out.

/// Routes of the module that not every product has: see [`Auth::without`](crate::Auth::without). What the routes do is
/// still available to code.
///
/// ```
/// use omnistack_auth::{Auth, AuthRoutes};
///
/// let auth = Auth::built_in().without(AuthRoutes::Impersonation).without(AuthRoutes::ApiKeys);
/// # let _ = auth;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthRoutes {
    /// Teams, with their members, roles and invitations. Each user still has a tenant, and `/tenants/current` stays.
    Teams,
    /// Invitations to teams, and the page of their links.
    Invitations,
    /// Roles that a team defines.
    CustomRoles,
    /// API keys. Requests with existing keys are still accepted.
    ApiKeys,
    /// Passkeys. On the built-in pages, they are not offered.
    Passkeys,
    /// Impersonation of users by operators.
    Impersonation,
    /// Administration of users and tenants by operators, with impersonation.
    Operators,
    /// The audit log of the whole app, for operators.
    AuditLogs,
}

const INVITATIONS: [&str; 3] =
    ["/api/*/app/teams/{id}/invitations/**", "/api/*/app/invitations/**", "/api/*/public/auth/invitation/**"];
const IMPERSONATION: [&str; 2] = ["/api/*/admin/impersonate/**", "/api/*/app/impersonation/**"];

impl AuthRoutes {
    /// Returns the patterns of the routes.
    pub(super) fn patterns(self) -> Vec<&'static str> {
        match self {
            Self::Teams => ["/api/*/app/teams/**"].into_iter().chain(INVITATIONS).collect(),
            Self::Invitations => INVITATIONS.to_vec(),
            Self::CustomRoles => vec!["/api/*/app/teams/{id}/roles/**"],
            Self::ApiKeys => vec!["/api/*/app/api-keys/**"],
            Self::Passkeys => {
                vec![
                    "/api/*/public/auth/passkeys/**",
                    "/api/*/app/auth/passkeys/**",
                    "/api/*/public/auth/mfa/passkey/**",
                ]
            }
            Self::Impersonation => IMPERSONATION.to_vec(),
            Self::Operators => {
                ["/api/*/admin/users/**", "/api/*/admin/tenants/**"].into_iter().chain(IMPERSONATION).collect()
            }
            Self::AuditLogs => vec!["/api/*/admin/audit-logs/**"],
        }
    }
}
