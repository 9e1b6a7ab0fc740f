//! Windows that have changed, to tell tenants of their limits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use omnistack_core::{
    BoxError, ShutdownToken,
    clock::{Clock, Timestamp},
    db::{Db, Tx},
    events::Events,
};
use tokio::sync::Notify;

use crate::{
    account::BillingAccounts,
    meter::MeterSet,
    window::{WindowChange, WindowKey, alerts, limit_units},
};

/// Number of windows of which is remembered that their tenants were told.
const MAX_REMEMBERED: usize = 100_000;
/// Time for which that is remembered. The database knows it for longer.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

/// The windows that committed transactions have changed. A task compares them with the limits, after the commit, so that
/// recording usage waits for neither. If the process ends before that, the next change of the window makes up for it.
/// Cheap to clone.
#[derive(Clone)]
pub(super) struct ChangedWindows(Arc<ChangedInner>);

struct ChangedInner {
    db: Db,
    clock: Clock,
    events: Events,
    accounts: BillingAccounts,
    state: Mutex<ChangedState>,
    changed: Notify,
}

#[derive(Default)]
struct ChangedState {
    /// The amount that each window has counted.
    waiting: HashMap<WindowKey, i64>,
    /// The share of a limit in percent that the tenant was told of, and the time of that, by the window and the limit.
    told: HashMap<(WindowKey, i64), (u8, Timestamp)>,
}

impl ChangedWindows {
    pub(super) fn new(db: Db, clock: Clock, events: Events, accounts: BillingAccounts) -> Self {
        let (state, changed) = (Mutex::default(), Notify::new());
        Self(Arc::new(ChangedInner { db, clock, events, accounts, state, changed }))
    }

    /// Remembers windows once the transaction has committed.
    pub(super) fn after_commit(&self, tx: &mut Tx, changes: Vec<WindowChange>) {
        if changes.is_empty() {
            return;
        }
        let waiting = self.clone();
        tx.on_commit(move || {
            {
                let mut state = waiting.state();
                for WindowChange { key, after, .. } in changes {
                    let value = state.waiting.entry(key).or_insert(after);
                    *value = after.max(*value);
                }
            }
            waiting.0.changed.notify_one();
        });
    }

    /// Compares windows with their limits until the app shuts down.
    pub(super) async fn run(&self, meters: &MeterSet, shutdown: ShutdownToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.0.changed.notified() => {}
            }
            self.compare(meters).await;
        }
    }

    /// Compares the windows that have changed with their limits.
    pub(super) async fn compare(&self, meters: &MeterSet) {
        let waiting = std::mem::take(&mut self.state().waiting);
        for (key, after) in waiting {
            if let Err(error) = self.compare_window(meters, key.clone(), after).await {
                tracing::warn!(target: "omnistack::usage", tenant = %key.tenant, meter = key.meter, %error,
                    "a tenant could not be told of its limit; the next usage repeats it");
            }
        }
    }

    async fn compare_window(&self, meters: &MeterSet, key: WindowKey, after: i64) -> Result<(), BoxError> {
        let Some(meter) = meters.get(&key.meter) else { return Ok(()) };
        let entitled = self.0.accounts.entitled(key.tenant).await?;
        // The definition has the soft limits, too. A negative one is no limit.
        let limit = entitled.definition.limits.get(&key.meter).and_then(|limit| u64::try_from(*limit).ok());
        let Some(limit) = limit.map(|limit| limit_units(meter, limit)) else { return Ok(()) };
        let Some(reached) = alerts::reached_percent(after, limit) else { return Ok(()) };
        // Without a query, because windows above the first threshold change often.
        let (told, now) = ((key.clone(), limit), self.0.clock.now());
        if self.state().told.get(&told).is_some_and(|(share, at)| *share >= reached && now < *at + REMEMBERED_FOR) {
            return Ok(());
        }
        let tenant = key.tenant;
        let change = WindowChange { key, before: 0, after };
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        alerts::raise_in(&mut tx, &self.0.events, &[change], |_| Some(limit), meters, now).await?;
        tx.commit().await?;
        let mut state = self.state();
        if state.told.len() >= MAX_REMEMBERED {
            state.told.clear();
        }
        state.told.insert(told, (reached, now));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, ChangedState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
