//! The part of a limit that a caller asks for.

use std::sync::Arc;

use omnistack_core::{
    clock::Timestamp,
    http::{Error, FieldError, StatusCode},
    identity::TenantId,
    usage::{DataEnvironment, Decimal},
};

use crate::{
    account::Entitled,
    meter::{Aggregation, Meter},
    quantity::Quantity,
    window::{limit_units, reservations::units_of_event},
};

/// The limit of a meter in the plan of a tenant, in the smallest units of the meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MeterLimit {
    Unlimited,
    /// It is reported, and allows more.
    Soft(i64),
    Hard(i64),
}

impl MeterLimit {
    /// Returns the limit of a meter.
    pub(super) fn of(entitled: &Entitled, meter: &Meter) -> Self {
        if let Some(limit) = entitled.plan.limits.get(meter.name()) {
            return Self::Hard(limit_units(meter, *limit));
        }
        // The plan has the limits that are enforced. A negative one is no limit.
        let limit = entitled.definition.limits.get(meter.name()).and_then(|limit| u64::try_from(*limit).ok());
        limit.map_or(Self::Unlimited, |limit| Self::Soft(limit_units(meter, limit)))
    }
}

/// Units that a caller wants of a hard limit.
#[derive(Clone)]
pub(super) struct LimitClaim {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) meter: Meter,
    /// The entitlements that have the limit.
    pub(super) entitled: Arc<Entitled>,
    /// The limit and the claim in the smallest units of the meter.
    pub(super) limit: i64,
    pub(super) units: i64,
    /// The time of use, which decides the billing period.
    pub(super) at: Timestamp,
}

/// Returns whether parts of a limit of the meter can be reserved.
pub(super) const fn can_be_reserved(meter: &Meter) -> bool {
    matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count)
}

/// Returns the units that an event with this quantity takes of a limit; zero or less if it gives units back.
///
/// # Errors
/// 422 if the meter can't count the quantity.
pub(super) fn units_of_quantity(meter: &Meter, quantity: Decimal) -> Result<i64, Error> {
    let invalid = |message: String| Error::invalid([FieldError::new("quantity", message)]);
    let units = Quantity(quantity).to_units(meter.decimals).map_err(|error| invalid(error.to_string()))?;
    if units < 0 && meter.aggregation == Aggregation::Count {
        return Err(invalid("must not be negative, because the meter counts events".to_owned()));
    }
    Ok(units_of_event(meter, units))
}

/// Returns the units that an amount takes of a limit. The amount of a meter that counts events is their number.
///
/// # Errors
/// 422 if the amount is negative, or the meter can't count it.
pub(super) fn units_of_amount(meter: &Meter, amount: Decimal) -> Result<i64, Error> {
    let invalid = |message: String| Error::invalid([FieldError::new("amount", message)]);
    let units = Quantity(amount).to_units(meter.decimals).map_err(|error| invalid(error.to_string()))?;
    if units < 0 { Err(invalid("must not be negative".to_owned())) } else { Ok(units) }
}

/// Returns whether an error is the refusal of a limit, and not one of the database.
pub(super) fn is_refusal(error: &Error) -> bool {
    error.status() == StatusCode::PAYMENT_REQUIRED
}
