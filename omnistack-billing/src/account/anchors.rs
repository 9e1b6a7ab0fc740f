//! Changes of the anchor and of the time zone of billing periods: rules without I/O.

use jiff::tz::TimeZone;
use omnistack_core::{clock::Timestamp, db::Error, identity::TenantId};

use crate::period::{BillingAnchor, BillingInterval, BillingPeriod, PeriodSchedule};

/// An anchor as it is stored, and the time from which it counts. Without `anchor`, periods are calendar months.
#[derive(Clone, Debug, PartialEq, Eq, omnistack_core::db::FromRow)]
pub(super) struct StoredAnchor {
    /// 1970 for the first, which counts always.
    pub(super) since: Timestamp,
    pub(super) zone: String,
    pub(super) anchor: Option<Timestamp>,
    pub(super) period: String,
}

impl StoredAnchor {
    /// Returns the anchor. Zones and intervals were checked before they were stored, and intervals when they were loaded; a
    /// database of time zones that no longer has a zone gives UTC.
    fn to_anchor(&self) -> BillingAnchor {
        // Most accounts are in UTC, and don't need the database of time zones, which takes long to open.
        let zone = if self.zone == "UTC" { None } else { TimeZone::get(&self.zone).ok() };
        let zone = zone.unwrap_or(TimeZone::UTC);
        match self.anchor {
            None => PeriodSchedule::calendar_months(zone).anchor_at(Timestamp::default()).clone(),
            Some(at) => BillingAnchor::new(at, self.period.parse().unwrap_or(BillingInterval::MONTH), zone),
        }
    }

    /// Returns whether two anchors give the same periods.
    fn has_same_periods(&self, other: &Self) -> bool {
        (&self.zone, self.anchor, &self.period) == (&other.zone, other.anchor, &other.period)
    }
}

/// The anchors of an account: the earlier ones in their order, and the last one, which may count only from a time in
/// the future.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnchorHistory {
    pub(super) earlier: Vec<StoredAnchor>,
    pub(super) current: StoredAnchor,
}

impl AnchorHistory {
    /// Returns the anchors of an account that were loaded. Fails if the interval of one can't be read: another one would
    /// bill the tenant too often or too seldom.
    pub(super) fn checked(self, tenant: TenantId) -> Result<Self, Error> {
        let is_readable = |anchor: &StoredAnchor| anchor.period.parse::<BillingInterval>().is_ok();
        if !self.earlier.iter().all(is_readable) {
            return Err(Error::unreadable("omni_billing_anchors", tenant, "period"));
        }
        if !is_readable(&self.current) {
            return Err(Error::unreadable("omni_billing_accounts", tenant, "period"));
        }
        Ok(self)
    }

    /// Returns the billing periods.
    pub(super) fn schedule(&self) -> PeriodSchedule {
        let first = self.earlier.first().unwrap_or(&self.current);
        let later = self.earlier.iter().chain([&self.current]).skip(1);
        later.fold(PeriodSchedule::new(first.to_anchor()), |schedule, next| schedule.then(next.since, next.to_anchor()))
    }

    /// Sets the anchor and the interval. The period that contains `now` begins anew: at the boundary of the new anchor
    /// before `now`, or at `now` if the anchor is later, but not before usage that is billed. Returns `false` if
    /// nothing changes.
    pub(super) fn set_anchor(
        &mut self,
        anchor: Timestamp,
        interval: BillingInterval,
        closed_until: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let next = StoredAnchor {
            since: now,
            zone: self.current.zone.clone(),
            anchor: Some(anchor),
            period: interval.to_string(),
        };
        if self.current.has_same_periods(&next) {
            return false;
        }
        let start = if anchor > now { now } else { next.to_anchor().period_at(now).start };
        let start = closed_until.map_or(start, |closed| start.max(closed));
        self.drop_future(now);
        let since = start.max(self.current.since);
        self.push(StoredAnchor { since, ..next });
        true
    }

    /// Sets the time zone from the end of the running period on. Returns `false` if nothing changes.
    ///
    /// Where the boundaries of the new zone are later than those of the old one, there would be a period of some hours,
    /// with the limits and the price of a whole one. It is joined with the next period.
    pub(super) fn set_zone(&mut self, zone: &str, now: Timestamp) -> bool {
        if self.current.zone == zone {
            return false;
        }
        let boundary = self.schedule().period_at(now).end;
        let next = StoredAnchor { since: boundary, zone: zone.to_owned(), ..self.current.clone() };
        self.drop_future(now);
        if self.current.has_same_periods(&next) {
            return true;
        }
        let anchor = next.to_anchor();
        let BillingPeriod { start, end } = anchor.period_at(boundary);
        if end.duration_since(boundary) < boundary.duration_since(start) {
            let interval = anchor.interval();
            let longer = BillingInterval::new(interval.unit(), interval.count().saturating_mul(2));
            self.push(StoredAnchor { anchor: Some(boundary), period: longer.to_string(), ..next.clone() });
            self.push(StoredAnchor { since: anchor.period_at(end).end, ..next });
        } else {
            self.push(next);
        }
        true
    }

    /// Removes the anchors that don't count yet.
    fn drop_future(&mut self, now: Timestamp) {
        while self.current.since > now {
            let Some(before) = self.earlier.pop() else { return };
            self.current = before;
        }
    }

    /// Adds an anchor that counts after the current one. One that counts from the same time replaces it.
    fn push(&mut self, next: StoredAnchor) {
        let before = std::mem::replace(&mut self.current, next);
        if before.since < self.current.since {
            self.earlier.push(before);
        }
    }
}

#[cfg(test)]
mod tests;
