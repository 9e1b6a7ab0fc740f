//! The upkeep of allowances: those in use are renewed, and idle ones are given back.

use std::{sync::Arc, time::Duration};

use omnistack_core::{BoxError, ShutdownToken, db};
use uuid::Uuid;

use super::{
    allowance::{Allowance, ProcessTime, ShareUpkeep, UnusedUnits},
    handle::Quotas,
};
use crate::window::reservations;

/// The time between two rounds of upkeep.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Number of reservations that one transaction gives back, so that its locks are short.
const BATCH: usize = 50;

/// An allowance with units of it to give back.
type UnusedShare = (Arc<Allowance>, UnusedUnits);

impl Quotas {
    /// Gives back the units of allowances that were not used for a second, and renews the reservations of those that
    /// are in use. The module does this every second; this method is for tests, whose clock stands still.
    ///
    /// # Errors
    /// The errors of the database. What could not be given back expires by itself.
    pub async fn maintain_allowances(&self) -> Result<(), db::Error> {
        let (now, ttl) = (self.clock().elapsed(), self.allowance_ttl());
        let (mut unused, mut due) = (Vec::new(), Vec::new());
        for allowance in self.allowances().all() {
            match allowance.upkeep(now, ttl) {
                ShareUpkeep::None => {}
                ShareUpkeep::GiveBack(units) => unused.push((allowance, units)),
                ShareUpkeep::Renew(id, renewed) => due.push((allowance, id, renewed)),
            }
        }
        let given_back = self.give_back_all(unused).await;
        let renewed = self.renew(due).await;
        self.allowances().remove_unused();
        given_back.and(renewed)
    }

    /// Maintains allowances until the app shuts down. After that, requests that are still in progress use what is
    /// reserved, until [`stop`](Self::stop).
    pub(super) async fn run(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        let mut is_failing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(UPKEEP_INTERVAL) => {}
            }
            match self.maintain_allowances().await {
                Ok(()) => is_failing = false,
                Err(error) if !is_failing => {
                    is_failing = true;
                    tracing::warn!(target: "omnistack::usage", %error,
                        "reservations could not be renewed or given back; they expire by themselves");
                }
                Err(_) => {}
            }
        }
    }

    /// Gives back all allowances, at the end of the process.
    pub(crate) async fn stop(&self) {
        let unused = self.allowances().all().into_iter().filter_map(|allowance| {
            let units = allowance.close()?;
            Some((allowance, units))
        });
        if let Err(error) = self.give_back_all(unused.collect()).await {
            tracing::warn!(target: "omnistack::usage", %error,
                "units of limits could not be given back; their reservations expire by themselves");
        }
    }

    /// Gives units back, which are no longer in the allowances.
    async fn give_back_all(&self, mut unused: Vec<UnusedShare>) -> Result<(), db::Error> {
        let mut result = Ok(());
        // The order in which the ledger locks windows.
        unused.sort_by(|(_, one), (_, other)| one.cmp(other));
        for batch in unused.chunks(BATCH) {
            let given_back = self.give_back_batch(batch).await;
            for (allowance, UnusedUnits { id, .. }) in batch {
                match given_back {
                    Ok(()) => allowance.forget_refusals(),
                    Err(_) => allowance.abandon(*id),
                }
            }
            result = result.and(given_back);
        }
        result
    }

    async fn give_back_batch(&self, batch: &[UnusedShare]) -> Result<(), db::Error> {
        // The allowances are those of several tenants.
        let mut tx = self.db().all_tenants().begin().await?;
        for (_, UnusedUnits { window, id, units }) in batch {
            reservations::shrink(&mut tx, window.tenant, *id, *units).await?;
        }
        tx.commit().await
    }

    /// Renews the reservations of allowances, given with the times of their last renewals.
    async fn renew(&self, due: Vec<(Arc<Allowance>, Uuid, Duration)>) -> Result<(), db::Error> {
        if due.is_empty() {
            return Ok(());
        }
        let began = ProcessTime::of(self.clock());
        let ttl = self.allowance_ttl();
        let ids: Vec<Uuid> = due.iter().map(|(_, id, _)| *id).collect();
        // The allowances are those of several tenants.
        let mut tx = self.db().all_tenants().begin().await?;
        let result = reservations::extend(&mut tx, &ids, began.wall + ttl).await?;
        tx.commit().await?;
        let valid_until = began.end_of_share(ttl);
        for (allowance, id, seen) in due {
            if result.renewed.contains(&id) {
                allowance.renewed(id, began.elapsed, valid_until);
            } else if result.missing.contains(&id) {
                allowance.lost(id, seen);
            }
        }
        Ok(())
    }
}
