//! The fees of Razorpay.

use omnistack_core::{
    money::{Currency, Money},
    payment::PaymentMethodKind,
};

use crate::service::FeeQuestion;

/// The fee for payments in India, in hundredths of a percent: 2 %.
const DOMESTIC_RATE: i128 = 200;
/// The fee for cards of other countries, in hundredths of a percent: 3 %.
const INTERNATIONAL_RATE: i128 = 300;
/// A fee with the tax on services of 18 %, in percent.
const TAX_FACTOR: i128 = 118;
/// The country of the accounts.
const HOME_COUNTRY: &str = "IN";

/// Returns the fee of a payment by Razorpay's price list, with the tax on it: <https://razorpay.com/pricing/>. Returns
/// `None` for a payment method without a price.
pub(super) fn estimate(question: &FeeQuestion) -> Option<Money> {
    let currency = question.amount.currency();
    let is_domestic = match &question.country {
        Some(country) => country == HOME_COUNTRY,
        None => currency == Currency::INR,
    };
    let rate = match question.method {
        PaymentMethodKind::Card if !is_domestic => INTERNATIONAL_RATE,
        PaymentMethodKind::Card
        | PaymentMethodKind::Upi
        | PaymentMethodKind::NetBanking
        | PaymentMethodKind::Wallet
            if is_domestic =>
        {
            DOMESTIC_RATE
        }
        _ => return None,
    };
    let fee = (i128::from(question.amount.minor()) * rate * TAX_FACTOR + 500_000) / 1_000_000;
    Some(Money::new(i64::try_from(fee).ok()?, currency))
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
        let (card, upi) = (PaymentMethodKind::Card, PaymentMethodKind::Upi);
        assert_eq!(fee("1000.00", "INR", card, None).as_deref(), Some("23.60 INR"));
        assert_eq!(fee("1000.00", "INR", upi, Some("IN")).as_deref(), Some("23.60 INR"));
        assert_eq!(fee("1000.00", "INR", card, Some("DE")).as_deref(), Some("35.40 INR"));
        assert_eq!(fee("100.00", "USD", card, None).as_deref(), Some("3.54 USD"));
        assert_eq!(fee("100.00", "USD", upi, None), None);
        assert_eq!(fee("100.00", "INR", PaymentMethodKind::Paypal, None), None);
    }
}
