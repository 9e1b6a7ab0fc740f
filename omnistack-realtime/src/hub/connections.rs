//! The open connections of this process.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
};

use omnistack_core::identity::{Identity, IdentityScope, TenantId, UserId};

use super::{caller_index::CallerIndex, connection::Connection, limits::ConnectionCounts, lock};
use crate::{protocol::CloseCode, settings::RealtimeSettings};

/// The open connections, and their numbers by user, tenant and address.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<ConnectionTable>);

#[derive(Debug, Default)]
struct ConnectionTable {
    by_number: HashMap<u64, Arc<Connection>>,
    /// The numbers of connections with emulation, by their session secrets.
    by_session: HashMap<String, u64>,
    by_caller: CallerIndex,
    counts: ConnectionCounts,
    is_draining: bool,
    /// Whether there is maintenance.
    is_paused: bool,
}

/// Numbers of open connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectionTotals {
    pub(super) connections: usize,
    pub(super) users: usize,
    pub(super) tenants: usize,
}

impl Connections {
    /// Adds a connection. Fails while the process shuts down, during maintenance, and if the address has too many.
    pub(super) fn open(&self, connection: &Arc<Connection>, settings: &RealtimeSettings) -> Result<(), CloseCode> {
        let mut table = lock(&self.0);
        if table.is_draining || table.is_paused {
            return Err(CloseCode::Shutdown);
        }
        if !table.counts.admit_address(connection.address, settings) {
            return Err(CloseCode::ConnectionLimit);
        }
        table.by_number.insert(connection.number, Arc::clone(connection));
        if let Some(emulation) = &connection.emulation {
            table.by_session.insert(emulation.session.expose().to_owned(), connection.number);
        }
        Ok(())
    }

    /// Counts the caller of a connection. Fails if the user or the tenant has too many.
    pub(super) fn sign_in(&self, caller: &Identity, settings: &RealtimeSettings) -> Result<(), CloseCode> {
        let is_admitted = lock(&self.0).counts.admit_caller(caller, settings);
        if is_admitted { Ok(()) } else { Err(CloseCode::ConnectionLimit) }
    }

    /// Removes a connection. `caller` is its caller if it has signed in. Returns whether the process shuts down.
    pub(super) fn remove(&self, connection: &Connection, caller: Option<&Identity>) -> bool {
        let mut table = lock(&self.0);
        table.by_number.remove(&connection.number);
        if let Some(emulation) = &connection.emulation {
            table.by_session.remove(emulation.session.expose());
        }
        table.counts.release_address(connection.address);
        if let Some(caller) = caller {
            table.counts.release_caller(caller);
            table.by_caller.remove(caller, connection.number);
        }
        table.is_draining
    }

    /// Makes a connection known as one of a caller, in place of the caller that it had. Call it with the state of the
    /// connection locked, so that the index is that of the state.
    pub(super) fn set_caller(&self, number: u64, former: Option<&Identity>, caller: &Identity) {
        let mut table = lock(&self.0);
        if let Some(former) = former {
            table.by_caller.remove(former, number);
        }
        table.by_caller.insert(caller, number);
    }

    /// Returns the connections whose callers any of the scopes covers.
    pub(super) fn covered(&self, scopes: &HashSet<IdentityScope>) -> Vec<Arc<Connection>> {
        let table = lock(&self.0);
        let mut numbers = BTreeSet::new();
        for scope in scopes {
            match table.by_caller.covered(*scope) {
                Some(covered) => numbers.extend(covered),
                None => return table.by_number.values().cloned().collect(),
            }
        }
        table.of(numbers)
    }

    /// Returns the connections among which are those of a user in a tenant. `None` is any.
    pub(super) fn candidates(&self, user: Option<UserId>, tenant: Option<TenantId>) -> Vec<Arc<Connection>> {
        let table = lock(&self.0);
        match (user, tenant) {
            (Some(user), _) => table.of(table.by_caller.of_user(user)),
            (None, Some(tenant)) => table.of(table.by_caller.of_tenant(tenant)),
            (None, None) => table.by_number.values().cloned().collect(),
        }
    }

    /// Returns the connections with these numbers that are still open.
    pub(super) fn of(&self, numbers: Vec<u64>) -> Vec<Arc<Connection>> {
        lock(&self.0).of(numbers)
    }

    /// Returns the connection of a session secret.
    pub(super) fn by_session(&self, session: &str) -> Option<Arc<Connection>> {
        let table = lock(&self.0);
        table.by_session.get(session).and_then(|number| table.by_number.get(number)).cloned()
    }

    /// Returns all connections.
    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        lock(&self.0).by_number.values().cloned().collect()
    }

    /// Refuses new connections from now on, and returns those that are open.
    pub(super) fn begin_drain(&self) -> Vec<Arc<Connection>> {
        let mut table = lock(&self.0);
        table.is_draining = true;
        table.by_number.values().cloned().collect()
    }

    /// Refuses new connections until [`resume`](Self::resume), and returns those that are open.
    pub(super) fn pause(&self) -> Vec<Arc<Connection>> {
        let mut table = lock(&self.0);
        table.is_paused = true;
        table.by_number.values().cloned().collect()
    }

    /// Admits new connections again.
    pub(super) fn resume(&self) {
        lock(&self.0).is_paused = false;
    }

    pub(super) fn totals(&self) -> ConnectionTotals {
        let table = lock(&self.0);
        let (users, tenants) = table.counts.users_and_tenants();
        ConnectionTotals { connections: table.by_number.len(), users, tenants }
    }
}

impl ConnectionTable {
    fn of(&self, numbers: impl IntoIterator<Item = u64>) -> Vec<Arc<Connection>> {
        numbers.into_iter().filter_map(|number| self.by_number.get(&number).cloned()).collect()
    }
}
