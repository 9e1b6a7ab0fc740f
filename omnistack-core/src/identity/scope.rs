//! The scope of a change of identities, and the topic on which changes are published.

use std::{fmt, str::FromStr};

use super::{Identity, SessionId, TenantId, UserId};

/// The [`PubSub`](crate::pubsub::PubSub) topic of changes. Each message is an [`IdentityScope`] as text. A module that
/// provides an [`Authenticator`](super::Authenticator) publishes one after a sign-out, a revocation, or a change of a
/// role or a membership; what keeps an identity for longer than a request authenticates it again.
pub const IDENTITY_CHANGES_TOPIC: &str = "omnistack.identity";

/// The identities that a change may concern.
///
/// ```
/// use omnistack_core::{clock::Clock, id::Id, identity::{Identity, IdentityScope}};
///
/// let now = Clock::system().now();
/// let (user, tenant) = (Id::new(now), Id::new(now));
/// let caller = Identity::user(user).for_tenant(tenant);
/// assert!(IdentityScope::Tenant(tenant).covers(&caller));
/// assert!(!IdentityScope::User(Id::new(now)).covers(&caller));
///
/// let scope = IdentityScope::User(user);
/// assert_eq!(scope.to_string(), format!("user {user}"));
/// assert_eq!(scope.to_string().parse(), Ok(scope));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityScope {
    /// The identities of a user, and those of other users whom the user impersonates.
    User(UserId),
    /// The identities of a session.
    Session(SessionId),
    /// The identities of the members of a tenant, in that tenant.
    Tenant(TenantId),
}

impl IdentityScope {
    /// Returns whether an identity is in the scope.
    pub fn covers(self, identity: &Identity) -> bool {
        match self {
            Self::User(user) => identity.user == user || identity.impersonator == Some(user),
            Self::Session(session) => identity.session == Some(session),
            Self::Tenant(tenant) => identity.tenant == Some(tenant),
        }
    }
}

/// The error for text that is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is no scope of identities: write `user ID`, `session ID` or `tenant ID`")]
#[non_exhaustive]
pub struct InvalidIdentityScope;

impl FromStr for IdentityScope {
    type Err = InvalidIdentityScope;

    fn from_str(text: &str) -> Result<Self, InvalidIdentityScope> {
        let (kind, id) = text.split_once(' ').ok_or(InvalidIdentityScope)?;
        let scope = match kind {
            "user" => id.parse().map(Self::User),
            "session" => id.parse().map(Self::Session),
            "tenant" => id.parse().map(Self::Tenant),
            _ => return Err(InvalidIdentityScope),
        };
        scope.map_err(|_| InvalidIdentityScope)
    }
}

impl fmt::Display for IdentityScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Session(id) => write!(f, "session {id}"),
            Self::Tenant(id) => write!(f, "tenant {id}"),
        }
    }
}
