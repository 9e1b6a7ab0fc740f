//! The forms in which providers state amounts of money.
//!
//! An amount of this app is a number of minor units at the exponent of ISO 4217. Stripe and Razorpay take a number of
//! units at an exponent of their own, and PayPal takes a decimal text. An amount that a provider can't state exactly is
//! refused, and never rounded.

use omnistack_core::{
    money::{Currency, Money},
    payment::PaymentError,
};

/// The code of the error for an amount that a provider can't state.
const AMOUNT_NOT_EXPRESSIBLE: &str = "amount_not_expressible";

/// The form of amounts at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireForm {
    /// Units of Stripe, whose exponent differs from ISO 4217 for some currencies.
    #[cfg(any(test, feature = "stripe"))]
    Stripe,
    /// Decimal texts of PayPal.
    #[cfg(any(test, feature = "paypal"))]
    PayPal,
    /// Units of Razorpay.
    #[cfg(any(test, feature = "razorpay"))]
    Razorpay,
    /// Minor units of ISO 4217.
    Iso,
}

impl WireForm {
    /// Returns the name of the provider for messages.
    const fn label(self) -> &'static str {
        match self {
            #[cfg(any(test, feature = "stripe"))]
            Self::Stripe => "Stripe",
            #[cfg(any(test, feature = "paypal"))]
            Self::PayPal => "PayPal",
            #[cfg(any(test, feature = "razorpay"))]
            Self::Razorpay => "Razorpay",
            Self::Iso => "the provider",
        }
    }
}

/// The amounts that a provider can state in a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WireRule {
    /// The number of decimals of ISO 4217.
    iso_decimals: u32,
    /// The number of decimals at the provider.
    decimals: u32,
    /// The number of the provider's units that an amount must be a multiple of.
    multiple: i64,
}

impl WireRule {
    /// Returns the rule of a currency. Returns `None` if the provider has no form for it.
    fn of(form: WireForm, currency: Currency) -> Option<Self> {
        let exponent = currency.exponent().map(u32::from);
        let (decimals, multiple) = match form {
            // Currencies without minor units, such as gold, are counted in whole units.
            WireForm::Iso => (exponent.unwrap_or(0), 1),
            #[cfg(any(test, feature = "stripe"))]
            WireForm::Stripe => match (currency.code(), exponent?) {
                // A fifth of an ariary is not used: Stripe counts whole ones.
                ("MGA", _) => (0, 1),
                // Stripe counts hundredths that do not exist, so the last two digits are zeros.
                ("ISK" | "UGX", _) => (2, 100),
                (_, 3) => (3, 10),
                (_, decimals @ 0..=2) => (decimals, 1),
                _ => return None,
            },
            #[cfg(any(test, feature = "paypal"))]
            WireForm::PayPal => match (currency.code(), exponent?) {
                ("HUF" | "TWD", _) => (0, 1),
                (_, decimals @ 0..=3) => (decimals, 1),
                _ => return None,
            },
            #[cfg(any(test, feature = "razorpay"))]
            WireForm::Razorpay => match exponent? {
                3 => (3, 10),
                decimals @ 0..=2 => (decimals, 1),
                _ => return None,
            },
        };
        Some(Self { iso_decimals: exponent.unwrap_or(0), decimals, multiple })
    }

    /// Returns the number of minor units of which each amount that the provider can state is a multiple.
    fn grid(self) -> i64 {
        let factor = 10_i64.pow(self.iso_decimals.abs_diff(self.decimals));
        if self.decimals >= self.iso_decimals { (self.multiple / factor).max(1) } else { factor * self.multiple }
    }

    /// Returns the provider's units. Returns `None` if there are too many.
    fn to_units(self, minor: i64) -> Option<i64> {
        let factor = 10_i64.pow(self.iso_decimals.abs_diff(self.decimals));
        if self.decimals >= self.iso_decimals { minor.checked_mul(factor) } else { Some(minor / factor) }
    }

    /// Returns the minor units. Returns `None` if the units are no whole number of them.
    #[cfg(any(test, feature = "razorpay", feature = "stripe"))]
    fn to_minor(self, units: i64) -> Option<i64> {
        let factor = 10_i64.pow(self.iso_decimals.abs_diff(self.decimals));
        if self.decimals >= self.iso_decimals {
            (units % factor == 0).then_some(units / factor)
        } else {
            units.checked_mul(factor)
        }
    }
}

/// Returns the rule of an amount that the provider can state.
fn checked_rule(form: WireForm, money: Money) -> Result<WireRule, PaymentError> {
    let label = form.label();
    let Some(rule) = WireRule::of(form, money.currency()) else {
        let code = money.currency().code();
        return Err(refused(format!("{label} has no form for amounts in {code}; use another currency")));
    };
    let grid = rule.grid();
    let rest = money.minor().rem_euclid(grid);
    if rest == 0 {
        return Ok(rule);
    }
    let below = money.minor().saturating_sub(rest);
    let nearest = if rest * 2 >= grid { below.saturating_add(grid) } else { below };
    let nearest = Money::new(nearest, money.currency());
    Err(refused(format!("{label} can't state {money} exactly; use {nearest}")))
}

fn refused(message: String) -> PaymentError {
    PaymentError::Rejected { code: Some(AMOUNT_NOT_EXPRESSIBLE.into()), message }
}

/// Returns an amount in the units of a provider.
///
/// # Errors
/// Fails with [`PaymentError::Rejected`] and the code `amount_not_expressible` if the provider can't state the amount
/// exactly. The message has the nearest amount that it can state.
pub(crate) fn to_minor_units(form: WireForm, money: Money) -> Result<i64, PaymentError> {
    let rule = checked_rule(form, money)?;
    let too_large = || refused(format!("{money} is too large for {}; use a smaller amount", form.label()));
    rule.to_units(money.minor()).ok_or_else(too_large)
}

/// Returns an amount as the decimal text of a provider.
///
/// # Errors
/// Fails as [`to_minor_units`] does.
#[cfg(any(test, feature = "paypal"))]
pub(crate) fn to_decimal(form: WireForm, money: Money) -> Result<String, PaymentError> {
    let rule = checked_rule(form, money)?;
    let amount = money.amount();
    Ok(match amount.split_once('.') {
        Some((whole, _)) if rule.decimals == 0 => whole.to_owned(),
        _ => amount,
    })
}

/// Returns the amount that a provider states in its units. The code of the currency may be in small letters. Returns
/// `None` if there is no such currency, or if the units are no whole number of minor units.
#[cfg(any(test, feature = "razorpay", feature = "stripe"))]
pub(crate) fn from_minor_units(form: WireForm, units: i64, currency: &str) -> Option<Money> {
    let currency = Currency::from_code(&currency.to_ascii_uppercase())?;
    let minor = WireRule::of(form, currency)?.to_minor(units)?;
    Some(Money::new(minor, currency))
}

/// Returns the amount that a provider states as a decimal text. Returns `None` if there is no such currency, or if the
/// text is no number of minor units.
#[cfg(any(test, feature = "paypal"))]
pub(crate) fn from_decimal(form: WireForm, amount: &str, currency: &str) -> Option<Money> {
    let currency = Currency::from_code(&currency.to_ascii_uppercase())?;
    WireRule::of(form, currency)?;
    // Providers write zeros after the point for currencies without decimals too.
    let amount = if amount.contains('.') { amount.trim_end_matches('0').trim_end_matches('.') } else { amount };
    Money::parse(amount, currency.code()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [WireForm; 4] = [WireForm::Stripe, WireForm::PayPal, WireForm::Razorpay, WireForm::Iso];

    /// Returns all currencies, by trying every code.
    fn currencies() -> Vec<Currency> {
        let letters = || 'A'..='Z';
        let codes = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
        codes.filter_map(|code| Currency::from_code(&code)).collect()
    }

    fn message(error: PaymentError) -> String {
        match error {
            PaymentError::Rejected { code: Some(code), message } if code == AMOUNT_NOT_EXPRESSIBLE => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_amount_in_every_currency_is_stated_exactly_or_refused() {
        for currency in currencies() {
            for form in FORMS {
                for minor in [0, 1, 9, 10, 99, 100, 1_000, 1_234, 12_345, 123_450, 1_000_000, -100, -1_234] {
                    let money = Money::new(minor, currency);
                    let Some(rule) = WireRule::of(form, currency) else {
                        assert!(to_minor_units(form, money).is_err() && to_decimal(form, money).is_err(), "{money}");
                        assert_eq!(from_minor_units(form, minor, currency.code()), None);
                        assert_eq!(from_decimal(form, "1", currency.code()), None);
                        continue;
                    };
                    match to_minor_units(form, money) {
                        Ok(units) => {
                            assert_eq!(units % rule.multiple, 0, "{form:?} {money}");
                            assert_eq!(from_minor_units(form, units, currency.code()), Some(money), "{form:?} {money}");
                            let text = to_decimal(form, money).unwrap();
                            assert_eq!(from_decimal(form, &text, currency.code()), Some(money), "{form:?} {money}");
                        }
                        Err(error) => {
                            assert_ne!(form, WireForm::Iso, "{money}");
                            assert!(to_decimal(form, money).is_err(), "{form:?} {money}");
                            // The message names an amount that is accepted.
                            let message = message(error);
                            let (amount, code) = message.rsplit_once("; use ").unwrap().1.split_once(' ').unwrap();
                            let nearest = Money::parse(amount, code).unwrap();
                            assert!(to_minor_units(form, nearest).is_ok(), "{form:?} {message}");
                            assert!(nearest.minor().abs_diff(minor) <= rule.grid().unsigned_abs() / 2, "{message}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn amounts_have_the_exponent_of_the_provider() {
        for (form, amount, currency, units) in [
            (WireForm::Stripe, "100", "JPY", 100),
            (WireForm::Razorpay, "100", "JPY", 100),
            (WireForm::Iso, "100", "JPY", 100),
            (WireForm::Stripe, "10.00", "USD", 1_000),
            (WireForm::Razorpay, "10.00", "INR", 1_000),
            (WireForm::Stripe, "1234.50", "HUF", 123_450),
            (WireForm::Stripe, "100.00", "TWD", 10_000),
            (WireForm::Stripe, "500.00", "MGA", 500),
            (WireForm::Stripe, "5", "ISK", 500),
            (WireForm::Stripe, "5", "UGX", 500),
            (WireForm::Stripe, "1.230", "KWD", 1_230),
            (WireForm::Razorpay, "1.230", "KWD", 1_230),
            (WireForm::Stripe, "1000", "XOF", 1_000),
            (WireForm::Iso, "1.234", "KWD", 1_234),
            (WireForm::Iso, "3", "XAU", 3),
            (WireForm::Iso, "0.0001", "CLF", 1),
        ] {
            let money = Money::parse(amount, currency).unwrap();
            assert_eq!(to_minor_units(form, money), Ok(units), "{form:?} {money}");
            assert_eq!(from_minor_units(form, units, &currency.to_lowercase()), Some(money), "{form:?} {money}");
        }
        for (amount, currency, text) in
            [("100", "JPY", "100"), ("1235.00", "HUF", "1235"), ("90.00", "TWD", "90"), ("10.50", "EUR", "10.50")]
        {
            let money = Money::parse(amount, currency).unwrap();
            assert_eq!(to_decimal(WireForm::PayPal, money).as_deref(), Ok(text), "{money}");
            assert_eq!(from_decimal(WireForm::PayPal, text, currency), Some(money), "{money}");
        }
        assert_eq!(from_decimal(WireForm::PayPal, "100.00", "JPY"), Some(Money::parse("100", "JPY").unwrap()));
    }

    #[test]
    fn an_amount_that_can_not_be_stated_is_refused_with_the_nearest_one() {
        for (form, amount, currency, nearest) in [
            (WireForm::Stripe, "1.234", "KWD", "1.230 KWD"),
            (WireForm::Razorpay, "1.235", "KWD", "1.240 KWD"),
            (WireForm::Stripe, "500.20", "MGA", "500.00 MGA"),
            (WireForm::PayPal, "1234.50", "HUF", "1235.00 HUF"),
            (WireForm::PayPal, "1.01", "TWD", "1.00 TWD"),
        ] {
            let message = message(to_minor_units(form, Money::parse(amount, currency).unwrap()).unwrap_err());
            assert!(message.ends_with(&format!("use {nearest}")), "{message}");
        }
        for (form, units, currency) in [
            (WireForm::Stripe, 550, "ISK"),
            (WireForm::Stripe, 1, "UGX"),
            (WireForm::Stripe, 100, "CLF"),
            (WireForm::Stripe, 100, "AAA"),
            (WireForm::Razorpay, 100, ""),
        ] {
            assert_eq!(from_minor_units(form, units, currency), None, "{form:?} {units} {currency}");
        }
        for (amount, currency) in [("1.5", "JPY"), ("1.001", "EUR"), ("1", "XXX"), ("one", "EUR"), ("1.0", "EURO")] {
            assert_eq!(from_decimal(WireForm::PayPal, amount, currency), None, "{amount} {currency}");
        }
        let largest = Money::new(i64::MAX, Currency::ISK);
        assert!(message(to_minor_units(WireForm::Stripe, largest).unwrap_err()).contains("too large"));
    }
}
