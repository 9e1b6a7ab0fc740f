//! The rules of wallets: which grants a use takes, what a return gives back, and what an adjustment may do.

use super::{
    credits::Credits,
    model::{CreditPart, WalletGrantId},
};

/// Largest balance of a wallet, and largest amount of a grant: a billion credits. A floating-point number of JSON has
/// it with all decimals.
pub(super) const MAX_WALLET_BALANCE: Credits = Credits::from_millionths(1_000_000_000_000_000);

/// The credits that are left of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenGrant {
    pub(super) id: WalletGrantId,
    pub(super) remaining: Credits,
}

/// Takes an amount from grants, in their order. Returns the parts, or `None` if the grants have less.
pub(super) fn take(grants: &[OpenGrant], amount: Credits) -> Option<Vec<CreditPart>> {
    collect(grants.iter().map(|grant| CreditPart { grant_id: grant.id, amount: grant.remaining }), amount)
}

/// Gives an amount of a use back to its grants, to the last of them first. Returns the parts, or `None` if the use was
/// smaller.
pub(super) fn give_back(used: &[CreditPart], amount: Credits) -> Option<Vec<CreditPart>> {
    collect(used.iter().rev().copied(), amount)
}

fn collect(available: impl Iterator<Item = CreditPart>, amount: Credits) -> Option<Vec<CreditPart>> {
    let mut missing = amount;
    let mut parts = Vec::new();
    for part in available {
        let taken = part.amount.min(missing);
        if taken > Credits::ZERO {
            parts.push(CreditPart { grant_id: part.grant_id, amount: taken });
            missing = missing - taken;
        }
    }
    (missing == Credits::ZERO).then_some(parts)
}

/// The amounts of a grant after an adjustment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GrantAdjustment {
    pub(super) amount: Credits,
    pub(super) remaining: Credits,
    /// The change of the balance.
    pub(super) change: Credits,
    /// Whether more is refunded than was left, so that the grant ends: credits that are returned to it would be a second
    /// refund.
    pub(super) ends: bool,
}

/// Adjusts a grant to an amount, or to what is used of it if that is more; then the grant ends. Returns `None` if the
/// grant has expired and would grow.
pub(super) fn adjust(
    amount: Credits,
    remaining: Credits,
    target: Credits,
    has_expired: bool,
) -> Option<GrantAdjustment> {
    let used = amount - remaining;
    let adjusted = target.max(used);
    if has_expired && adjusted > amount {
        return None;
    }
    let (remaining, change) = (adjusted - used, adjusted - amount);
    Some(GrantAdjustment { amount: adjusted, remaining, change, ends: target < used })
}

/// Returns whether a balance is below the one from which on the tenant wants to be told.
pub(super) fn is_low(balance: Credits, low_below: Option<Credits>) -> bool {
    low_below.is_some_and(|low_below| balance < low_below)
}

/// Returns whether a wallet has room for more credits.
pub(super) fn has_room(balance: Credits, more: Credits) -> bool {
    balance + more <= MAX_WALLET_BALANCE
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use uuid::Uuid;

    use super::*;

    fn id(number: usize) -> WalletGrantId {
        WalletGrantId::from_uuid(Uuid::from_u128(u128::try_from(number).unwrap()))
    }

    fn grants(remaining: &[i64]) -> Vec<OpenGrant> {
        let grant = |(number, remaining): (usize, &i64)| OpenGrant {
            id: id(number),
            remaining: Credits::from_millionths(*remaining),
        };
        remaining.iter().enumerate().map(grant).collect()
    }

    fn amounts(parts: Option<Vec<CreditPart>>) -> Option<Vec<(usize, i64)>> {
        let number = |part: &CreditPart| usize::try_from(part.grant_id.uuid().as_u128()).unwrap();
        parts.map(|parts| parts.iter().map(|part| (number(part), part.amount.millionths())).collect())
    }

    #[test]
    fn a_use_takes_grants_in_their_order() {
        for (remaining, amount, expected) in [
            (vec![5, 5], 3, Some(vec![(0, 3)])),
            (vec![5, 5], 5, Some(vec![(0, 5)])),
            (vec![5, 5], 7, Some(vec![(0, 5), (1, 2)])),
            (vec![5, 0, 5], 10, Some(vec![(0, 5), (2, 5)])),
            (vec![5, 5], 11, None),
            (vec![], 1, None),
        ] {
            let taken = take(&grants(&remaining), Credits::from_millionths(amount));
            assert_eq!(amounts(taken), expected, "{amount} of {remaining:?}");
        }
    }

    #[test]
    fn a_return_begins_with_the_last_grant() {
        let used = take(&grants(&[5, 5, 5]), Credits::from_millionths(12)).unwrap();
        for (amount, expected) in [
            (1, Some(vec![(2, 1)])),
            (2, Some(vec![(2, 2)])),
            (8, Some(vec![(2, 2), (1, 5), (0, 1)])),
            (12, Some(vec![(2, 2), (1, 5), (0, 5)])),
            (13, None),
        ] {
            assert_eq!(amounts(give_back(&used, Credits::from_millionths(amount))), expected, "{amount}");
        }
    }

    #[test]
    fn an_adjustment_keeps_what_is_used() {
        // 1000 are granted and 100 are used. The refunds are cumulative: 250, 500, 1000, and 1000 again.
        let (mut amount, mut remaining) = (Credits::from(1000), Credits::from(900));
        for (target, expected_amount, expected_change, ends) in
            [(750, 750, -250, false), (500, 500, -250, false), (100, 100, -400, false), (0, 100, 0, true)]
        {
            let adjusted = adjust(amount, remaining, Credits::from(target), false).unwrap();
            assert_eq!(adjusted.amount, Credits::from(expected_amount), "{target}");
            assert_eq!(adjusted.change, Credits::from_millionths(expected_change * 1_000_000), "{target}");
            assert_eq!(adjusted.ends, ends, "{target}");
            (amount, remaining) = (adjusted.amount, adjusted.remaining);
        }
        assert_eq!(remaining, Credits::ZERO);
        let back = adjust(amount, remaining, Credits::from(150), false).unwrap();
        assert_eq!((back.amount, back.remaining), (Credits::from(150), Credits::from(50)));
        assert_eq!(adjust(amount, Credits::ZERO, Credits::from(150), true), None);
        let unchanged = GrantAdjustment { amount, remaining: Credits::ZERO, change: Credits::ZERO, ends: true };
        assert_eq!(adjust(amount, Credits::ZERO, Credits::from(20), true), Some(unchanged));
    }

    proptest! {
        #[test]
        fn a_use_takes_all_of_a_grant_before_the_next(remaining in vec(0..1_000_i64, 0..20), amount in 1..10_000_i64) {
            let grants = grants(&remaining);
            let total: i64 = remaining.iter().sum();
            let Some(parts) = take(&grants, Credits::from_millionths(amount)) else {
                prop_assert!(total < amount);
                return Ok(());
            };
            prop_assert!(total >= amount);
            let taken: Credits = parts.iter().map(|part| part.amount).sum();
            prop_assert_eq!(taken.millionths(), amount);
            let positive: Vec<_> = grants.iter().filter(|grant| grant.remaining > Credits::ZERO).collect();
            for (index, (part, grant)) in parts.iter().zip(positive).enumerate() {
                prop_assert_eq!(part.grant_id, grant.id);
                let is_last = index + 1 == parts.len();
                prop_assert!(part.amount == grant.remaining || (is_last && part.amount < grant.remaining));
            }
            // All of it can be given back, and not more.
            let back = give_back(&parts, Credits::from_millionths(amount)).unwrap();
            prop_assert_eq!(back.iter().rev().copied().collect::<Vec<_>>(), parts.clone());
            prop_assert!(give_back(&parts, Credits::from_millionths(amount + 1)).is_none());
        }

        #[test]
        fn only_the_last_adjustment_counts(
            amount in 0..1_000_i64, used in 0..1_000_i64, first in 0..2_000_i64, last in 0..2_000_i64,
        ) {
            let credits = Credits::from_millionths;
            let used = used.min(amount);
            let (amount, remaining) = (credits(amount), credits(amount - used));
            let once = adjust(amount, remaining, credits(first), false).unwrap();
            let twice = adjust(once.amount, once.remaining, credits(last), false).unwrap();
            let direct = adjust(amount, remaining, credits(last), false).unwrap();
            prop_assert_eq!((twice.amount, twice.remaining), (direct.amount, direct.remaining));
            prop_assert_eq!(once.change + twice.change, direct.change);
            prop_assert_eq!(direct.amount - direct.remaining, credits(used));
            prop_assert!(direct.remaining >= Credits::ZERO && direct.amount >= credits(last));
            let again = adjust(direct.amount, direct.remaining, credits(last), false).unwrap();
            prop_assert_eq!(again.change, Credits::ZERO);
        }
    }
}
