//! Stripe's public prices for accounts in the country of each currency.
//!
//! Documentation: <https://stripe.com/pricing>. An account can have other prices, and conversions of currencies cost
//! more.

use omnistack_core::{
    money::{Currency, Money},
    payment::PaymentMethodKind,
};

use crate::service::FeeQuestion;

/// The prices of card payments in a currency.
struct CardPrices {
    currency: Currency,
    /// The countries whose cards have the first price. The cards of all others have the second one.
    domestic: &'static [&'static str],
    /// The share for domestic cards, in hundredths of a percent.
    domestic_rate: i128,
    /// The share for all other cards, in hundredths of a percent.
    foreign_rate: i128,
    /// The fixed part, in minor units.
    fixed: i128,
}

/// The European Economic Area.
const EEA: &[&str] = &[
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS", "IT", "LI", "LT",
    "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
];

const fn prices(
    currency: Currency,
    domestic: &'static [&'static str],
    (domestic_rate, foreign_rate): (i128, i128),
    fixed: i128,
) -> CardPrices {
    CardPrices { currency, domestic, domestic_rate, foreign_rate, fixed }
}

const CARD_PRICES: [CardPrices; 14] = [
    prices(Currency::USD, &["US"], (290, 440), 30),
    prices(Currency::EUR, EEA, (150, 325), 25),
    prices(Currency::GBP, &["GB"], (150, 325), 20),
    prices(Currency::CAD, &["CA"], (290, 370), 30),
    prices(Currency::AUD, &["AU"], (170, 350), 30),
    prices(Currency::NZD, &["NZ"], (265, 370), 30),
    prices(Currency::CHF, &["CH"], (290, 325), 30),
    prices(Currency::SEK, EEA, (150, 325), 180),
    prices(Currency::DKK, EEA, (150, 325), 180),
    prices(Currency::NOK, EEA, (240, 325), 200),
    prices(Currency::PLN, EEA, (150, 325), 100),
    prices(Currency::JPY, &["JP"], (360, 360), 0),
    prices(Currency::SGD, &["SG"], (340, 390), 50),
    prices(Currency::INR, &["IN"], (200, 300), 0),
];

/// The price of a SEPA direct debit, in cents.
const SEPA_DEBIT_FEE: i64 = 35;
/// The share of bank transfers, in hundredths of a percent.
const BANK_TRANSFER_RATE: i128 = 50;
/// The largest fee of a bank transfer, in minor units.
const MAX_BANK_TRANSFER_FEE: i128 = 500;
/// Hundredths of a percent in the whole.
const WHOLE: i128 = 10_000;

/// Estimates the fee of a payment. A payer whose country is not known counts as domestic. Returns `None` for currencies
/// and payment methods without a price here.
pub(super) fn estimate(question: &FeeQuestion) -> Option<Money> {
    let (amount, currency) = (i128::from(question.amount.minor()), question.amount.currency());
    let fee = match question.method {
        PaymentMethodKind::Card | PaymentMethodKind::Wallet => {
            let prices = CARD_PRICES.iter().find(|prices| prices.currency == currency)?;
            let domestic = question.country.as_deref().is_none_or(|country| prices.domestic.contains(&country));
            share(amount, if domestic { prices.domestic_rate } else { prices.foreign_rate }) + prices.fixed
        }
        PaymentMethodKind::SepaDebit if currency == Currency::EUR => i128::from(SEPA_DEBIT_FEE),
        PaymentMethodKind::BankTransfer if [Currency::EUR, Currency::GBP, Currency::USD].contains(&currency) => {
            share(amount, BANK_TRANSFER_RATE).min(MAX_BANK_TRANSFER_FEE)
        }
        _ => return None,
    };
    i64::try_from(fee).ok().map(|minor| Money::new(minor, currency))
}

/// Returns a share of an amount, rounded half up.
fn share(amount: i128, rate: i128) -> i128 {
    (amount * rate + WHOLE / 2).div_euclid(WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_are_those_of_the_public_prices() {
        use PaymentMethodKind::{BankTransfer, Card, Paypal, SepaDebit, Wallet};
        for (amount, currency, method, country, fee) in [
            (10_000, Currency::USD, Card, Some("US"), Some(320)),
            (10_000, Currency::USD, Wallet, None, Some(320)),
            (10_000, Currency::USD, Card, Some("DE"), Some(470)),
            (2_900, Currency::EUR, Card, Some("FR"), Some(69)),
            (2_900, Currency::EUR, Card, Some("US"), Some(119)),
            (2_900, Currency::EUR, SepaDebit, None, Some(35)),
            (2_900, Currency::USD, SepaDebit, None, None),
            (1_000, Currency::JPY, Card, None, Some(36)),
            (50_000, Currency::EUR, BankTransfer, None, Some(250)),
            (5_000_000, Currency::EUR, BankTransfer, None, Some(500)),
            (2_900, Currency::USD, Paypal, None, None),
            (2_900, Currency::KWD, Card, None, None),
        ] {
            let question =
                FeeQuestion { amount: Money::new(amount, currency), method, country: country.map(str::to_owned) };
            let expected = fee.map(|minor| Money::new(minor, currency));
            assert_eq!(estimate(&question), expected, "{question:?}");
        }
    }
}
