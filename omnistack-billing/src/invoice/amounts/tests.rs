use proptest::{collection::vec, prelude::*};

use super::*;

fn exact(quantity: i64, quantity_decimals: u32, price: i64, price_decimals: u32) -> ExactAmount {
    let quantity = Factor { units: quantity, decimals: quantity_decimals };
    ExactAmount::product(quantity, Factor { units: price, decimals: price_decimals }, 2).unwrap()
}

#[test]
fn a_line_is_rounded_once_and_halves_away_from_zero() {
    for (quantity, price, rounded) in [
        ((1, 0), (2900, 2), 2900),
        ((3, 0), (3333, 4), 100),
        ((15, 1), (333, 2), 500),
        ((-15, 1), (333, 2), -500),
        ((1, 0), (5, 3), 1),
        ((-1, 0), (5, 3), -1),
        ((1, 0), (49, 4), 0),
        ((-1, 0), (49, 4), 0),
        ((1_000_000, 0), (4, 7), 40),
        ((1, 9), (1, 9), 0),
        ((7, 0), (12, 0), 8400),
    ] {
        let found = exact(quantity.0, quantity.1, price.0, price.1).rounded();
        assert_eq!(found, Some(rounded), "{quantity:?} x {price:?}");
    }
    let most = Factor { units: i64::MAX, decimals: 0 };
    assert_eq!(ExactAmount::product(most, Factor { units: 1, decimals: 0 }, 2), None);
    assert_eq!(ExactAmount::product(most, Factor { units: 1, decimals: 10 }, 2), None);
    let small = Factor { units: i64::MAX, decimals: 9 };
    assert_eq!(ExactAmount::product(small, small, 2).and_then(ExactAmount::rounded), None);
    assert!(ExactAmount::product(small, Factor { units: 10_i64.pow(9), decimals: 9 }, 2).is_some());
    // The yen has no decimals.
    let yen = ExactAmount::product(Factor { units: 25, decimals: 1 }, Factor { units: 1, decimals: 0 }, 0);
    assert_eq!(yen.and_then(ExactAmount::rounded), Some(3));
}

// Case 17: tax is that of the sum, and the last credit takes what is left.
#[test]
fn tax_is_that_of_the_sum_and_credits_add_up_to_it() {
    let rate = TaxRate::parse("20").unwrap();
    let lines = [6833, 6833, 5750, 8500];
    let sums = tax_sums(lines.map(|net| (TaxCategory::Standard, rate, net))).unwrap();
    let invoiced = sums[&(TaxCategory::Standard, rate)];
    assert_eq!((invoiced.net, invoiced.tax, invoiced.net + invoiced.tax), (27_916, 5583, 33_499));
    let mut credited = TaxedSum::default();
    let mut totals = Vec::new();
    for net in [6833, 5750, 8500, 6833] {
        let tax = credited_tax(invoiced, credited, net, rate);
        credited = TaxedSum { net: credited.net + net, tax: credited.tax + tax };
        totals.push(net + tax);
    }
    assert_eq!(totals, [8200, 6900, 10_200, 8199]);
    assert_eq!(credited, invoiced);
}

// Case 19: credits pay at most the total.
#[test]
fn credits_pay_at_most_the_total() {
    let tax = share_of(1429, 240_000);
    let total = 1429 + tax;
    assert_eq!((tax, total), (343, 1772));
    let paid = worth_of(100_000_000, 100).min(total);
    assert_eq!((paid, 100_000_000 - credits_for(paid, 100)), (1772, 82_280_000));
    assert_eq!((worth_of(999_999, 100), worth_of(-1, 100), credits_for(0, 100)), (99, 0, 0));
    // A credit of three cents: a cent takes a third, rounded up.
    assert_eq!((credits_for(1, 3), worth_of(333_334, 3), worth_of(333_333, 3)), (333_334, 1, 0));
}

#[test]
fn discounts_are_applied_in_their_order() {
    let (of_discounts, of_lines) =
        discount(&[10_000, 5000, -2000], &[DiscountAmount::Share(100_000), DiscountAmount::Minor(1000)]);
    assert_eq!((of_discounts, of_lines), (vec![1500, 1000], vec![1667, 833, 0]));
    // A discount is at most what there is.
    let all = [DiscountAmount::Minor(700), DiscountAmount::Minor(700), DiscountAmount::Share(500_000)];
    assert_eq!(discount(&[600, 400], &all), (vec![700, 300, 0], vec![600, 400]));
    assert_eq!(discount(&[], &all), (vec![0, 0, 0], vec![]));
    assert_eq!(discount(&[100], &[DiscountAmount::Minor(-5)]), (vec![0], vec![0]));
}

#[test]
fn lines_that_are_rounded_together_add_up() {
    // Three lines of a third of a cent, and a bit.
    let third = exact(1, 0, 3334, 6);
    assert_eq!(round_together(&[third, third, third]), Some(vec![1, 0, 0]));
    assert_eq!(round_together(&[exact(1, 0, 4, 3), exact(1, 0, 16, 3)]), Some(vec![0, 2]));
    assert_eq!(round_together(&[exact(-1, 0, 4, 3), exact(-1, 0, 4, 3)]), Some(vec![0, -1]));
    assert_eq!(round_together(&[]), Some(vec![]));
}

proptest! {
    #[test]
    fn invoices_of_any_lines_add_up(
        usage in vec((-1000..10_000_000_i64, 0..5_u32, 0..1_000_000_i64, 0..8_u32), 1..=500),
        shares in vec(0..1_000_001_u32, 0..3),
        minors in vec(0..100_000_i64, 0..3),
        rates in vec(prop_oneof![Just(0_u32), Just(70_000), Just(190_000), Just(255_000), 0..1_000_000_u32], 1..4),
    ) {
        let exact: Vec<ExactAmount> =
            usage.iter().map(|(quantity, qd, price, pd)| exact(*quantity, *qd, *price, *pd)).collect();
        let amounts = round_together(&exact).unwrap();
        // The sum of the lines is the rounded sum of what they cost; each line is off by less than a minor unit.
        let parts = |amount: &ExactAmount| i128::from(amount.whole) * PARTS + amount.parts;
        let sum: i128 = exact.iter().map(parts).sum();
        let rounded: i128 = amounts.iter().map(|amount| i128::from(*amount)).sum();
        prop_assert!((sum - rounded * PARTS).abs() * 2 <= PARTS);
        for (amount, exact) in amounts.iter().zip(&exact) {
            prop_assert!((parts(exact) - i128::from(*amount) * PARTS).abs() < PARTS);
        }

        let discounts: Vec<DiscountAmount> = shares
            .iter()
            .map(|share| DiscountAmount::Share(*share))
            .chain(minors.iter().map(|minor| DiscountAmount::Minor(*minor)))
            .collect();
        let (of_discounts, of_lines) = discount(&amounts, &discounts);
        prop_assert_eq!(of_discounts.iter().sum::<i64>(), of_lines.iter().sum::<i64>());
        for (discount, amount) in of_lines.iter().zip(&amounts) {
            prop_assert!(*discount >= 0 && *discount <= (*amount).max(0));
        }

        let nets: Vec<i64> = amounts.iter().zip(&of_lines).map(|(amount, discount)| amount - discount).collect();
        let rate = |index: usize| TaxRate::from_millionths(rates[index % rates.len()]);
        let lines = nets.iter().enumerate().map(|(index, net)| (TaxCategory::Standard, rate(index), *net));
        let sums = tax_sums(lines).unwrap();
        prop_assert_eq!(sums.values().map(|sum| sum.net).sum::<i64>(), nets.iter().sum::<i64>());
        for ((_, rate), sum) in &sums {
            let exact = i128::from(sum.net) * i128::from(rate.millionths());
            prop_assert!((exact - i128::from(sum.tax) * MILLIONTHS).abs() * 2 <= MILLIONTHS);
        }

        // Crediting each line by itself, in any order, gives back the invoice exactly.
        let mut credited: TaxSums = TaxSums::new();
        for (index, net) in nets.iter().enumerate().rev() {
            let key = (TaxCategory::Standard, rate(index));
            let sum = credited.entry(key).or_default();
            let last = !nets.iter().enumerate().any(|(other, _)| other < index && rate(other) == rate(index));
            let tax = if last { sums[&key].tax - sum.tax } else { credited_tax(sums[&key], *sum, *net, rate(index)) };
            sum.net += net;
            sum.tax += tax;
        }
        prop_assert_eq!(credited, sums);
    }

    #[test]
    fn a_split_amount_adds_up(amount in 0..1_000_000_000_i64, weights in vec(-5..1_000_000_i64, 1..50)) {
        let parts = split(amount, &weights);
        let sum: i64 = weights.iter().map(|weight| (*weight).max(0)).sum();
        prop_assert_eq!(parts.iter().sum::<i64>(), if sum == 0 { 0 } else { amount });
        if amount <= sum {
            prop_assert!(parts.iter().zip(&weights).all(|(part, weight)| *part >= 0 && *part <= (*weight).max(0)));
        }
    }
}
