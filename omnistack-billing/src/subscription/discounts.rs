//! Discounts of subscriptions: pure rules.

use omnistack_core::{
    clock::Timestamp,
    payment::{DiscountDuration, DiscountReduction, SubscriptionDiscount},
};

use super::terms::{SubscriptionTerms, monthly_amount};
use crate::period::BillingInterval;

/// The number of basis points of the whole price.
const ALL_BASIS_POINTS: i128 = 10_000;

/// Returns whether a discount reduces no invoice from a time on.
pub(super) fn has_ended(discount: &SubscriptionDiscount, now: Timestamp) -> bool {
    matches!(discount.duration, DiscountDuration::Until(end) if end <= now)
}

/// Returns the earliest time at which a discount ends.
pub(super) fn first_end(discounts: &[SubscriptionDiscount]) -> Option<Timestamp> {
    let ends = discounts.iter().filter_map(|discount| match discount.duration {
        DiscountDuration::Until(end) => Some(end),
        DiscountDuration::Once | DiscountDuration::Forever => None,
    });
    ends.min()
}

/// Returns the price of a month less the discounts that recur, in minor units, at least 0. Shares are rounded half up. A
/// discount of one invoice does not recur. One that the provider does not state, or states in another currency, is not
/// known.
pub(super) fn discounted_price(terms: &SubscriptionTerms, discounts: &[SubscriptionDiscount]) -> i64 {
    let recurring = discounts.iter().filter(|discount| discount.duration != DiscountDuration::Once);
    recurring.fold(terms.monthly_price, |price, discount| match discount.reduction {
        DiscountReduction::BasisPoints(points) => {
            let kept = (ALL_BASIS_POINTS - i128::from(points)).max(0);
            let rounded = (i128::from(price) * kept + ALL_BASIS_POINTS / 2).div_euclid(ALL_BASIS_POINTS);
            i64::try_from(rounded).unwrap_or(price)
        }
        DiscountReduction::Amount(amount) if amount.currency().code() == terms.currency => {
            let interval = terms.interval.parse::<BillingInterval>();
            let reduction = interval.map_or(0, |interval| monthly_amount(amount, interval, 1));
            price.saturating_sub(reduction).max(0)
        }
        DiscountReduction::Amount(_) | DiscountReduction::Unknown => price,
    })
}

#[cfg(test)]
mod tests {
    use omnistack_core::money::{Currency, Money};

    use super::*;

    #[test]
    fn recurring_discounts_reduce_the_price_of_a_month() {
        use DiscountDuration::{Forever, Once, Until};
        use DiscountReduction::{Amount, BasisPoints, Unknown};
        let end = Until(Timestamp::from_micros(1));
        let usd = |minor| Amount(Money::new(minor, Currency::USD));
        for (interval, monthly_price, discounts, expected) in [
            ("month", 2_900, vec![], 2_900),
            ("month", 2_900, vec![(BasisPoints(2_000), Forever)], 2_320),
            ("month", 2_900, vec![(BasisPoints(2_000), end)], 2_320),
            ("month", 2_900, vec![(BasisPoints(2_000), Once)], 2_900),
            ("month", 2_900, vec![(BasisPoints(3_333), Forever)], 1_933),
            ("month", 2_900, vec![(BasisPoints(10_000), Forever)], 0),
            ("month", 2_900, vec![(BasisPoints(u16::MAX), Forever)], 0),
            ("month", 1, vec![(BasisPoints(5_000), Forever)], 1),
            ("month", 2_900, vec![(usd(500), Forever)], 2_400),
            ("month", 2_900, vec![(usd(500), Once)], 2_900),
            ("month", 2_900, vec![(usd(9_900), Forever)], 0),
            ("year", 2_417, vec![(usd(12_000), Forever)], 1_417),
            ("3 months", 2_900, vec![(usd(3_000), end)], 1_900),
            ("month", 2_900, vec![(Amount(Money::new(500, Currency::EUR)), Forever)], 2_900),
            ("month", 2_900, vec![(Unknown, Forever)], 2_900),
            // The order of the provider.
            ("month", 2_900, vec![(BasisPoints(5_000), end), (usd(450), Forever)], 1_000),
            ("month", 2_900, vec![(usd(450), Forever), (BasisPoints(5_000), end)], 1_225),
            ("month", i64::MAX, vec![(BasisPoints(0), Forever)], i64::MAX),
        ] {
            let terms = SubscriptionTerms {
                plan: "pro".to_owned(),
                version: 1,
                group: "main".to_owned(),
                interval: interval.to_owned(),
                quantity: 1,
                per_seat: false,
                monthly_price,
                currency: "USD".to_owned(),
            };
            let discount = |(reduction, duration)| SubscriptionDiscount { reduction, duration };
            let discounts: Vec<_> = discounts.into_iter().map(discount).collect();
            assert_eq!(discounted_price(&terms, &discounts), expected, "{interval} {discounts:?}");
        }
    }

    #[test]
    fn a_discount_ends_at_its_time() {
        let (early, late) = (Timestamp::from_micros(5), Timestamp::from_micros(9));
        let of = |duration| SubscriptionDiscount { reduction: DiscountReduction::Unknown, duration };
        let discounts = [
            of(DiscountDuration::Once),
            of(DiscountDuration::Until(late)),
            of(DiscountDuration::Until(early)),
            of(DiscountDuration::Forever),
        ];
        assert_eq!((first_end(&discounts), first_end(&discounts[3..])), (Some(early), None));
        assert_eq!(discounts.map(|discount| has_ended(&discount, early)), [false, false, true, false]);
    }
}
