//! The counters of calls and of volume by day, which the reports are made of.

use std::time::Duration;

use omnistack_core::{clock::Timestamp, db::StatementGroup, id::Id, identity::ApiKeyId, payment::PaymentError};
use uuid::Uuid;

use super::rows::PaymentRow;

/// Number of rows over which concurrent transactions spread what they add to a counter.
const COUNTER_SLOTS: u128 = 4;
/// The largest durations of calls, in milliseconds, by which calls are counted. A longer call counts as the last.
pub(crate) const DURATION_BUCKETS_MS: [i32; 20] = [
    50, 100, 150, 200, 250, 300, 400, 500, 600, 800, 1_000, 1_250, 1_500, 2_000, 3_000, 4_000, 5_000, 7_500, 10_000,
    15_000,
];

/// The result of a call to a provider, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    Success,
    Declined,
    Error,
    Unknown,
}

impl CallOutcome {
    /// Returns the outcome of a call that has ended with this error.
    pub(super) const fn of(error: &PaymentError) -> Self {
        match error {
            PaymentError::Declined { .. } => Self::Declined,
            PaymentError::Unknown { .. } => Self::Unknown,
            _ => Self::Error,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Declined => "declined",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }
}

/// Returns the number of days of UTC since 1970-01-01.
pub(crate) fn day_of(at: Timestamp) -> i32 {
    i32::try_from(at.as_seconds().div_euclid(86_400)).unwrap_or(i32::MAX)
}

/// Returns the API key of calls that no API key has requested.
pub(crate) const fn no_api_key() -> ApiKeyId {
    Id::from_uuid(Uuid::nil())
}

fn slot_of(payment: &PaymentRow) -> i32 {
    i32::try_from(payment.id.uuid().as_u128() % COUNTER_SLOTS).unwrap_or(0)
}

fn bucket_of(milliseconds: i64) -> i32 {
    let bucket = DURATION_BUCKETS_MS.into_iter().find(|most| milliseconds <= i64::from(*most));
    bucket.unwrap_or(DURATION_BUCKETS_MS[DURATION_BUCKETS_MS.len() - 1])
}

/// Returns a duration in whole milliseconds.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A call to a provider that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedCall<'a> {
    pub(super) service: &'a str,
    pub(super) outcome: CallOutcome,
    /// The code of the error; empty after a success.
    pub(super) code: &'a str,
    /// `None` if the process that has made the call has crashed.
    pub(super) milliseconds: Option<i64>,
}

/// Adds the statement that counts a call to a group.
pub(super) fn count_call(group: &mut StatementGroup, payment: &PaymentRow, call: EndedCall<'_>, now: Timestamp) {
    let values = group.add(
        "insert into omni_payment_days (tenant_id, environment, day, service, api_key_id, outcome, code,
        bucket_ms, slot, calls, duration_ms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10)
        on conflict (tenant_id, environment, day, service, api_key_id, outcome, code, bucket_ms, slot)
        do update set calls = omni_payment_days.calls + 1,
            duration_ms = omni_payment_days.duration_ms + excluded.duration_ms",
    );
    values.push(payment.tenant_id);
    values.push(payment.environment().as_str());
    values.push(day_of(now));
    values.push(call.service.to_owned());
    values.push(payment.api_key_id.unwrap_or(no_api_key()));
    values.push(call.outcome.as_str());
    values.push(call.code.to_owned());
    values.push(call.milliseconds.map_or(0, bucket_of));
    values.push(slot_of(payment));
    values.push(call.milliseconds.unwrap_or(0));
}

/// A change of the money that a service has taken, in minor units of the payment's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VolumeChange {
    pub(super) payments: i64,
    pub(super) captured: i64,
    pub(super) fees: i64,
}

/// Adds the statement that changes the volume of a service to a group.
pub(super) fn add_volume(
    group: &mut StatementGroup,
    payment: &PaymentRow,
    service: &str,
    change: VolumeChange,
    now: Timestamp,
) {
    if change == VolumeChange::default() {
        return;
    }
    let values = group.add(
        "insert into omni_payment_volumes (tenant_id, environment, day, service, currency, method, country,
        api_key_id, slot, payments, captured, fees) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        on conflict (tenant_id, environment, day, service, currency, method, country, api_key_id, slot)
        do update set payments = omni_payment_volumes.payments + excluded.payments,
            captured = omni_payment_volumes.captured + excluded.captured,
            fees = omni_payment_volumes.fees + excluded.fees",
    );
    values.push(payment.tenant_id);
    values.push(payment.environment().as_str());
    values.push(day_of(now));
    values.push(service.to_owned());
    values.push(payment.currency.clone());
    values.push(payment.method.clone());
    values.push(payment.country.clone().unwrap_or_default());
    values.push(payment.api_key_id.unwrap_or(no_api_key()));
    values.push(slot_of(payment));
    values.push(change.payments);
    values.push(change.captured);
    values.push(change.fees);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_day_and_duration() {
        for (at, day) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T23:59:59.999999Z", 0),
            ("1969-12-31T23:59:59Z", -1),
            ("2030-01-01T00:00:00Z", 21_915),
        ] {
            assert_eq!(day_of(at.parse().unwrap()), day, "{at}");
        }
        for (milliseconds, bucket) in [(0, 50), (50, 50), (51, 100), (15_000, 15_000), (99_000, 15_000)] {
            assert_eq!(bucket_of(milliseconds), bucket);
        }
    }
}
