//! The share of each tenant in the lanes of a process.

use std::collections::HashMap;

use omnistack_core::id::TenantId;
use uuid::Uuid;

use crate::outbound::store::deliveries::{EndpointLease, EndpointWork};

/// Most endpoints of one tenant to which a process sends at once.
pub(super) const MAX_LANES_PER_TENANT: usize = 16;

/// Most failing endpoints of one tenant to which a process sends at once, so that there are lanes for the others.
const MAX_FAILING_LANES_PER_TENANT: usize = 8;

/// An endpoint that has a lane, or waits for one.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneCandidate {
    pub(super) endpoint: Uuid,
    pub(super) tenant: TenantId,
    /// Whether the last request to the endpoint failed.
    pub(super) is_failing: bool,
}

impl From<&EndpointWork> for LaneCandidate {
    fn from(work: &EndpointWork) -> Self {
        Self { endpoint: work.id, tenant: work.tenant_id, is_failing: work.failing_since.is_some() }
    }
}

impl From<&EndpointLease> for LaneCandidate {
    fn from(lease: &EndpointLease) -> Self {
        Self { endpoint: lease.id, tenant: lease.tenant_id, is_failing: lease.failing_since.is_some() }
    }
}

/// The lanes of a tenant.
#[derive(Clone, Copy, Debug, Default)]
struct TenantLanes {
    all: usize,
    failing: usize,
}

impl TenantLanes {
    fn has_place(self, is_failing: bool) -> bool {
        self.all < MAX_LANES_PER_TENANT && !(is_failing && self.failing >= MAX_FAILING_LANES_PER_TENANT)
    }

    fn add(&mut self, is_failing: bool) {
        self.all += 1;
        self.failing += usize::from(is_failing);
    }
}

/// Chooses at most `places` of the endpoints that wait. Those of tenants with the fewest lanes come first, so that a
/// tenant with many slow endpoints does not delay the others; for a tenant, those that wait longest. `waiting` is in
/// this order for each tenant.
pub(super) fn choose(running: &[LaneCandidate], waiting: &[LaneCandidate], places: usize) -> Vec<Uuid> {
    let mut lanes: HashMap<TenantId, TenantLanes> = HashMap::new();
    for lane in running {
        lanes.entry(lane.tenant).or_default().add(lane.is_failing);
    }
    let mut chosen = Vec::new();
    for candidate in waiting {
        let lanes = lanes.entry(candidate.tenant).or_default();
        // A lane of this process may have lost its lease, and not know it yet.
        let is_running = running.iter().any(|lane| lane.endpoint == candidate.endpoint);
        if !is_running && lanes.has_place(candidate.is_failing) {
            chosen.push((lanes.all, candidate.endpoint));
            lanes.add(candidate.is_failing);
        }
    }
    // The sort is stable: among tenants with equally many lanes, the endpoint that waits longest comes first.
    chosen.sort_by_key(|(lanes, _)| *lanes);
    chosen.into_iter().take(places).map(|(_, endpoint)| endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an endpoint: `tenant * 100 + number`.
    fn endpoint(tenant: u128, number: u128, is_failing: bool) -> LaneCandidate {
        let id = Uuid::from_u128(tenant * 100 + number);
        LaneCandidate { endpoint: id, tenant: TenantId::from_uuid(Uuid::from_u128(tenant)), is_failing }
    }

    fn endpoints(tenant: u128, count: u128, is_failing: bool) -> Vec<LaneCandidate> {
        (0..count).map(|number| endpoint(tenant, number, is_failing)).collect()
    }

    fn chosen(running: &[LaneCandidate], waiting: &[LaneCandidate], places: usize) -> Vec<u128> {
        choose(running, waiting, places).into_iter().map(|id| id.as_u128()).collect()
    }

    #[test]
    fn a_tenant_with_few_lanes_comes_first() {
        let running = endpoints(1, 3, false);
        let waiting = [endpoint(1, 10, false), endpoint(1, 11, false), endpoint(2, 0, false), endpoint(3, 0, true)];
        assert_eq!(chosen(&running, &waiting, 3), [200, 300, 110]);
        assert_eq!(chosen(&running, &waiting, 9), [200, 300, 110, 111]);
        assert_eq!(chosen(&[], &waiting, 9), [110, 200, 300, 111], "in the order in which they wait");
        assert!(chosen(&running, &waiting, 0).is_empty());
    }

    #[test]
    fn a_tenant_has_a_limited_number_of_lanes() {
        let waiting = endpoints(1, 40, false);
        assert_eq!(chosen(&[], &waiting, 100).len(), MAX_LANES_PER_TENANT);
        let running = endpoints(1, 15, false);
        assert_eq!(chosen(&running, &waiting, 100), [115], "those that have lanes get no second one");
    }

    #[test]
    fn failing_endpoints_leave_lanes_to_the_others() {
        let mut waiting = endpoints(1, 40, true);
        waiting.extend((50..80).map(|number| endpoint(1, number, false)));
        let both = chosen(&[], &waiting, 100);
        assert_eq!(both.iter().filter(|id| **id < 150).count(), MAX_FAILING_LANES_PER_TENANT);
        assert_eq!(both.len(), MAX_LANES_PER_TENANT);
        let running = endpoints(1, 8, true);
        assert_eq!(chosen(&running, &waiting, 100), [150, 151, 152, 153, 154, 155, 156, 157]);
    }
}
