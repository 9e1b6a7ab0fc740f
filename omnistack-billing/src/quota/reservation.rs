//! Reservations of one piece of work.

use std::time::Duration;

use omnistack_core::{
    db::{self, Tx},
    http::Error,
    id::Id,
    identity::TenantId,
    trace,
    usage::UsageEvent,
};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{allowance_map::AllowanceKey, claim::LimitClaim, handle::Quotas};
use crate::window::reservations::{self, NewReservation, RequestedUnits, ReserveOutcome};

/// A part of a limit that is held for work, from [`Quotas::reserve`]. It ends with [`settle_in`](Self::settle_in) or
/// [`release`](Self::release), or when it is dropped, also by a panic. If the process crashes, it expires.
#[derive(Debug)]
#[must_use = "a reservation that is dropped is released"]
pub struct Reservation {
    quotas: Quotas,
    /// `None` if there is no hard limit.
    guard: Option<ReservationGuard>,
}

impl Reservation {
    pub(super) fn new(quotas: &Quotas, guard: ReservationGuard) -> Self {
        Self { quotas: quotas.clone(), guard: Some(guard) }
    }

    /// Creates a reservation that holds nothing.
    pub(super) fn of_nothing(quotas: &Quotas) -> Self {
        Self { quotas: quotas.clone(), guard: None }
    }

    /// Stores what the work has really used, and ends the reservation, in a transaction of the work. The quantity may
    /// be smaller or larger than what was reserved: usage that has occurred always counts, also beyond the limit. If
    /// the transaction is rolled back, the event is not stored, and the reservation is released.
    ///
    /// The event is one of the same tenant and meter. It counts in the billing period of its time. Settle late in the
    /// transaction, because other transactions of the tenant that record usage wait for its end. Several reservations
    /// of a tenant can be settled in one transaction, in any order, as
    /// [`UsageSink::record_in`](omnistack_core::usage::UsageSink::record_in) can be called several times.
    ///
    /// # Errors
    /// The errors of the database. Roll back the transaction then.
    pub async fn settle_in(mut self, tx: &mut Tx, event: UsageEvent) -> Result<(), db::Error> {
        self.quotas.usage().record_in(tx, [event]).await?;
        let Some(guard) = self.guard.take() else { return Ok(()) };
        let Some(id) = guard.id() else { return Ok(()) };
        // The tables of billing are in the app's own database. In another one, and in a transaction that was not begun
        // for this tenant, the reservation is not found: it is released after the commit.
        let is_ended = !tx.in_tenant_database() && reservations::release(tx, guard.tenant(), id).await?;
        // Without a commit, the function is dropped, and the guard with it, which releases the reservation.
        tx.on_commit(move || {
            if is_ended {
                guard.quotas.forget_refusals(&guard);
                guard.keep();
            }
        });
        Ok(())
    }

    /// Ends the reservation without usage.
    ///
    /// # Errors
    /// The errors of the database. The reservation is then released in the background, or expires.
    pub async fn release(mut self) -> Result<(), db::Error> {
        let Some(guard) = self.guard.take() else { return Ok(()) };
        self.quotas.release(&guard).await?;
        guard.keep();
        Ok(())
    }
}

/// A guard that releases a reservation when it is dropped, in the background.
#[derive(Debug)]
pub(super) struct ReservationGuard {
    quotas: Quotas,
    allowance: AllowanceKey,
    /// `None` if there is nothing to release.
    id: Option<Uuid>,
}

impl ReservationGuard {
    pub(super) fn id(&self) -> Option<Uuid> {
        self.id
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.allowance.0
    }

    /// Returns the key of the allowance with the same limit.
    pub(super) fn allowance(&self) -> AllowanceKey {
        self.allowance
    }

    /// Ends the guard without a release. Returns the id of the reservation.
    pub(super) fn keep(mut self) -> Option<Uuid> {
        self.id.take()
    }
}

impl Drop for ReservationGuard {
    fn drop(&mut self) {
        // Without a runtime, the process ends, and the reservation expires.
        let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) else { return };
        let guard = Self { quotas: self.quotas.clone(), allowance: self.allowance, id: None };
        runtime.spawn(async move {
            match guard.quotas.release_by_id(guard.tenant(), id).await {
                Ok(()) => guard.quotas.forget_refusals(&guard),
                Err(error) => tracing::warn!(target: "omnistack::usage", tenant = %guard.tenant(), %error,
                    "a reservation could not be released; it expires by itself"),
            }
        });
    }
}

impl Quotas {
    /// Reserves the units of a claim.
    pub(super) async fn hold(&self, claim: LimitClaim, ttl: Duration) -> Result<ReservationGuard, Error> {
        let quotas = self.clone();
        // In a task of its own: if the caller is dropped while the database commits, the guard is dropped after that,
        // and releases what was reserved.
        let task = async move { quotas.hold_now(&claim, ttl).await };
        tokio::spawn(trace::propagate(task)).await.unwrap_or_else(|error| Err(Error::internal(error)))
    }

    async fn hold_now(&self, claim: &LimitClaim, ttl: Duration) -> Result<ReservationGuard, Error> {
        let (window, _) = self.window(claim).await?;
        let LimitClaim { tenant, environment, meter, limit, units, .. } = claim;
        let now = self.clock().now();
        let id = Id::<Reservation>::new(now).uuid();
        let new = NewReservation { id, key: &window, meter, limit: *limit, now, expires_at: now + ttl };
        let mut tx = self.db().tenant(*tenant).begin().await?;
        match reservations::reserve(&mut tx, &new, RequestedUnits::exactly(*units)).await? {
            ReserveOutcome::Reserved { .. } => {
                let allowance = (*tenant, *environment, meter.name());
                // Before the commit, whose result can get lost.
                let guard = ReservationGuard { quotas: self.clone(), allowance, id: Some(id) };
                tx.commit().await?;
                Ok(guard)
            }
            ReserveOutcome::Refused(of_limit) => {
                // What has expired is deleted.
                tx.commit().await?;
                Err(self.limit_reached(claim, of_limit))
            }
        }
    }
}
