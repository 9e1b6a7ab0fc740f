//! Discounts of subscriptions.

use omnistack_core::payment::{DiscountDuration, DiscountReduction, SubscriptionDiscount};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use serde_json::Value;

use super::object::StripeObject;

/// The coupons of the discounts of a subscription, as Stripe names them in `expand`.
pub(super) const DISCOUNTS: &str = "discounts.source.coupon";

/// Returns whether Stripe names discounts without their coupons.
pub(super) fn has_unstated_discounts(subscription: StripeObject<'_>) -> bool {
    subscription.items("/discounts").any(|discount| coupon_of(discount).is_none())
}

/// Reads the discounts of a subscription: a list since API 2024-04-10, and one object before. Some versions have both, and
/// the object is then one of the list.
pub(super) fn discounts_of(subscription: StripeObject<'_>) -> Vec<SubscriptionDiscount> {
    let listed: Vec<_> = subscription.items("/discounts").map(discount_of).collect();
    if listed.is_empty() { subscription.object("/discount").map(discount_of).into_iter().collect() } else { listed }
}

/// Returns the coupon of a discount, if it is stated: below `source` since API 2025-09-30, and in the discount before.
fn coupon_of(discount: StripeObject<'_>) -> Option<StripeObject<'_>> {
    discount.object("/source/coupon").or_else(|| discount.object("/coupon"))
}

fn discount_of(discount: StripeObject<'_>) -> SubscriptionDiscount {
    let coupon = coupon_of(discount);
    let basis_points = coupon.and_then(|coupon| basis_points(coupon.value("/percent_off")?));
    let amount = coupon.and_then(|coupon| coupon.money("/amount_off"));
    let reduction = basis_points.map(DiscountReduction::BasisPoints).or(amount.map(DiscountReduction::Amount));
    let duration = match (coupon.and_then(|coupon| coupon.text("/duration")), discount.time("/end")) {
        (Some("once"), _) => DiscountDuration::Once,
        (_, Some(end)) => DiscountDuration::Until(end),
        (_, None) => DiscountDuration::Forever,
    };
    SubscriptionDiscount { reduction: reduction.unwrap_or(DiscountReduction::Unknown), duration }
}

/// Returns a percentage, which is a number or a decimal text, in basis points.
fn basis_points(percent: &Value) -> Option<u16> {
    let text = percent.as_str().map_or_else(|| percent.to_string(), str::to_owned);
    let points = text.parse::<Decimal>().ok()?.checked_mul(Decimal::ONE_HUNDRED)?.round().to_u16()?;
    (1..=10_000).contains(&points).then_some(points)
}

#[cfg(test)]
mod tests {
    use omnistack_core::{
        clock::Timestamp,
        money::{Currency, Money},
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn discounts_are_read_in_all_layouts() {
        use DiscountDuration::{Forever, Once, Until};
        use DiscountReduction::{Amount, BasisPoints, Unknown};
        let end = Until(Timestamp::from_micros(400_000_000));
        let coupon =
            |fields: Value| json!({ "discounts": [{ "id": "di_1", "end": 400, "source": { "coupon": fields } }] });
        for (subscription, expected) in [
            (json!({}), vec![]),
            (json!({ "discounts": [], "discount": null }), vec![]),
            (json!({ "discounts": ["di_1"] }), vec![(Unknown, Forever)]),
            (json!({ "discounts": [{ "id": "di_1", "source": { "coupon": "WELCOME" } }] }), vec![(Unknown, Forever)]),
            (coupon(json!({ "percent_off": 20, "duration": "repeating" })), vec![(BasisPoints(2_000), end)]),
            (coupon(json!({ "percent_off": 33.33, "duration": "once" })), vec![(BasisPoints(3_333), Once)]),
            (coupon(json!({ "percent_off": "12.5", "duration": "repeating" })), vec![(BasisPoints(1_250), end)]),
            (coupon(json!({ "percent_off": 120, "duration": "repeating" })), vec![(Unknown, end)]),
            (coupon(json!({ "percent_off": [], "amount_off": "x", "duration": 7 })), vec![(Unknown, end)]),
            (
                coupon(json!({ "percent_off": null, "amount_off": 500, "currency": "jpy", "duration": "repeating" })),
                vec![(Amount(Money::new(500, Currency::JPY)), end)],
            ),
            (
                json!({ "discounts": [
                    { "end": null, "source": { "coupon": { "percent_off": 50, "duration": "forever" } } },
                    { "end": null, "source": { "coupon": { "amount_off": 450, "currency": "usd" } } },
                ] }),
                vec![(BasisPoints(5_000), Forever), (Amount(Money::new(450, Currency::USD)), Forever)],
            ),
            (
                json!({ "discount": { "end": 400, "coupon": { "percent_off": 25.0, "duration": "repeating" } } }),
                vec![(BasisPoints(2_500), end)],
            ),
            (
                json!({
                    "discounts": [{ "id": "di_1", "coupon": { "percent_off": 25, "duration": "forever" } }],
                    "discount": { "id": "di_1", "coupon": { "percent_off": 25, "duration": "forever" } },
                }),
                vec![(BasisPoints(2_500), Forever)],
            ),
        ] {
            let discounts = discounts_of(StripeObject::new(&subscription));
            let found: Vec<_> = discounts.iter().map(|discount| (discount.reduction, discount.duration)).collect();
            assert_eq!(found, expected, "{subscription}");
        }
    }

    #[test]
    fn unstated_discounts_are_known() {
        for (subscription, expected) in [
            (json!({}), false),
            (json!({ "discounts": ["di_1"] }), true),
            (json!({ "discounts": [{ "source": { "coupon": "WELCOME" } }] }), true),
            (json!({ "discounts": [{ "source": { "coupon": { "id": "WELCOME" } } }] }), false),
            (json!({ "discounts": [{ "coupon": { "id": "WELCOME" } }, "di_2"] }), true),
        ] {
            assert_eq!(has_unstated_discounts(StripeObject::new(&subscription)), expected, "{subscription}");
        }
    }
}
