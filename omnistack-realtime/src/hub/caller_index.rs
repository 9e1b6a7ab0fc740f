//! The connections of users, tenants and sessions.

use std::collections::BTreeSet;

use omnistack_core::identity::{Identity, IdentityScope, SessionId, TenantId, UserId};

/// The numbers of connections by what a change of identities can concern. A set of pairs takes less memory than a set
/// for each user.
#[derive(Debug, Default)]
pub(super) struct CallerIndex {
    /// The connections of each user, including those of operators who act for the user.
    users: BTreeSet<(UserId, u64)>,
    tenants: BTreeSet<(TenantId, u64)>,
    sessions: BTreeSet<(SessionId, u64)>,
}

impl CallerIndex {
    /// Adds a connection of a caller.
    pub(super) fn insert(&mut self, caller: &Identity, number: u64) {
        self.users.insert((caller.user, number));
        self.users.extend(caller.impersonator.map(|user| (user, number)));
        self.tenants.extend(caller.tenant.map(|tenant| (tenant, number)));
        self.sessions.extend(caller.session.map(|session| (session, number)));
    }

    /// Removes a connection. The caller is the one with which it was added.
    pub(super) fn remove(&mut self, caller: &Identity, number: u64) {
        self.users.remove(&(caller.user, number));
        if let Some(user) = caller.impersonator {
            self.users.remove(&(user, number));
        }
        if let Some(tenant) = caller.tenant {
            self.tenants.remove(&(tenant, number));
        }
        if let Some(session) = caller.session {
            self.sessions.remove(&(session, number));
        }
    }

    /// Returns the connections whose callers a scope covers. Returns `None` for a scope that is not indexed.
    pub(super) fn covered(&self, scope: IdentityScope) -> Option<Vec<u64>> {
        match scope {
            IdentityScope::User(user) => Some(self.of_user(user)),
            IdentityScope::Tenant(tenant) => Some(self.of_tenant(tenant)),
            IdentityScope::Session(session) => Some(numbers(&self.sessions, session)),
            _ => None,
        }
    }

    /// Returns the connections of a user, with those of other users for whom the user acts.
    pub(super) fn of_user(&self, user: UserId) -> Vec<u64> {
        numbers(&self.users, user)
    }

    /// Returns the connections of the callers in a tenant.
    pub(super) fn of_tenant(&self, tenant: TenantId) -> Vec<u64> {
        numbers(&self.tenants, tenant)
    }
}

fn numbers<K: Copy + Ord>(entries: &BTreeSet<(K, u64)>, key: K) -> Vec<u64> {
    entries.range((key, u64::MIN)..=(key, u64::MAX)).map(|(_, number)| *number).collect()
}
