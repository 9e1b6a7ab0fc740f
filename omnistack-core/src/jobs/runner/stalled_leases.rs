//! Detection of stalled leases.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use crate::jobs::store::StalledLease;

/// Leases that have expired or expire soon, with the time since when this worker has seen them unchanged.
///
/// Clocks can jump. So a lease only counts as expired if it was not extended while this process watched it,
/// measured by a monotonic timer. A live worker extends its leases every third of their duration.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseWatch(HashMap<Uuid, (i32, i64, Instant)>);

impl LeaseWatch {
    /// Records the leases that expire soon. Returns those that have not changed for `patience`.
    pub(crate) fn note(&mut self, silent: Vec<StalledLease>, patience: Duration) -> Vec<StalledLease> {
        let now = Instant::now();
        let known = std::mem::take(&mut self.0);
        let mut given_up = silent;
        given_up.retain(|silent| {
            let known = known.get(&silent.id.uuid());
            let same = known.filter(|(lease, until, _)| (*lease, *until) == (silent.lease, silent.until));
            let since = same.map_or(now, |(_, _, since)| *since);
            self.0.insert(silent.id.uuid(), (silent.lease, silent.until, since));
            now.duration_since(since) >= patience
        });
        given_up
    }
}
