//! The limits of connections and of their commands.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use omnistack_core::{
    http::Rate,
    identity::{Identity, TenantId, UserId},
};

use crate::settings::RealtimeSettings;

/// The numbers of open connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounts {
    users: HashMap<UserId, u32>,
    tenants: HashMap<TenantId, u32>,
    addresses: HashMap<IpAddr, u32>,
}

impl ConnectionCounts {
    /// Counts a connection of an address. Returns false if the address has too many.
    pub(super) fn admit_address(&mut self, address: Option<IpAddr>, settings: &RealtimeSettings) -> bool {
        address.is_none_or(|address| admit(&mut self.addresses, network(address), settings.max_connections_per_address))
    }

    /// Counts a connection of a user. Returns false if the user or the tenant has too many.
    pub(super) fn admit_caller(&mut self, caller: &Identity, settings: &RealtimeSettings) -> bool {
        if !admit(&mut self.users, caller.user, settings.max_connections_per_user) {
            return false;
        }
        let Some(tenant) = caller.tenant else { return true };
        let is_admitted = admit(&mut self.tenants, tenant, settings.max_connections_per_tenant);
        if !is_admitted {
            release(&mut self.users, caller.user);
        }
        is_admitted
    }

    pub(super) fn release_address(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address {
            release(&mut self.addresses, network(address));
        }
    }

    pub(super) fn release_caller(&mut self, caller: &Identity) {
        release(&mut self.users, caller.user);
        if let Some(tenant) = caller.tenant {
            release(&mut self.tenants, tenant);
        }
    }

    /// Returns the numbers of users and of tenants with a connection.
    pub(super) fn users_and_tenants(&self) -> (usize, usize) {
        (self.users.len(), self.tenants.len())
    }
}

/// Counts one more, unless there are as many as the limit. A limit of 0 is none.
fn admit<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K, limit: u32) -> bool {
    let count = counts.entry(key).or_default();
    if limit > 0 && *count >= limit {
        return false;
    }
    *count = count.saturating_add(1);
    true
}

fn release<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        if *count.get() > 1 {
            *count.get_mut() -= 1;
        } else {
            count.remove();
        }
    }
}

/// Returns the address, or the /64 network of an IPv6 address, which usually belongs to one customer.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

/// The number of sign-ins in progress.
#[derive(Debug, Default)]
pub(super) struct SignIns(AtomicU32);

/// A guard that counts a sign-in until it is dropped.
pub(super) struct SignInGuard<'a>(&'a SignIns);

impl SignIns {
    /// Counts a sign-in until the guard is dropped. Returns `None` if `limit` sign-ins are in progress. 0 is no limit.
    pub(super) fn begin(&self, limit: u32) -> Option<SignInGuard<'_>> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let guard = SignInGuard(self);
        (limit == 0 || before < limit).then_some(guard)
    }
}

impl Drop for SignInGuard<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The rate of a connection's commands, as a token bucket (ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct CommandRate {
    /// Microseconds of the hub's clock at which the bucket is full again.
    full_at: u64,
    /// Refused commands, less the admitted ones after them.
    refused: u32,
}

/// The decision about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandDecision {
    Admitted,
    Refused,
    /// The client goes on although its commands are refused.
    Abused,
}

impl CommandRate {
    /// Decides about a command at `now`, the time since the hub's clock was created.
    pub(super) fn decide(&mut self, rate: &Rate, now: Duration) -> CommandDecision {
        let now = micros(now);
        let burst = u64::from(rate.burst.max(1));
        let interval = (micros(rate.window) / u64::from(rate.quota.max(1))).max(1);
        let full_at = self.full_at.max(now).saturating_add(interval);
        if full_at - now <= interval.saturating_mul(burst) {
            self.full_at = full_at;
            self.refused = self.refused.saturating_sub(1);
            return CommandDecision::Admitted;
        }
        self.refused = self.refused.saturating_add(1);
        if self.refused > rate.burst.max(rate.quota) { CommandDecision::Abused } else { CommandDecision::Refused }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_a_burst_and_then_their_rate() {
        let rate = Rate::new(10, Duration::from_secs(1)).burst(3);
        let mut commands = CommandRate::default();
        let mut decide = |millis| commands.decide(&rate, Duration::from_millis(millis));
        assert_eq!([decide(0), decide(0), decide(0)], [CommandDecision::Admitted; 3]);
        assert_eq!([decide(0), decide(99)], [CommandDecision::Refused; 2]);
        assert_eq!([decide(100), decide(200)], [CommandDecision::Admitted; 2]);
        let decisions: Vec<_> = (0..11).map(|_| decide(200)).collect();
        assert!(decisions[..10].iter().all(|decision| *decision == CommandDecision::Refused));
        assert_eq!(decisions[10], CommandDecision::Abused);
    }

    #[test]
    fn addresses_of_a_network_are_counted_together() {
        let mut counts = HashMap::new();
        let [near, neighbour, far] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"];
        for (address, expected) in [(near, true), (neighbour, true), (near, false), (far, true)] {
            assert_eq!(admit(&mut counts, network(address.parse().unwrap()), 2), expected, "{address}");
        }
        release(&mut counts, network(near.parse().unwrap()));
        assert!(admit(&mut counts, network(neighbour.parse().unwrap()), 2));
        assert!((0..100).all(|_| admit(&mut counts, network(far.parse().unwrap()), 0)));
    }
}
