//! Amounts of money.

use std::{borrow::Cow, fmt, iter};

pub use iso_currency::Currency;
use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// An amount of money: a number of minor units, such as cents, of an ISO 4217 currency. ISO 4217 says how many decimals
/// an amount has: USD has two, JPY none, KWD three. A currency without minor units, such as XAU (gold), has none.
///
/// In JSON it is `{"amount":"29.00","currency":"USD"}`. The amount is a text, so that no digit is lost.
///
/// ```
/// use omnistack_core::money::Money;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let price = Money::parse("29.00", "USD")?;
/// assert_eq!(price.minor(), 2900);
/// assert_eq!(price.to_string(), "29.00 USD");
/// assert_eq!(Money::parse("100", "JPY")?.minor(), 100);
/// assert!(Money::parse("0.001", "USD").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "MoneyText", into = "MoneyText")]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// Creates an amount of minor units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Parses a decimal number, such as `29.00` or `-0.5`, and the code of a currency in capitals. The number may have
    /// fewer decimals than the currency.
    ///
    /// # Errors
    /// Fails if there is no such currency, if the number has more decimals than the currency, or if it is larger than
    /// 2^63 minor units.
    pub fn parse(amount: &str, currency: &str) -> Result<Self, InvalidMoney> {
        let currency = Currency::from_code(currency).ok_or(InvalidMoney::UnknownCurrency)?;
        let (negative, unsigned) = match amount.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, amount),
        };
        let (whole, fraction) = match unsigned.split_once('.') {
            Some((_, "")) => return Err(InvalidMoney::NotDecimal),
            Some(parts) => parts,
            None => (unsigned, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidMoney::NotDecimal);
        }
        let Some(padding) = decimals(currency).checked_sub(fraction.len()) else {
            return Err(InvalidMoney::TooPrecise { currency, decimals: decimals(currency) });
        };
        let digits = whole.bytes().chain(fraction.bytes()).chain(iter::repeat_n(b'0', padding));
        // Negative amounts count down, because the smallest one has no positive counterpart.
        let minor = digits
            .map(|byte| i64::from(byte - b'0'))
            .try_fold(0_i64, |minor, digit| minor.checked_mul(10)?.checked_add(if negative { -digit } else { digit }));
        minor.map(|minor| Self { minor, currency }).ok_or(InvalidMoney::TooLarge)
    }

    /// Returns the number of minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// Returns the currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Returns the amount as a decimal number, with all decimals of the currency: `29.00`.
    pub fn amount(self) -> String {
        let decimals = decimals(self.currency);
        let sign = if self.minor < 0 { "-" } else { "" };
        let digits = format!("{:0width$}", self.minor.unsigned_abs(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    }
}

/// Returns the number of decimals of amounts in a currency.
fn decimals(currency: Currency) -> usize {
    currency.exponent().map_or(0, usize::from)
}

/// Shown as `29.00 USD`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount(), self.currency.code())
    }
}

/// The error of a text that is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    /// There is no such currency.
    #[error("the currency must be an ISO 4217 code in capitals, such as `USD`")]
    UnknownCurrency,
    /// The amount is no decimal number.
    #[error("the amount must be a decimal number, such as `29.00`")]
    NotDecimal,
    /// The amount has more decimals than the currency.
    #[error("the amount must have at most {decimals} decimals in {}", .currency.code())]
    TooPrecise {
        /// The currency.
        currency: Currency,
        /// The number of decimals of the currency.
        decimals: usize,
    },
    /// The amount is too large.
    #[error("the amount is too large; it must have at most 18 digits")]
    TooLarge,
}

/// An amount of money.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MoneyText {
    /// The amount: a decimal number with all decimals of the currency.
    #[schema(examples("29.00"), max_length = 21)]
    amount: String,
    /// The ISO 4217 code of the currency.
    #[schema(examples("USD"), max_length = 3)]
    currency: String,
}

impl From<Money> for MoneyText {
    fn from(money: Money) -> Self {
        Self { amount: money.amount(), currency: money.currency.code().to_owned() }
    }
}

impl TryFrom<MoneyText> for Money {
    type Error = InvalidMoney;

    fn try_from(text: MoneyText) -> Result<Self, InvalidMoney> {
        Self::parse(&text.amount, &text.currency)
    }
}

impl PartialSchema for Money {
    fn schema() -> RefOr<Schema> {
        MoneyText::schema()
    }
}

impl ToSchema for Money {
    fn name() -> Cow<'static, str> {
        "Money".into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Returns all currencies, by trying every code.
    fn currencies() -> Vec<Currency> {
        let letters = || 'A'..='Z';
        let codes = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
        codes.filter_map(|code| Currency::from_code(&code)).collect()
    }

    #[test]
    fn amounts_of_every_currency_are_parsed_as_they_are_shown() {
        let mut exponents = BTreeSet::new();
        for currency in currencies() {
            exponents.insert(decimals(currency));
            for minor in [0, 1, -1, 9, 10, 99, 100, -12_345, 1_000_000, i64::MAX, i64::MIN, i64::MIN + 1] {
                let money = Money::new(minor, currency);
                assert_eq!(Money::parse(&money.amount(), currency.code()), Ok(money), "{money}");
                assert_eq!(money.to_string(), format!("{} {}", money.amount(), currency.code()));
                let json = serde_json::to_value(money).unwrap();
                assert_eq!(json, serde_json::json!({ "amount": money.amount(), "currency": currency.code() }));
                assert_eq!(serde_json::from_value::<Money>(json).unwrap(), money);
                let point = if decimals(currency) == 0 { "." } else { "" };
                let longer = Money::parse(&format!("{}{point}0", money.amount()), currency.code());
                assert_eq!(longer, Err(InvalidMoney::TooPrecise { currency, decimals: decimals(currency) }), "{money}");
            }
        }
        assert!(currencies().len() > 150);
        assert_eq!(exponents.into_iter().collect::<Vec<_>>(), [0, 2, 3, 4]);
    }

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        for (amount, code, minor, shown) in [
            ("29.00", "USD", 2900, "29.00"),
            ("29.5", "USD", 2950, "29.50"),
            ("29", "USD", 2900, "29.00"),
            ("0.05", "USD", 5, "0.05"),
            ("-0.5", "EUR", -50, "-0.50"),
            ("-0", "EUR", 0, "0.00"),
            ("0007", "EUR", 700, "7.00"),
            ("100", "JPY", 100, "100"),
            ("1.234", "KWD", 1234, "1.234"),
            ("1.2", "KWD", 1200, "1.200"),
            ("0.0001", "CLF", 1, "0.0001"),
            ("3", "XAU", 3, "3"),
            ("92233720368547758.07", "USD", i64::MAX, "92233720368547758.07"),
            ("-92233720368547758.08", "USD", i64::MIN, "-92233720368547758.08"),
            ("9223372036854775807", "JPY", i64::MAX, "9223372036854775807"),
        ] {
            let money = Money::parse(amount, code).unwrap();
            assert_eq!((money.minor(), money.amount().as_str()), (minor, shown), "{amount} {code}");
            assert_eq!(money.currency().code(), code);
        }
    }

    #[test]
    fn no_digit_is_lost() {
        let precise = |amount, code| matches!(Money::parse(amount, code), Err(InvalidMoney::TooPrecise { .. }));
        for (amount, code) in [("0.001", "USD"), ("29.000", "USD"), ("1.0", "JPY"), ("1.2345", "KWD"), ("1.5", "XAU")] {
            assert!(precise(amount, code), "{amount} {code}");
        }
        for (amount, code) in [
            ("92233720368547758.08", "USD"),
            ("-92233720368547758.09", "USD"),
            ("9223372036854775808", "JPY"),
            ("922337203685477581", "CLF"),
            ("99999999999999999999999999999999999999999999999999", "JPY"),
        ] {
            assert_eq!(Money::parse(amount, code), Err(InvalidMoney::TooLarge), "{amount} {code}");
        }
        for amount in ["", "-", ".", ".5", "5.", "+1", "--1", "1e3", "1,5", "1_000", " 1", "1 ", "1.2.3", "NaN"] {
            assert_eq!(Money::parse(amount, "USD"), Err(InvalidMoney::NotDecimal), "{amount:?}");
        }
        for code in ["", "usd", "US", "USDX", "AAA", "840", "US$"] {
            assert_eq!(Money::parse("1", code), Err(InvalidMoney::UnknownCurrency), "{code:?}");
        }
        for json in [
            r#"{"amount":29,"currency":"USD"}"#,
            r#"{"amount":29.00,"currency":"USD"}"#,
            r#"{"amount":"29.001","currency":"USD"}"#,
            r#"{"amount":"29.00"}"#,
            r#"{"amount":"29.00","currency":"USD","minor":2900}"#,
        ] {
            assert!(serde_json::from_str::<Money>(json).is_err(), "{json}");
        }
    }
}
