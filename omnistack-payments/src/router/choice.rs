//! The order in which accounts are tried for a payment. No I/O.

use omnistack_core::{
    money::Money,
    payment::{PaymentMethodKind, PaymentProvider},
};

use super::rules::{RouteRule, RouteStrategy, weighted_order};

/// An account that can take the payment.
pub(super) struct AccountOffer<'a> {
    pub(super) service: &'a str,
    /// The estimated fee, in the currency of the payment.
    pub(super) fee: Option<Money>,
    /// Whether its last calls failed.
    pub(super) is_avoided: bool,
}

/// The place of an account in the order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChosenAccount {
    /// The index of the offer.
    pub(super) index: usize,
    pub(super) reason: String,
}

/// A payment that is routed.
pub(super) struct RoutedPayment<'a> {
    pub(super) amount: Money,
    pub(super) method: PaymentMethodKind,
    pub(super) country: Option<&'a str>,
    /// The service that the request names.
    pub(super) named: Option<&'a str>,
}

/// Returns why an account can't take a payment. Returns `None` if it can.
pub(super) fn obstacle(provider: &dyn PaymentProvider, payment: &RoutedPayment<'_>) -> Option<String> {
    let profile = provider.profile();
    let currency = payment.amount.currency();
    if !profile.methods.contains(&payment.method) {
        return Some("it does not support this kind of payment method".to_owned());
    }
    if !profile.currencies.is_empty() && !profile.currencies.contains(&currency) {
        return Some(format!("it does not support {}", currency.code()));
    }
    if let Some(country) = payment.country
        && !profile.countries.is_empty()
        && !profile.countries.contains(&country)
    {
        return Some(format!("it does not support payers in {country}"));
    }
    provider.check_amount(payment.amount).err().map(|error| error.to_string())
}

/// Puts the offers in the order in which they are tried, with the reason of each place. Offers that the applying rule
/// does not list are left out. The first rule that applies and has an offer decides; without one, the lowest estimated
/// fee comes first. Accounts whose last calls failed come last. `seed` decides between weighted accounts.
pub(super) fn choose(
    offers: &[AccountOffer<'_>],
    rules: &[RouteRule],
    payment: &RoutedPayment<'_>,
    seed: u64,
) -> Vec<ChosenAccount> {
    if let Some(named) = payment.named {
        let index = offers.iter().position(|offer| offer.service == named);
        let chosen = index.map(|index| ChosenAccount { index, reason: "the request names it".to_owned() });
        return chosen.into_iter().collect();
    }
    let ruled = rules
        .iter()
        .zip(1..)
        .filter(|(rule, _)| rule.applies_to(payment.amount, payment.method, payment.country))
        .map(|(rule, number)| by_rule(offers, rule, &format!("rule {number}"), seed))
        .find(|chosen| !chosen.is_empty());
    let by_default = || by_rule(offers, &RouteRule::default(), "no rule applies", seed);
    let mut chosen = ruled.unwrap_or_else(by_default);
    // The sort is stable, so the order within both groups stays.
    chosen.sort_by_key(|account| offers[account.index].is_avoided);
    for account in &mut chosen {
        if offers[account.index].is_avoided {
            account.reason.push_str("; it comes last because its last calls failed");
        }
    }
    chosen
}

/// Returns the offers of a rule in the order of its strategy.
fn by_rule(offers: &[AccountOffer<'_>], rule: &RouteRule, name: &str, seed: u64) -> Vec<ChosenAccount> {
    let find = |service: &str| offers.iter().position(|offer| offer.service == service);
    let listed: Vec<(usize, u32)> = if rule.services.is_empty() {
        (0..offers.len()).map(|index| (index, 1)).collect()
    } else {
        rule.services.iter().filter_map(|service| Some((find(&service.name)?, service.weight))).collect()
    };
    let chosen = |index: usize, why: String| ChosenAccount { index, reason: format!("{name}: {why}") };
    match rule.strategy {
        RouteStrategy::Ordered => {
            let places = listed.into_iter().zip(1..);
            places.map(|((index, _), place)| chosen(index, format!("it has place {place}"))).collect()
        }
        RouteStrategy::Weighted => {
            let weights: Vec<u32> = listed.iter().map(|(_, weight)| *weight).collect();
            let order = weighted_order(&weights, seed).into_iter().map(|place| listed[place]);
            order.map(|(index, weight)| chosen(index, format!("its weight is {weight}"))).collect()
        }
        RouteStrategy::Cheapest => {
            let mut indices: Vec<usize> = listed.into_iter().map(|(index, _)| index).collect();
            indices.sort_by_key(|index| fee_rank(offers[*index].fee));
            let lowest = indices.first().and_then(|index| offers[*index].fee);
            let why = |index: usize| match offers[index].fee {
                None => "its fee is not known".to_owned(),
                Some(fee) if Some(fee) == lowest => format!("its estimated fee of {fee} is the lowest"),
                Some(fee) => format!("its estimated fee is {fee}"),
            };
            indices.iter().map(|index| chosen(*index, why(*index))).collect()
        }
    }
}

/// Returns the place of a fee among the fees of a payment, which are in one currency. A fee that is not known comes
/// last.
pub(super) fn fee_rank(fee: Option<Money>) -> (bool, i64) {
    (fee.is_none(), fee.map_or(0, Money::minor))
}

#[cfg(test)]
mod tests {
    use omnistack_core::money::Currency;

    use super::*;

    const OFFERS: [(&str, Option<i64>, bool); 3] =
        [("paypal", Some(90), false), ("razorpay", None, false), ("stripe", Some(60), false)];

    fn order(offers: &[(&str, Option<i64>, bool)], rules: &str, named: Option<&str>) -> Vec<(String, String)> {
        let offers: Vec<AccountOffer<'_>> = offers
            .iter()
            .map(|(service, fee, is_avoided)| AccountOffer {
                service,
                fee: fee.map(|minor| Money::new(minor, Currency::USD)),
                is_avoided: *is_avoided,
            })
            .collect();
        let rules: Vec<RouteRule> = serde_json::from_str(rules).unwrap();
        let amount = Money::new(1_000, Currency::USD);
        let payment = RoutedPayment { amount, method: PaymentMethodKind::Card, country: Some("DE"), named };
        let chosen = choose(&offers, &rules, &payment, 7);
        chosen.into_iter().map(|account| (offers[account.index].service.to_owned(), account.reason)).collect()
    }

    fn names(offers: &[(&str, Option<i64>, bool)], rules: &str) -> String {
        order(offers, rules, None).into_iter().map(|(service, _)| service).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_first_rule_that_applies_and_has_an_account_decides() {
        for (rules, expected) in [
            ("[]", "stripe paypal razorpay"),
            (r#"[{"strategy":"ordered","services":[{"name":"razorpay"},{"name":"stripe"}]}]"#, "razorpay stripe"),
            (r#"[{"country":"AT","services":[{"name":"paypal"}]}]"#, "stripe paypal razorpay"),
            (r#"[{"services":[{"name":"gone"}]},{"services":[{"name":"paypal"}]}]"#, "paypal"),
            (r#"[{"currency":"USD","min_amount":1001},{"services":[{"name":"paypal"}]}]"#, "paypal"),
            (
                r#"[{"strategy":"weighted","services":[{"name":"stripe","weight":0},{"name":"paypal","weight":5}]}]"#,
                "paypal stripe",
            ),
        ] {
            assert_eq!(names(&OFFERS, rules), expected, "{rules}");
        }
    }

    #[test]
    fn accounts_whose_calls_fail_come_last() {
        let mut offers = OFFERS;
        offers[2].2 = true;
        assert_eq!(names(&offers, "[]"), "paypal razorpay stripe");
        let ordered = r#"[{"strategy":"ordered","services":[{"name":"stripe"},{"name":"paypal"}]}]"#;
        assert_eq!(names(&offers, ordered), "paypal stripe");
    }

    #[test]
    fn each_place_has_a_reason() {
        let reasons: Vec<String> = order(&OFFERS, "[]", None).into_iter().map(|(_, reason)| reason).collect();
        assert_eq!(
            reasons,
            [
                "no rule applies: its estimated fee of 0.60 USD is the lowest",
                "no rule applies: its estimated fee is 0.90 USD",
                "no rule applies: its fee is not known",
            ]
        );
        let named = order(&OFFERS, "[]", Some("razorpay"));
        assert_eq!(named, [("razorpay".to_owned(), "the request names it".to_owned())]);
        assert!(order(&OFFERS, "[]", Some("gone")).is_empty());
    }
}
