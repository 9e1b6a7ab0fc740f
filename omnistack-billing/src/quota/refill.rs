//! Takes units out of allowances, and reserves more for them.

use std::sync::Arc;

use omnistack_core::{db, http::Error, id::Id, trace, usage::UsageEvent};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::{
    allowance::{Allowance, ProcessTime, Share, TakeOutcome, UnitsRequest, UnusedUnits},
    claim::{LimitClaim, MeterLimit, is_refusal},
    handle::Quotas,
    reservation::Reservation,
};
use crate::{
    meter::Meter,
    window::reservations::{self, LimitUse, NewReservation, ReserveOutcome},
};

impl Quotas {
    /// Takes units for an event out of an allowance. Returns the reservation that holds them, or `None` if the plan has
    /// no hard limit.
    pub(super) async fn take(&self, event: &UsageEvent, meter: &Meter, units: i64) -> Result<Option<Uuid>, Error> {
        let (tenant, environment, at) = (event.tenant, event.environment, event.at);
        let mut waiting = None;
        let mut turn: Option<OwnedMutexGuard<()>> = None;
        loop {
            // Again after each wait, because the plan can change meanwhile.
            let entitled = self.entitled(tenant).await?;
            let MeterLimit::Hard(limit) = MeterLimit::of(&entitled, meter) else { return Ok(None) };
            let allowance = self.allowances().get((tenant, environment, meter.name()));
            let request = UnitsRequest { units, at, entitled: &entitled, now: ProcessTime::of(self.clock()) };
            let outcome = allowance.take(&request);
            if let TakeOutcome::Taken(id) = outcome {
                allowance.allowed.increment(1);
                return Ok(Some(id));
            }
            let claim = LimitClaim { tenant, environment, meter: meter.clone(), entitled, limit, units, at };
            let refused = match (outcome, turn.take()) {
                (TakeOutcome::Refused(of_limit), _) => Some(of_limit),
                // Rare, so it needs no allowance.
                (TakeOutcome::EarlierPeriod, _) => return self.hold_for_event(claim, &allowance).await,
                (_, Some(turn)) => self.refill(&allowance, &claim, turn).await?,
                (_, None) => {
                    // The task that refills reserves as much as all of them wait for.
                    waiting.get_or_insert_with(|| allowance.wait_for(units));
                    let failures = allowance.failures();
                    turn = Some(Arc::clone(&allowance.refilling).lock_owned().await);
                    // Without the database, each task would wait as long as the one before it.
                    if let Some(error) = allowance.failure_after(failures) {
                        return Err(error.into());
                    }
                    None
                }
            };
            if let Some(of_limit) = refused {
                allowance.refused.increment(1);
                return Err(self.limit_reached(&claim, of_limit));
            }
        }
    }

    /// Reserves units for one event, until the ledger has stored it.
    async fn hold_for_event(&self, claim: LimitClaim, allowance: &Allowance) -> Result<Option<Uuid>, Error> {
        let held = self.hold(claim, self.allowance_ttl()).await;
        match &held {
            Ok(_) => allowance.allowed.increment(1),
            Err(error) if is_refusal(error) => allowance.refused.increment(1),
            Err(_) => {}
        }
        Ok(held?.keep())
    }

    /// Reserves more units for an allowance. Returns what is used of the limit if it refuses.
    async fn refill(
        &self,
        allowance: &Arc<Allowance>,
        claim: &LimitClaim,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Option<LimitUse>, Error> {
        let (quotas, allowance, claim) = (self.clone(), Arc::clone(allowance), claim.clone());
        // In a task of its own: if the caller is dropped while the database commits, the units are still added.
        let task = async move {
            let result = quotas.refill_now(&allowance, &claim).await;
            let result = result.map_err(|error| allowance.fail(error));
            drop(turn);
            result
        };
        tokio::spawn(trace::propagate(task)).await.unwrap_or_else(|error| Err(Error::internal(error)))
    }

    async fn refill_now(&self, allowance: &Allowance, claim: &LimitClaim) -> Result<Option<LimitUse>, Error> {
        let LimitClaim { tenant, meter, entitled, limit, units, at, .. } = claim;
        let request = UnitsRequest { units: *units, at: *at, entitled, now: ProcessTime::of(self.clock()) };
        if let Some(share) = allowance.replace_share(&request) {
            // Before more is reserved, since it may be all that the limit has left.
            self.give_back(share).await;
        }
        let (id, window, period) = match allowance.current() {
            Some(current) => current,
            None => {
                let (window, period) = self.window(claim).await?;
                (Id::<Reservation>::new(self.clock().now()).uuid(), window, period)
            }
        };
        let began = ProcessTime::of(self.clock());
        let ttl = self.allowance_ttl();
        let expires_at = began.wall + ttl;
        let new = NewReservation { id, key: &window, meter, limit: *limit, now: began.wall, expires_at };
        let request = UnitsRequest { now: began, ..request };
        let mut tx = self.db().tenant(*tenant).begin().await?;
        let outcome = reservations::reserve(&mut tx, &new, allowance.missing(&request)).await?;
        if let Err(error) = tx.commit().await {
            allowance.abandon(id);
            return Err(error.into());
        }
        match outcome {
            ReserveOutcome::Refused(of_limit) => {
                allowance.refuse(&request, period, of_limit);
                Ok(Some(of_limit))
            }
            ReserveOutcome::Reserved { granted, held } => {
                let share = Share {
                    id,
                    window,
                    period,
                    entitled: Arc::clone(entitled),
                    left: granted,
                    valid_until: began.end_of_share(ttl),
                    renewed: began.elapsed,
                    created: began.elapsed,
                    used: began.elapsed,
                };
                allowance.refill(share, held);
                Ok(None)
            }
        }
    }

    /// Gives back what is left of a share, and renews it once more, for what is used of it and not stored yet.
    async fn give_back(&self, share: Share) {
        let Share { window, id, left: units, .. } = share;
        let tenant = window.tenant;
        if let Err(error) = self.try_give_back(UnusedUnits { window, id, units }).await {
            tracing::warn!(target: "omnistack::usage", %tenant, %error,
                "units of a limit could not be given back; their reservation expires by itself");
        }
    }

    async fn try_give_back(&self, unused: UnusedUnits) -> Result<(), db::Error> {
        let UnusedUnits { window, id, units } = unused;
        let expires_at = self.clock().now() + self.allowance_ttl();
        let mut tx = self.db().tenant(window.tenant).begin().await?;
        reservations::shrink(&mut tx, window.tenant, id, units).await?;
        reservations::extend(&mut tx, &[id], expires_at).await?;
        tx.commit().await
    }
}
