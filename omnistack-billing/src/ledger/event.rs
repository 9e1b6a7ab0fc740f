//! Events as they arrive: what is checked before they are stored.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    id::Id,
    usage::{Decimal, UsageEvent},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    meter::{Aggregation, MAX_METER_NAME_BYTES, Meter},
    quantity::{Quantity, QuantityError},
};

/// Largest length of the source of an event, in bytes. That of a reported event has a prefix.
pub(super) const MAX_SOURCE_BYTES: usize = 255;
/// Largest length of the id of an event, in bytes.
pub(super) const MAX_EVENT_ID_BYTES: usize = 200;
/// Largest length of the category of an event, in bytes. A media type can be as long.
pub(super) const MAX_CATEGORY_BYTES: usize = 255;
/// The prefix of the sources of reported events in the ledger, so that none takes the id of an event of the app.
pub(super) const REPORTED_SOURCE_PREFIX: &str = "reported/";
/// Time by which the clock of a sender may be ahead.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// The result of recording an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsageOutcome {
    /// It is stored and counts.
    Accepted {
        /// Whether the billing period of its time is closed, so that it is billed in the current one.
        late: bool,
    },
    /// It was stored before.
    Duplicate,
    /// Another event was stored before with its source and id. It does not count.
    Conflict,
    /// It is stored, and counts nowhere, because the app has no meter of that name.
    Unmatched,
    /// It is not stored.
    Rejected(RejectReason),
}

impl UsageOutcome {
    /// Returns the name of the result, which is the status in responses and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted { late: false } => "accepted",
            Self::Accepted { late: true } => "late",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Unmatched => "unmatched",
            Self::Rejected(_) => "rejected",
        }
    }
}

/// The reason why an event is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectReason {
    /// The time of use is longer ago than `USAGE_MAX_AGE`.
    #[error("the time of use is too long ago")]
    TooOld,
    /// The time of use is more than five minutes ahead.
    #[error("the time of use is in the future")]
    InFuture,
    /// The billing period is closed, and the meter takes no late events.
    #[error("the billing period is closed, and the meter takes no late events")]
    PeriodClosed,
    /// A tenant has reported the event, and the meter takes no reports of tenants.
    #[error(
        "the meter takes no reports of tenants: report another meter, or let the app declare it with \
         `Meter::reported_by_tenants`"
    )]
    NotReportable,
    /// The tenant was deleted.
    #[error("the tenant was deleted, and has no usage: report that of another tenant")]
    TenantDeleted,
    /// The quantity has more decimals than the meter.
    #[error("the quantity has more decimals than the meter")]
    TooPrecise,
    /// The quantity is too large.
    #[error("the quantity is too large")]
    TooLarge,
    /// The meter counts events or their users or categories, and the quantity is negative, or what it counts is missing.
    #[error("the meter counts events, users or categories: the quantity must not be negative, and that must be set")]
    NotCountable,
    /// The quantity is negative, and a tenant has reported the event.
    #[error("the quantity is negative: only the app gives usage back")]
    Negative,
    /// A name is empty, too long, or has a NUL.
    #[error("the meter, the source, the id or the category is empty, too long, or has a NUL")]
    InvalidName,
}

/// The rules for the time of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventPolicy {
    /// Events are rejected if they are too old.
    Report,
    /// An operator enters events of any time in the past.
    Backfill {
        /// Whether events of closed periods are billed in the current one.
        billed: bool,
    },
}

/// An event that is to be stored.
#[derive(Clone, Debug)]
pub(super) struct NewUsage {
    pub(super) event: UsageEvent,
    /// The quantity as text, without zeros at its end.
    pub(super) quantity: String,
    /// The first 16 bytes of the hash of what counts. An event that is sent again has the same.
    pub(super) hash: [u8; 16],
    is_reported: bool,
}

impl NewUsage {
    /// Creates an event. With `timed`, the sender has stated the time of use, so that another time is another event.
    pub(super) fn new(mut event: UsageEvent, timed: bool) -> Self {
        let at = event.at;
        event.id.get_or_insert_with(|| Id::<Self>::new(at).to_string());
        let quantity = event.quantity.normalize().to_string();
        let at = if timed { event.at.as_micros().to_string() } else { String::new() };
        let user = event.user.map(|user| user.to_string()).unwrap_or_default();
        let category = event.category.as_deref().unwrap_or_default();
        let parts = [event.meter.as_ref(), &quantity, &at, &user, category];
        let digest = Sha256::digest_list(parts.map(str::as_bytes));
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest.as_bytes()[..16]);
        Self { event, quantity, hash, is_reported: false }
    }

    /// Creates an event that a tenant reports. It is rejected if its meter takes no reports of tenants. It can't lower
    /// what the tenant is billed for, so a negative quantity is rejected, too.
    pub(super) fn reported(event: UsageEvent, timed: bool) -> Self {
        Self { is_reported: true, ..Self::new(event, timed) }
    }

    /// Returns the id of the event.
    pub(super) fn id(&self) -> &str {
        self.event.id.as_deref().unwrap_or_default()
    }

    /// Checks what does not depend on the database. Returns the quantity in the smallest units of the meter, or `None` if
    /// there is no meter.
    pub(super) fn check(
        &self,
        meter: Option<&Meter>,
        policy: EventPolicy,
        now: Timestamp,
        max_age: Duration,
    ) -> Result<Option<i64>, RejectReason> {
        let UsageEvent { meter: name, source, category, at, quantity, user, .. } = &self.event;
        let is_valid = |text: &str, limit: usize| !text.is_empty() && text.len() <= limit && !text.contains('\0');
        let names = is_valid(name, MAX_METER_NAME_BYTES)
            && is_valid(source, MAX_SOURCE_BYTES)
            && is_valid(self.id(), MAX_EVENT_ID_BYTES)
            && category.as_deref().is_none_or(|category| is_valid(category, MAX_CATEGORY_BYTES));
        if !names {
            return Err(RejectReason::InvalidName);
        }
        if self.is_reported && meter.is_some_and(|meter| !meter.reported_by_tenants) {
            return Err(RejectReason::NotReportable);
        }
        if *at > now + MAX_CLOCK_SKEW {
            return Err(RejectReason::InFuture);
        }
        if policy == EventPolicy::Report && *at < now - max_age {
            return Err(RejectReason::TooOld);
        }
        if self.is_reported && *quantity < Decimal::ZERO {
            return Err(RejectReason::Negative);
        }
        let Some(meter) = meter else { return Ok(None) };
        let units = Quantity(*quantity).to_units(meter.decimals).map_err(|error| match error {
            QuantityError::TooPrecise(_) => RejectReason::TooPrecise,
            QuantityError::TooLarge => RejectReason::TooLarge,
        })?;
        let is_countable = match meter.aggregation {
            Aggregation::Sum | Aggregation::Max | Aggregation::Last => true,
            Aggregation::Count => units >= 0,
            Aggregation::UniqueUsers => units >= 0 && user.is_some(),
            Aggregation::UniqueCategories => units >= 0 && category.is_some(),
        };
        if is_countable { Ok(Some(units)) } else { Err(RejectReason::NotCountable) }
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::usage::meters;

    use super::*;

    /// Returns a changed copy of an event.
    fn changed(event: &UsageEvent, change: impl FnOnce(&mut UsageEvent)) -> UsageEvent {
        let mut event = event.clone();
        change(&mut event);
        event
    }

    #[test]
    fn an_event_that_is_sent_again_has_the_same_hash() {
        let (early, late) = (Timestamp::from_micros(1), Timestamp::from_micros(2));
        let event = UsageEvent::new(Id::new(early), meters::AI_TOKENS, 10, early).once("ai", "1").category("gpt-5");
        let hash = |event: &UsageEvent, timed| NewUsage::new(event.clone(), timed).hash;
        let again = changed(&event, |event| (event.at, event.quantity) = (late, Decimal::new(100, 1)));
        assert_eq!(hash(&event, false), hash(&again, false));
        assert_ne!(hash(&event, true), hash(&again, true));
        for other in [
            changed(&event, |event| event.quantity = 11.into()),
            event.clone().category("gpt-6"),
            event.clone().user(Id::new(early)),
            changed(&event, |event| event.meter = meters::RUNS.into()),
        ] {
            assert_ne!(hash(&event, false), hash(&other, false), "{other:?}");
        }
    }

    #[test]
    fn events_are_checked() {
        let now = Timestamp::from_micros(1_900_000_000_000_000);
        let hour = Duration::from_secs(3600);
        let meter = Meter::sum("hours", "hours").decimals(2);
        let users = Meter::new("users", "users", Aggregation::UniqueUsers);
        let event = UsageEvent::new(Id::new(now), "hours", Decimal::new(125, 2), now);
        let check = |event: UsageEvent, meter: &Meter, policy| {
            NewUsage::new(event, false).check(Some(meter), policy, now, hour)
        };
        let report = EventPolicy::Report;
        assert_eq!(check(event.clone(), &meter, report), Ok(Some(125)));
        let old = changed(&event, |event| event.at = now - hour - Duration::from_micros(1));
        assert_eq!(check(old.clone(), &meter, report), Err(RejectReason::TooOld));
        assert_eq!(check(old, &meter, EventPolicy::Backfill { billed: false }), Ok(Some(125)));
        let future = changed(&event, |event| event.at = now + Duration::from_secs(301));
        assert_eq!(check(future, &meter, report), Err(RejectReason::InFuture));
        let precise = changed(&event, |event| event.quantity = Decimal::new(1, 3));
        assert_eq!(check(precise, &meter, report), Err(RejectReason::TooPrecise));
        let large = changed(&event, |event| event.quantity = Decimal::MAX);
        assert_eq!(check(large, &meter, report), Err(RejectReason::TooLarge));
        let whole = changed(&event, |event| event.quantity = 1.into());
        assert_eq!(check(whole, &users, report), Err(RejectReason::NotCountable));
        for wrong in [
            event.clone().once("", "1"),
            event.clone().once("a", ""),
            event.clone().once("a", "x".repeat(201)),
            event.clone().once("a", "\0"),
            event.clone().category(""),
            event.clone().category("x".repeat(256)),
            changed(&event, |event| event.meter = "".into()),
        ] {
            assert_eq!(check(wrong.clone(), &meter, report), Err(RejectReason::InvalidName), "{wrong:?}");
        }
        let back = changed(&event, |event| event.quantity = (-1).into());
        assert_eq!(check(back.clone(), &meter, report), Ok(Some(-100)));
        let reported = meter.clone().reported_by_tenants();
        for (meter, event, expected) in [
            (Some(&reported), &event, Ok(Some(125))),
            (Some(&reported), &back, Err(RejectReason::Negative)),
            (Some(&meter), &event, Err(RejectReason::NotReportable)),
            (None, &back, Err(RejectReason::Negative)),
        ] {
            assert_eq!(NewUsage::reported(event.clone(), false).check(meter, report, now, hour), expected);
        }
        let unknown = NewUsage::new(event, false).check(None, report, now, hour);
        assert_eq!(unknown, Ok(None));
    }
}
