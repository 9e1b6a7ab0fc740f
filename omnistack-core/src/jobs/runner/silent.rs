//! Who has not been heard of.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use crate::jobs::store::Silent;

/// Leases that are over by the clock, or soon will be, and since when this worker has known them as they are.
///
/// Clocks jump: that a lease is over is believed only when nobody has lengthened it while this process looked on, by a timer
/// that knows nothing of the time of day. Who lives speaks every third of a lease.
#[derive(Clone, Debug, Default)]
pub(super) struct Listening(HashMap<Uuid, (i32, i64, Instant)>);

impl Listening {
    /// Takes note of the leases that end soon; gives back those that have been as they are for this long.
    pub(super) fn note(&mut self, silent: Vec<Silent>, patience: Duration) -> Vec<Silent> {
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
