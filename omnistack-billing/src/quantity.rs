//! Amounts of usage.

use std::fmt;

use omnistack_core::usage::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

/// Largest number of decimals of a meter.
pub const MAX_METER_DECIMALS: u32 = 9;
/// Largest amount of one event, in the smallest units of its meter: a petabyte, if these are bytes. A sum has room for
/// nine thousand of the largest events.
const MAX_EVENT_UNITS: i64 = 1_000_000_000_000_000;

/// An amount: a decimal number. In JSON it is a number; a text with a number is accepted as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(pub Decimal);

impl Quantity {
    /// Creates the amount of so many smallest units, with so many decimals.
    pub fn from_units(units: i64, decimals: u32) -> Self {
        Self(Decimal::from_i128_with_scale(units.into(), decimals).normalize())
    }

    /// Returns the amount in the smallest units of a meter with so many decimals.
    ///
    /// # Errors
    /// Fails if the amount has more decimals, or is larger than 10^15 units.
    pub fn to_units(self, decimals: u32) -> Result<i64, QuantityError> {
        let amount = self.0.normalize();
        if amount.scale() > decimals {
            return Err(QuantityError::TooPrecise(decimals));
        }
        let factor = 10_i128.pow(decimals - amount.scale());
        let units = amount.mantissa().checked_mul(factor).and_then(|units| i64::try_from(units).ok());
        units.filter(|units| units.abs() <= MAX_EVENT_UNITS).ok_or(QuantityError::TooLarge)
    }
}

/// The error of an amount that a meter can't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It has more decimals than the meter.
    #[error("must have at most {0} decimals")]
    TooPrecise(u32),
    /// It is too large.
    #[error("is too large: an event has at most 10^15 of the smallest units of its meter")]
    TooLarge,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.normalize().fmt(f)
    }
}

impl From<i64> for Quantity {
    fn from(amount: i64) -> Self {
        Self(amount.into())
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let amount = self.0.normalize();
        match i64::try_from(amount.mantissa()) {
            Ok(whole) if amount.scale() == 0 => serializer.serialize_i64(whole),
            // The shortest text of the floating-point number is the decimal, up to 15 digits.
            _ => serializer.serialize_f64(amount.to_string().parse().unwrap_or(f64::NAN)),
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QuantityVisitor;

        impl de::Visitor<'_> for QuantityVisitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number")
            }

            fn visit_i64<E: de::Error>(self, amount: i64) -> Result<Quantity, E> {
                Ok(Quantity(amount.into()))
            }

            fn visit_u64<E: de::Error>(self, amount: u64) -> Result<Quantity, E> {
                Ok(Quantity(amount.into()))
            }

            fn visit_f64<E: de::Error>(self, amount: f64) -> Result<Quantity, E> {
                self.visit_str(&amount.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                let parsed = Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text));
                parsed.map(Quantity).map_err(|_| E::custom("expected a decimal number of at most 28 digits"))
            }
        }

        deserializer.deserialize_any(QuantityVisitor)
    }
}

impl ToSchema for Quantity {
    fn name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }
}

impl PartialSchema for Quantity {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Number).description(Some("A decimal number.")).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_become_units_exactly() {
        for (text, decimals, expected) in [
            ("1", 0, Ok(1)),
            ("1", 2, Ok(100)),
            ("0.10", 1, Ok(1)),
            ("-2.5", 1, Ok(-25)),
            ("1e3", 0, Ok(1000)),
            ("0.1", 0, Err(QuantityError::TooPrecise(0))),
            ("1000000000000000", 0, Ok(1_000_000_000_000_000)),
            ("-1000000000000000", 0, Ok(-1_000_000_000_000_000)),
            ("1000000000000001", 0, Err(QuantityError::TooLarge)),
            ("1000000", 9, Ok(1_000_000_000_000_000)),
            ("79228162514264337593543950335", 9, Err(QuantityError::TooLarge)),
        ] {
            let quantity: Quantity = serde_json::from_value(text.into()).unwrap();
            assert_eq!(quantity.to_units(decimals), expected, "{text}");
        }
    }

    #[test]
    fn json_has_numbers() {
        for (json, expected) in [
            ("1", "1"),
            ("0.1", "0.1"),
            ("\"0.30\"", "0.3"),
            ("1.0", "1"),
            ("1e-7", "1e-7"),
            ("12345678901234567890", "1.2345678901234567e+19"),
            ("9007199254740993", "9007199254740993"),
            ("-0.125", "-0.125"),
        ] {
            let quantity: Quantity = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&quantity).unwrap(), expected, "{json}");
        }
        for wrong in ["\"\"", "\"x\"", "true", "null", "\"1e99\"", "[1]"] {
            assert!(serde_json::from_str::<Quantity>(wrong).is_err(), "{wrong}");
        }
        // Sums of decimals are exact.
        let sum: Decimal = (0..10).map(|_| serde_json::from_str::<Quantity>("0.1").unwrap().0).sum();
        assert_eq!(Quantity(sum).to_units(0), Ok(1));
    }
}
