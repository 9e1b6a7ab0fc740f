//! The fees of PayPal.

use omnistack_core::{
    money::{Currency, Money},
    payment::PaymentMethodKind,
};

use crate::service::FeeQuestion;

/// The fee for payments by PayPal's page, in hundredths of a percent: 3.49 %.
const CHECKOUT_RATE: i128 = 349;
/// The fee for cards, in hundredths of a percent: 2.99 %.
const CARD_RATE: i128 = 299;
/// The addition for payers in other countries, in hundredths of a percent: 1.50 %.
const INTERNATIONAL_RATE: i128 = 150;
/// The country of the account whose prices these are.
const HOME_COUNTRY: &str = "US";
/// The fixed part of each fee, in minor units: <https://www.paypal.com/us/business/paypal-business-fees>.
const FIXED_FEES: [(Currency, i128); 23] = [
    (Currency::AUD, 59),
    (Currency::BRL, 290),
    (Currency::CAD, 59),
    (Currency::CHF, 49),
    (Currency::CNY, 330),
    (Currency::CZK, 900),
    (Currency::DKK, 290),
    (Currency::EUR, 39),
    (Currency::GBP, 39),
    (Currency::HKD, 379),
    (Currency::HUF, 14_900),
    (Currency::ILS, 160),
    (Currency::JPY, 49),
    (Currency::MXN, 900),
    (Currency::MYR, 200),
    (Currency::NOK, 390),
    (Currency::NZD, 69),
    (Currency::PHP, 2_500),
    (Currency::PLN, 189),
    (Currency::SEK, 409),
    (Currency::SGD, 69),
    (Currency::TWD, 1_400),
    (Currency::USD, 49),
];

/// Returns the fee of a payment by the prices for accounts in the United States. Returns `None` for a currency or a
/// payment method without a price.
pub(super) fn estimate(question: &FeeQuestion) -> Option<Money> {
    let currency = question.amount.currency();
    let (_, fixed) = FIXED_FEES.into_iter().find(|(other, _)| *other == currency)?;
    let domestic = match question.method {
        PaymentMethodKind::Paypal => CHECKOUT_RATE,
        PaymentMethodKind::Card => CARD_RATE,
        _ => return None,
    };
    let is_international = question.country.as_deref().is_some_and(|country| country != HOME_COUNTRY);
    let rate = domestic + if is_international { INTERNATIONAL_RATE } else { 0 };
    let variable = (i128::from(question.amount.minor()) * rate + 5_000) / 10_000;
    Some(Money::new(i64::try_from(variable + fixed).ok()?, currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_are_those_of_the_price_list() {
        let fee = |amount: &str, currency: &str, method, country: Option<&str>| {
            let amount = Money::parse(amount, currency).unwrap();
            estimate(&FeeQuestion { amount, method, country: country.map(str::to_owned) }).map(|fee| fee.to_string())
        };
        let paypal = PaymentMethodKind::Paypal;
        assert_eq!(fee("100.00", "USD", paypal, None).as_deref(), Some("3.98 USD"));
        assert_eq!(fee("100.00", "USD", paypal, Some("US")).as_deref(), Some("3.98 USD"));
        assert_eq!(fee("100.00", "USD", paypal, Some("DE")).as_deref(), Some("5.48 USD"));
        assert_eq!(fee("100.00", "EUR", PaymentMethodKind::Card, None).as_deref(), Some("3.38 EUR"));
        assert_eq!(fee("1000", "JPY", paypal, None).as_deref(), Some("84 JPY"));
        assert_eq!(fee("1.000", "KWD", paypal, None), None);
        assert_eq!(fee("1.00", "USD", PaymentMethodKind::Upi, None), None);
    }
}
