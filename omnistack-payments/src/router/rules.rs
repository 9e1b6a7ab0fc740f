//! The rules of a tenant, by which payments are routed.

use garde::Validate;
use omnistack_core::{
    http::FieldError,
    money::{Currency, Money},
    payment::PaymentMethodKind,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Largest number of rules of a tenant in one environment.
pub(super) const MAX_RULES_PER_TENANT: usize = 50;
/// Largest number of services of a rule.
const MAX_SERVICES_PER_RULE: usize = 20;
/// Largest weight of a service.
const MAX_WEIGHT: u32 = 1_000;

/// The order in which the accounts of a rule are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RouteStrategy {
    /// The order of the rule.
    Ordered,
    /// The lowest estimated fee first. Accounts without an estimate come last.
    #[default]
    Cheapest,
    /// A random order, in which each account is first as often as its weight says.
    Weighted,
}

impl RouteStrategy {
    /// Returns the strategy as it is stored.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Cheapest => "cheapest",
            Self::Weighted => "weighted",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Ordered, Self::Cheapest, Self::Weighted].into_iter().find(|strategy| strategy.as_str() == text)
    }
}

/// A service of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteService {
    /// The name of the service.
    #[garde(length(chars, max = 50))]
    #[schema(max_length = 50)]
    pub(super) name: String,
    /// The weight, from 0 to 1000, for the strategy `weighted`. A service of weight 0 is tried only after the others.
    #[garde(range(max = MAX_WEIGHT))]
    #[serde(default = "default_weight")]
    #[schema(minimum = 0, maximum = 1000)]
    pub(super) weight: u32,
}

const fn default_weight() -> u32 {
    1
}

/// A rule by which payments are routed. It applies to a payment that has all the properties that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteRule {
    /// The ISO 4217 code of the currency; `null` for all.
    #[garde(length(chars, max = 3))]
    #[serde(default)]
    #[schema(required, max_length = 3)]
    pub(super) currency: Option<String>,
    /// The country of the payer, as ISO 3166-1 alpha-2 in capitals; `null` for all.
    #[garde(length(chars, max = 2))]
    #[serde(default)]
    #[schema(required, max_length = 2)]
    pub(super) country: Option<String>,
    /// The kind of payment method; `null` for all.
    #[garde(skip)]
    #[serde(default)]
    #[schema(required)]
    pub(super) method: Option<PaymentMethodKind>,
    /// The least amount in minor units of `currency`; `null` for no limit.
    #[garde(inner(range(min = 0)))]
    #[serde(default)]
    #[schema(required, minimum = 0)]
    pub(super) min_amount: Option<i64>,
    /// The largest amount in minor units of `currency`; `null` for no limit.
    #[garde(inner(range(min = 0)))]
    #[serde(default)]
    #[schema(required, minimum = 0)]
    pub(super) max_amount: Option<i64>,
    /// The order in which the accounts are tried.
    #[garde(skip)]
    #[serde(default)]
    pub(super) strategy: RouteStrategy,
    /// The services whose accounts take the payment. Empty for all.
    #[garde(length(max = MAX_SERVICES_PER_RULE), dive)]
    #[serde(default)]
    #[schema(max_items = 20)]
    pub(super) services: Vec<RouteService>,
}

impl RouteRule {
    /// Returns whether the rule applies to a payment.
    pub(super) fn applies_to(&self, amount: Money, method: PaymentMethodKind, country: Option<&str>) -> bool {
        self.currency.as_deref().is_none_or(|currency| currency == amount.currency().code())
            && self.country.as_deref().is_none_or(|one| Some(one) == country)
            && self.method.is_none_or(|one| one == method)
            && self.min_amount.is_none_or(|least| amount.minor() >= least)
            && self.max_amount.is_none_or(|most| amount.minor() <= most)
    }

    /// Returns the problems of the rule. `path` is its place in the request, and `services` are those of the app.
    pub(super) fn problems(&self, path: &str, services: &[&str]) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let mut report = |field: &str, message: &str| {
            problems.push(FieldError::new(format!("{path}.{field}"), message));
        };
        if self.currency.as_deref().is_some_and(|code| Currency::from_code(code).is_none()) {
            report("currency", "must be an ISO 4217 code in capitals, such as `USD`");
        }
        if self.country.as_deref().is_some_and(|country| !is_country(country)) {
            report("country", "must be an ISO 3166-1 alpha-2 code in capitals, such as `US`");
        }
        if self.currency.is_none() && (self.min_amount.is_some() || self.max_amount.is_some()) {
            report("currency", "must be set for a rule with `min_amount` or `max_amount`");
        }
        if self.min_amount.zip(self.max_amount).is_some_and(|(least, most)| least > most) {
            report("min_amount", "must be at most `max_amount`");
        }
        for (index, service) in self.services.iter().enumerate() {
            if !services.contains(&service.name.as_str()) {
                report(&format!("services[{index}].name"), &format!("must be one of {}", services.join(", ")));
            }
            if self.services[..index].iter().any(|other| other.name == service.name) {
                report(&format!("services[{index}].name"), "must be listed once");
            }
        }
        if self.strategy != RouteStrategy::Cheapest && self.services.is_empty() {
            report("services", "must be listed for this strategy");
        }
        let is_weighted = self.strategy == RouteStrategy::Weighted;
        if is_weighted && !self.services.is_empty() && self.services.iter().all(|service| service.weight == 0) {
            report("services", "must have a weight above 0");
        }
        problems
    }
}

/// Returns whether a text has the form of an ISO 3166-1 alpha-2 code in capitals.
pub(super) fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Returns the indices of the weights in a random order, in which each is first as often as its weight says. Those of
/// weight 0 are last, in their order. The order follows from the seed.
pub(super) fn weighted_order(weights: &[u32], seed: u64) -> Vec<usize> {
    let (mut order, mut seed) = (Vec::with_capacity(weights.len()), seed);
    let mut rest: Vec<usize> = (0..weights.len()).collect();
    loop {
        let total: u64 = rest.iter().map(|index| u64::from(weights[*index])).sum();
        if total == 0 {
            order.append(&mut rest);
            return order;
        }
        seed = mixed(seed);
        let mut point = seed % total;
        let mut chosen = 0;
        for (place, index) in rest.iter().enumerate() {
            let weight = u64::from(weights[*index]);
            if point < weight {
                chosen = place;
                break;
            }
            point -= weight;
        }
        order.push(rest.remove(chosen));
    }
}

/// Returns the next number of the generator `SplitMix64`.
const fn mixed(seed: u64) -> u64 {
    let next = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let next = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let next = (next ^ (next >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    next ^ (next >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(change: impl FnOnce(&mut RouteRule)) -> RouteRule {
        let mut rule = RouteRule::default();
        change(&mut rule);
        rule
    }

    #[test]
    fn a_rule_applies_to_payments_with_all_its_properties() {
        let usd = |minor| Money::new(minor, Currency::USD);
        let all = RouteRule::default();
        let dollars = rule(|rule| rule.currency = Some("USD".into()));
        let germany = rule(|rule| rule.country = Some("DE".into()));
        let cards = rule(|rule| rule.method = Some(PaymentMethodKind::Card));
        let range = rule(|rule| (rule.min_amount, rule.max_amount) = (Some(100), Some(200)));
        for (rule, amount, method, country, applies) in [
            (&all, usd(1), PaymentMethodKind::Upi, None, true),
            (&dollars, usd(1), PaymentMethodKind::Card, None, true),
            (&dollars, Money::new(1, Currency::EUR), PaymentMethodKind::Card, None, false),
            (&germany, usd(1), PaymentMethodKind::Card, Some("DE"), true),
            (&germany, usd(1), PaymentMethodKind::Card, Some("AT"), false),
            (&germany, usd(1), PaymentMethodKind::Card, None, false),
            (&cards, usd(1), PaymentMethodKind::Card, None, true),
            (&cards, usd(1), PaymentMethodKind::Upi, None, false),
            (&range, usd(99), PaymentMethodKind::Card, None, false),
            (&range, usd(100), PaymentMethodKind::Card, None, true),
            (&range, usd(200), PaymentMethodKind::Card, None, true),
            (&range, usd(201), PaymentMethodKind::Card, None, false),
        ] {
            assert_eq!(rule.applies_to(amount, method, country), applies, "{rule:?} {amount} {method:?} {country:?}");
        }
    }

    #[test]
    fn services_are_first_as_often_as_their_weights_say() {
        let mut first = [0_u32; 3];
        for seed in 0..10_000 {
            let order = weighted_order(&[70, 0, 30], seed);
            assert_eq!(order.len(), 3);
            assert_eq!(order[2], 1, "weight 0 is last");
            first[order[0]] += 1;
        }
        assert!((6_800..=7_200).contains(&first[0]) && first[1] == 0, "{first:?}");
        assert_eq!(weighted_order(&[0, 0], 7), [0, 1]);
        assert_eq!(weighted_order(&[], 7), [0_usize; 0]);
    }
}
