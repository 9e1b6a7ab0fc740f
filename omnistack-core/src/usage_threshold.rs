//! The event that a tenant has used a share of a limit.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    clock::Timestamp, data_environment::DataEnvironment, events::Event, id::TenantId, usage::Decimal,
    webhook_event::WebhookEvent,
};

/// The id of the tenant in the example of the event.
const EXAMPLE_ID: Uuid = Uuid::from_u128(0x0197_2a4e_8c00_7000_8000_0000_0000_0001);
/// 2030-01-01T00:00:00Z, the start of the period in the example of the event, in microseconds.
const EXAMPLE_PERIOD_MICROS: i64 = 1_893_456_000_000_000;

/// Event: a tenant has used a share of a limit of its plan. It is published once for each limit, billing period and
/// share, in the transaction that records this. In an app with accounts, the tenant's owners get a mail.
///
/// ```
/// use omnistack_core::{usage_threshold::UsageThresholdReached, webhook::WebhookEvent as _};
///
/// let event = UsageThresholdReached::example();
/// let json = serde_json::to_value(&event)?;
/// assert_eq!((json["meter"].as_str(), json["threshold"].as_u64()), (Some("api_requests"), Some(80)));
/// assert_eq!((json["used"].as_u64(), json["limit"].as_u64()), (Some(80_000), Some(100_000)));
/// assert_eq!(serde_json::from_value::<UsageThresholdReached>(json)?, event);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct UsageThresholdReached {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant: TenantId,
    /// Whether it is real usage, or that of a test.
    pub environment: DataEnvironment,
    /// The name of the meter, such as `api_requests`.
    pub meter: String,
    /// The share of the limit, in percent: 80 or 100.
    pub threshold: u8,
    /// The amount that is used.
    #[serde(with = "decimal_number")]
    #[schema(value_type = f64)]
    pub used: Decimal,
    /// The limit.
    pub limit: u64,
    /// The start of the billing period; 1970-01-01T00:00:00Z if the limit applies to all time.
    pub period_start: Timestamp,
}

impl UsageThresholdReached {
    /// Creates the event. `threshold` is the share in percent.
    pub fn new(
        tenant: TenantId,
        environment: DataEnvironment,
        meter: impl Into<String>,
        threshold: u8,
        used: impl Into<Decimal>,
        limit: u64,
        period_start: Timestamp,
    ) -> Self {
        Self { tenant, environment, meter: meter.into(), threshold, used: used.into(), limit, period_start }
    }
}

impl Event for UsageThresholdReached {
    const NAME: &'static str = "usage.threshold_reached";

    fn key(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.environment, self.meter)
    }
}

impl WebhookEvent for UsageThresholdReached {
    const TYPE: &'static str = <Self as Event>::NAME;
    const DESCRIPTION: &'static str = "80 or 100 percent of a limit of the plan are used.";

    fn example() -> Self {
        let start = Timestamp::from_micros(EXAMPLE_PERIOD_MICROS);
        let tenant = TenantId::from_uuid(EXAMPLE_ID);
        Self::new(tenant, DataEnvironment::Live, "api_requests", 80, 80_000, 100_000, start)
    }
}

/// The JSON form of amounts: a number.
mod decimal_number {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use serde_json::Number;

    use super::Decimal;

    pub(super) fn serialize<S: Serializer>(amount: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
        let amount = amount.normalize();
        match i64::try_from(amount.mantissa()) {
            Ok(whole) if amount.scale() == 0 => serializer.serialize_i64(whole),
            // The shortest text of the floating-point number is the decimal, up to 15 digits.
            _ => serializer.serialize_f64(amount.to_string().parse().unwrap_or(f64::NAN)),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        let text = Number::deserialize(deserializer)?.to_string();
        let amount = Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text));
        amount.map_err(|_| D::Error::custom("expected a decimal number of at most 28 digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_numbers_in_json() {
        for (amount, expected) in [("0", "0"), ("12.5", "12.5"), ("-3", "-3"), ("0.000000001", "1e-9")] {
            let used: Decimal = amount.parse().unwrap();
            let event = UsageThresholdReached { used, ..UsageThresholdReached::example() };
            let json = serde_json::to_string(&event).unwrap();
            assert!(json.contains(&format!("\"used\":{expected},")), "{json}");
            assert_eq!(serde_json::from_str::<UsageThresholdReached>(&json).unwrap(), event);
        }
    }
}
