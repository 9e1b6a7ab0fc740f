//! Amounts of money that are smaller than a cent.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

/// Pico-USD in a US dollar.
const PICO_PER_USD: u64 = 1_000_000_000_000;
/// Digits of a pico-USD after the decimal point of a US dollar.
const PICO_DIGITS: usize = 12;
/// Pico-USD in a nano-USD.
const PICO_PER_NANO: i64 = 1_000;

/// An amount of money in pico-USD, the unit in which each price of a token is a whole number: a price of 1 USD per
/// million tokens is 1,000,000 pico-USD per token.
///
/// It is written in text and in JSON as the exact amount in US dollars, such as `"0.000054"`.
///
/// ```
/// use omnistack_ai::Cost;
///
/// let cost = Cost::from_pico(54_000_000);
/// assert_eq!(cost.to_string(), "0.000054");
/// assert_eq!("0.000054".parse(), Ok(cost));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(i64);

/// The error of a text that is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an amount in US dollars with at most 12 decimals, such as `0.000054`")]
pub struct InvalidCost;

impl Cost {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Creates an amount of pico-USD.
    pub const fn from_pico(pico: i64) -> Self {
        Self(pico)
    }

    /// Returns the pico-USD.
    pub const fn pico(self) -> i64 {
        self.0
    }

    /// Returns the sum, or `None` if it is out of range.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(pico) => Some(Self(pico)),
            None => None,
        }
    }

    /// Returns the nano-USD, rounded up.
    pub const fn to_nano_ceil(self) -> i64 {
        let nano = self.0.div_euclid(PICO_PER_NANO);
        if self.0.rem_euclid(PICO_PER_NANO) == 0 { nano } else { nano + 1 }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let pico = self.0.unsigned_abs();
        let (whole, rest) = (pico / PICO_PER_USD, pico % PICO_PER_USD);
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        let decimals = format!("{rest:012}");
        write!(f, "{sign}{whole}.{}", decimals.trim_end_matches('0'))
    }
}

impl FromStr for Cost {
    type Err = InvalidCost;

    fn from_str(text: &str) -> Result<Self, InvalidCost> {
        let (is_negative, amount) = text.strip_prefix('-').map_or((false, text), |amount| (true, amount));
        let (whole, decimals) = amount.split_once('.').unwrap_or((amount, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(decimals) || decimals.len() > PICO_DIGITS {
            return Err(InvalidCost);
        }
        let whole: i128 = whole.parse().map_err(|_| InvalidCost)?;
        let rest: i128 = format!("{decimals:0<12}").parse().map_err(|_| InvalidCost)?;
        let pico = whole.checked_mul(i128::from(PICO_PER_USD)).and_then(|pico| pico.checked_add(rest));
        let pico = pico.map(|pico| if is_negative { -pico } else { pico }).ok_or(InvalidCost)?;
        i64::try_from(pico).map(Self).map_err(|_| InvalidCost)
    }
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl PartialSchema for Cost {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("An exact amount in US dollars."))
            .examples([serde_json::json!("0.000054")])
            .into()
    }
}

impl ToSchema for Cost {
    fn name() -> Cow<'static, str> {
        "Cost".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_exact_as_text() {
        for (pico, text) in [
            (0, "0"),
            (1, "0.000000000001"),
            (54_000_000, "0.000054"),
            (1_063_761_250_000, "1.06376125"),
            (2_000_000_000_000, "2"),
            (-500_000_000_000, "-0.5"),
            (i64::MAX, "9223372.036854775807"),
            (i64::MIN, "-9223372.036854775808"),
        ] {
            assert_eq!(Cost::from_pico(pico).to_string(), text);
            assert_eq!(text.parse(), Ok(Cost::from_pico(pico)));
            assert_eq!(serde_json::to_string(&Cost::from_pico(pico)).unwrap(), format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Cost>(&format!("\"{text}\"")).unwrap(), Cost::from_pico(pico));
        }
        for text in ["", "-", ".", "1.", ".5", "1e3", "+1", " 1", "0.0000000000001", "9223372.036854775808"] {
            assert_eq!(text.parse::<Cost>(), Err(InvalidCost), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_nano_is_rounded_up() {
        for (pico, nano) in [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (-1, 0), (-1_001, -1)] {
            assert_eq!(Cost::from_pico(pico).to_nano_ceil(), nano, "{pico}");
        }
        assert_eq!(Cost::from_pico(i64::MAX).checked_add(Cost::from_pico(1)), None);
        assert_eq!(Cost::from_pico(2).checked_add(Cost::from_pico(3)), Some(Cost::from_pico(5)));
    }
}
