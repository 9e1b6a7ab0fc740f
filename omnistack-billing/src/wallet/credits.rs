//! Amounts of credits.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, Neg, Sub},
};

use omnistack_core::usage::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use crate::quantity::Quantity;

/// Largest number of decimals of an amount of credits.
const MAX_CREDIT_DECIMALS: u32 = 6;
/// Millionths of one credit.
const MILLIONTHS_PER_CREDIT: i64 = 10_i64.pow(MAX_CREDIT_DECIMALS);

/// An amount of credits, in millionths. In JSON it is a decimal number with at most 6 decimals.
///
/// ```
/// use omnistack_billing::Credits;
/// use omnistack_core::usage::Decimal;
///
/// let price = Credits::try_from(Decimal::new(25, 2))?;
/// assert_eq!(price.to_string(), "0.25");
/// assert_eq!(Credits::from(2) - price, Credits::from_millionths(1_750_000));
/// # Ok::<_, omnistack_billing::InvalidCredits>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credits(i64);

impl Credits {
    /// No credits.
    pub const ZERO: Self = Self(0);

    /// Creates an amount of so many millionths of a credit.
    pub const fn from_millionths(millionths: i64) -> Self {
        Self(millionths)
    }

    /// Returns the amount in millionths of a credit.
    pub const fn millionths(self) -> i64 {
        self.0
    }

    fn to_quantity(self) -> Quantity {
        Quantity::from_units(self.0, MAX_CREDIT_DECIMALS)
    }
}

/// The error of a number that is no amount of credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCredits {
    /// It has more than 6 decimals.
    #[error("must have at most 6 decimals")]
    TooPrecise,
    /// It is too large to be stored.
    #[error("is too large")]
    TooLarge,
}

/// Creates an amount of whole credits.
impl From<u32> for Credits {
    fn from(whole: u32) -> Self {
        Self(i64::from(whole) * MILLIONTHS_PER_CREDIT)
    }
}

impl TryFrom<Decimal> for Credits {
    type Error = InvalidCredits;

    fn try_from(amount: Decimal) -> Result<Self, InvalidCredits> {
        let amount = amount.normalize();
        if amount.scale() > MAX_CREDIT_DECIMALS {
            return Err(InvalidCredits::TooPrecise);
        }
        let factor = 10_i128.pow(MAX_CREDIT_DECIMALS - amount.scale());
        let millionths = amount.mantissa().checked_mul(factor).and_then(|millionths| i64::try_from(millionths).ok());
        millionths.map(Self).ok_or(InvalidCredits::TooLarge)
    }
}

impl From<Credits> for Decimal {
    fn from(credits: Credits) -> Self {
        credits.to_quantity().0
    }
}

impl Add for Credits {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Credits {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Credits {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Sum for Credits {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::add)
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_quantity().fmt(f)
    }
}

impl Serialize for Credits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_quantity().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Credits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Quantity(amount) = Quantity::deserialize(deserializer)?;
        Self::try_from(amount).map_err(D::Error::custom)
    }
}

impl ToSchema for Credits {
    fn name() -> std::borrow::Cow<'static, str> {
        "Credits".into()
    }
}

impl PartialSchema for Credits {
    fn schema() -> RefOr<Schema> {
        let description = "An amount of credits: a decimal number with at most 6 decimals.";
        ObjectBuilder::new().schema_type(Type::Number).description(Some(description)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_millionths_exactly() {
        for (json, expected) in [
            ("1", Ok(1_000_000)),
            ("0.000001", Ok(1)),
            ("0.1", Ok(100_000)),
            ("-2.5", Ok(-2_500_000)),
            ("1e3", Ok(1_000_000_000)),
            ("999999999.999999", Ok(999_999_999_999_999)),
            ("\"0.30\"", Ok(300_000)),
            ("0.0000001", Err("must have at most 6 decimals")),
            ("1e15", Err("is too large")),
            ("true", Err("expected a decimal number")),
        ] {
            let read: Result<Credits, _> = serde_json::from_str(json);
            match (read, expected) {
                (Ok(credits), Ok(millionths)) => assert_eq!(credits.millionths(), millionths, "{json}"),
                (Err(error), Err(message)) => assert!(error.to_string().contains(message), "{json}: {error}"),
                (read, _) => panic!("{json}: {read:?}"),
            }
        }
    }

    #[test]
    fn json_has_numbers() {
        for (millionths, expected) in
            [(0, "0"), (1, "1e-6"), (100_000, "0.1"), (5_000_000, "5"), (-1_500_000, "-1.5"), (82_280_000, "82.28")]
        {
            let credits = Credits::from_millionths(millionths);
            let json = serde_json::to_string(&credits).unwrap();
            assert_eq!(json, expected);
            assert_eq!(serde_json::from_str::<Credits>(&json).unwrap(), credits);
        }
        let largest = Credits::from_millionths(999_999_999_999_999);
        let json = serde_json::to_string(&largest).unwrap();
        assert_eq!(serde_json::from_str::<Credits>(&json).unwrap(), largest);
    }
}
