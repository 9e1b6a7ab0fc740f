//! The app's handle to its quotas.

use std::{fmt, sync::Arc, time::Duration};

use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db},
    http::Error,
    identity::{Entitlements, TenantId},
    metrics::QUOTA_DECISIONS,
    usage::{DataEnvironment, Decimal, UsageEvent, UsageSink},
};
use uuid::Uuid;

use super::{
    allowance_map::AllowanceMap,
    claim::{LimitClaim, MeterLimit, can_be_reserved, is_refusal, units_of_amount, units_of_quantity},
    reservation::{Reservation, ReservationGuard},
};
use crate::{
    account::{BillingAccounts, Entitled},
    ledger::Ledger,
    meter::Meter,
    period::BillingPeriod,
    quantity::Quantity,
    window::{
        WindowKey,
        reservations::{self, LimitUse},
    },
};

/// The time after which a reservation of [`Quotas::reserve`] expires: ten minutes.
pub const RESERVATION_TTL: Duration = Duration::from_secs(10 * 60);
/// The time for which the reservation of an allowance lasts longer than the ledger keeps its use in memory.
const ALLOWANCE_RESERVE: Duration = Duration::from_secs(30);
/// Number of expired reservations that one statement deletes, so that its locks are short.
const BATCH: i64 = 1_000;

/// The app's quotas, from the [`Context`](omnistack_core::module::Context): limits of plans for what is used. Cheap to
/// clone.
///
/// ```
/// use omnistack_billing::Quotas;
/// use omnistack_core::{clock::Clock, db::Db, http::Error, identity::TenantId, usage::{UsageEvent, meters}};
///
/// /// Asks a language model. Its tokens are reserved before, and what it has really used is stored after.
/// async fn ask(db: &Db, quotas: &Quotas, clock: &Clock, tenant: TenantId, prompt: &str) -> Result<String, Error> {
///     let reservation = quotas.reserve(tenant, meters::AI_TOKENS, 4_000).await?;
///     // If this fails, the reservation is dropped, which releases it.
///     let (answer, tokens) = call_model(prompt).await?;
///     let mut tx = db.tenant(tenant).begin().await?;
///     let event = UsageEvent::new(tenant, meters::AI_TOKENS, tokens, clock.now());
///     reservation.settle_in(&mut tx, event).await?;
///     tx.commit().await?;
///     Ok(answer)
/// }
///
/// /// Counts a run, unless the plan allows no more of them.
/// async fn count_run(quotas: &Quotas, clock: &Clock, tenant: TenantId) -> Result<(), Error> {
///     quotas.consume(UsageEvent::new(tenant, meters::RUNS, 1, clock.now())).await
/// }
/// # async fn call_model(prompt: &str) -> Result<(String, u32), Error> { Ok((prompt.to_owned(), 1)) }
/// # let _ = (ask, count_run);
/// ```
#[derive(Clone)]
pub struct Quotas(Arc<QuotasInner>);

struct QuotasInner {
    ledger: Ledger,
    entitlements: Entitlements,
    usage: UsageSink,
    allowances: AllowanceMap,
    /// The time after which the reservations of allowances expire.
    allowance_ttl: Duration,
}

/// Parts of [`Quotas`].
pub(crate) struct QuotaParts {
    pub(crate) ledger: Ledger,
    pub(crate) entitlements: Entitlements,
    pub(crate) usage: UsageSink,
}

impl Quotas {
    pub(crate) fn new(parts: QuotaParts) -> Self {
        let QuotaParts { ledger, entitlements, usage } = parts;
        let allowance_ttl = ledger.settings().flush + ALLOWANCE_RESERVE;
        let allowances = AllowanceMap::default();
        Self(Arc::new(QuotasInner { ledger, entitlements, usage, allowances, allowance_ttl }))
    }

    /// Reserves an amount of a meter for work that begins now. It is never more than the plan allows, together with all
    /// that is used and reserved, in any process. End the reservation with [`settle_in`](Reservation::settle_in) or
    /// [`release`](Reservation::release). Dropping it releases it; after a crash, it expires after [`RESERVATION_TTL`].
    ///
    /// If the plan has no limit of the meter, or a soft one, the reservation holds nothing and is always granted. The
    /// amount of a meter that counts events is their number. Call this before the transaction of the work begins.
    ///
    /// # Errors
    /// 402 `PLAN_LIMIT_REACHED` with the details of
    /// [`Entitlements::limit_reached`](omnistack_core::identity::Entitlements::limit_reached), and `reserved`, which is
    /// included in `used`; 422 if the amount is negative, has more decimals than the meter, or is larger than 10^15 of
    /// its smallest units; 500 if the app has no such meter, or it neither adds up quantities nor counts events; 503 if
    /// the database is unavailable.
    pub async fn reserve(
        &self,
        tenant: TenantId,
        meter: &str,
        amount: impl Into<Decimal>,
    ) -> Result<Reservation, Error> {
        self.reserve_for(tenant, DataEnvironment::Live, meter, amount, RESERVATION_TTL).await
    }

    /// Reserves an amount like [`reserve`](Self::reserve), of the usage of an environment, for work that takes at most
    /// `ttl`.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve).
    pub async fn reserve_for(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        meter: &str,
        amount: impl Into<Decimal>,
        ttl: Duration,
    ) -> Result<Reservation, Error> {
        let meter = self.reservable_meter(meter)?;
        let units = units_of_amount(meter, amount.into())?;
        let entitled = self.entitled(tenant).await?;
        let limit = match MeterLimit::of(&entitled, meter) {
            MeterLimit::Hard(limit) if units > 0 => limit,
            _ => return Ok(Reservation::of_nothing(self)),
        };
        let at = self.clock().now();
        let claim = LimitClaim { tenant, environment, meter: meter.clone(), entitled, limit, units, at };
        let held = self.hold(claim, ttl).await;
        match &held {
            Ok(_) => QUOTA_DECISIONS.counter([meter.name(), "allowed"]).increment(1),
            Err(error) if is_refusal(error) => QUOTA_DECISIONS.counter([meter.name(), "refused"]).increment(1),
            Err(_) => {}
        }
        held.map(|guard| Reservation::new(self, guard))
    }

    /// Counts an event, if the plan allows it: the total of all processes is never more than a hard limit. It takes
    /// from an allowance in memory, and the event is stored a few seconds later, as that of
    /// [`UsageSink::count`](omnistack_core::usage::UsageSink::count). A crash loses the count, and never the limit. An
    /// event with a negative quantity, and one of a meter without a limit or with a soft one, is always counted.
    ///
    /// The last units of a limit can be in the allowance of another process, which gives them back within a few seconds
    /// if it does not use them.
    ///
    /// # Errors
    /// 422 if the meter can't count the quantity; 402 `PLAN_LIMIT_REACHED`, 500 and 503 as [`reserve`](Self::reserve).
    pub async fn consume(&self, event: UsageEvent) -> Result<(), Error> {
        let meter = self.reservable_meter(&event.meter)?;
        let units = units_of_quantity(meter, event.quantity)?;
        let reservation = if units > 0 { self.take(&event, meter, units).await? } else { None };
        match reservation {
            Some(id) => self.0.ledger.count_reserved(event, id),
            None => self.0.ledger.count(event),
        }
        Ok(())
    }

    /// Returns the meter of this name.
    pub(super) fn meter(&self, name: &str) -> Result<&Meter, Error> {
        let unknown = || Error::internal(format!("the app has no meter `{name}`: add it to the module `Billing`"));
        self.0.ledger.meters().get(name).ok_or_else(unknown)
    }

    /// Returns the meter of this name, of whose limits parts can be reserved.
    fn reservable_meter(&self, name: &str) -> Result<&Meter, Error> {
        let meter = self.meter(name)?;
        if can_be_reserved(meter) {
            return Ok(meter);
        }
        let message = format!("nothing is reserved of the meter `{name}`: it neither adds up nor counts events");
        Err(Error::internal(message))
    }

    /// Returns the current entitlements of a tenant, from memory if possible.
    pub(super) async fn entitled(&self, tenant: TenantId) -> Result<Arc<Entitled>, Error> {
        self.accounts().entitled(tenant).await
    }

    /// Returns the window that a limit applies to at a time, and the times for which it is the same.
    pub(super) async fn window(&self, claim: &LimitClaim) -> Result<(WindowKey, BillingPeriod), Error> {
        let LimitClaim { tenant, environment, meter, at, .. } = claim;
        let period = if meter.lifetime {
            BillingPeriod { start: Timestamp::from_micros(i64::MIN), end: Timestamp::from_micros(i64::MAX) }
        } else {
            self.accounts().schedule(*tenant).await?.schedule.period_at(*at)
        };
        Ok((WindowKey::of_limit(*tenant, *environment, meter, period.start), period))
    }

    /// Returns the error of a claim that a limit has refused.
    pub(super) fn limit_reached(&self, claim: &LimitClaim, of_limit: LimitUse) -> Error {
        let LimitClaim { meter, entitled, units, .. } = claim;
        let whole = 10_i64.pow(meter.decimals);
        let taken = of_limit.used.max(0).saturating_add(of_limit.reserved);
        let needed = taken.saturating_add(*units);
        // Rounded so that their sum is what a larger plan must allow.
        let used = (taken / whole).unsigned_abs();
        let needed = (needed / whole + i64::from(needed % whole > 0)).unsigned_abs();
        let error = self.0.entitlements.limit_reached(&entitled.plan, meter.name(), used, needed.saturating_sub(used));
        error.with_detail("reserved", Quantity::from_units(of_limit.reserved, meter.decimals))
    }

    /// Ends a reservation in a transaction of its own.
    pub(super) async fn release(&self, guard: &ReservationGuard) -> Result<(), db::Error> {
        let Some(id) = guard.id() else { return Ok(()) };
        self.release_by_id(guard.tenant(), id).await?;
        self.forget_refusals(guard);
        Ok(())
    }

    pub(super) async fn release_by_id(&self, tenant: TenantId, id: Uuid) -> Result<(), db::Error> {
        let mut tx = self.db().tenant(tenant).begin().await?;
        reservations::release(&mut tx, tenant, id).await?;
        tx.commit().await
    }

    /// Lets the next caller ask the database again, because a reservation has ended.
    pub(super) fn forget_refusals(&self, guard: &ReservationGuard) {
        if let Some(allowance) = self.0.allowances.find(guard.allowance()) {
            allowance.forget_refusals();
        }
    }

    /// Deletes the reservations that have expired. Returns their number.
    pub(super) async fn delete_expired(&self) -> Result<u64, db::Error> {
        let mut all = 0;
        loop {
            // The reservations are those of all tenants.
            let mut tx = self.db().all_tenants().begin().await?;
            let deleted = reservations::delete_expired(&mut tx, self.clock().now(), BATCH).await?;
            tx.commit().await?;
            all += deleted;
            if deleted < BATCH.unsigned_abs() {
                return Ok(all);
            }
        }
    }

    pub(super) fn accounts(&self) -> &BillingAccounts {
        self.0.ledger.accounts()
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(super) fn db(&self) -> &Db {
        self.0.ledger.db()
    }

    pub(super) fn clock(&self) -> &Clock {
        self.0.ledger.clock()
    }

    pub(super) fn usage(&self) -> &UsageSink {
        &self.0.usage
    }

    pub(super) fn allowances(&self) -> &AllowanceMap {
        &self.0.allowances
    }

    pub(super) fn allowance_ttl(&self) -> Duration {
        self.0.allowance_ttl
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quotas")
    }
}
