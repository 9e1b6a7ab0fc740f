//! The arithmetic of invoices: rules without I/O. Amounts are in minor units of one currency.
//!
//! Rounding follows EN 16931: each line is rounded to minor units, tax is the rate of the *sum* of the rounded lines, and
//! the total is a sum. Halves are rounded away from zero. The lines of usage are rounded together by largest remainder, so
//! that they add up to the rounded sum of what they cost.

use std::collections::BTreeMap;

use crate::tax::{TaxCategory, TaxRate};

/// Largest number of decimals of a quantity and of a price.
pub(crate) const MAX_FACTOR_DECIMALS: u32 = 9;
/// The parts of a minor unit in which remainders are counted. All products of two factors fit without rounding.
const PARTS: i128 = 10_i128.pow(19);
/// Millionths of a whole, the unit of percentages.
const MILLIONTHS: i128 = 1_000_000;

/// The exact product of a quantity and a price: whole minor units, rounded down, and the parts that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExactAmount {
    whole: i64,
    /// 0 to [`PARTS`] - 1.
    parts: i128,
}

/// A whole number with a number of decimals: a quantity or a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Factor {
    pub(super) units: i64,
    pub(super) decimals: u32,
}

impl ExactAmount {
    /// Multiplies a quantity and a price, for a currency with so many decimals. Returns `None` if the product is too
    /// large, or a factor has too many decimals.
    pub(super) fn product(quantity: Factor, price: Factor, currency_decimals: u32) -> Option<Self> {
        if quantity.decimals > MAX_FACTOR_DECIMALS || price.decimals > MAX_FACTOR_DECIMALS {
            return None;
        }
        let product = i128::from(quantity.units) * i128::from(price.units);
        let decimals = quantity.decimals + price.decimals;
        if decimals <= currency_decimals {
            let whole = product.checked_mul(10_i128.pow(currency_decimals - decimals))?;
            return Some(Self { whole: i64::try_from(whole).ok()?, parts: 0 });
        }
        let divisor = 10_i128.pow(decimals - currency_decimals);
        let whole = i64::try_from(product.div_euclid(divisor)).ok()?;
        // The divisor is at most 10^18, so this is exact.
        let parts = product.rem_euclid(divisor) * (PARTS / divisor);
        Some(Self { whole, parts })
    }

    /// Rounds to minor units, halves away from zero. Returns `None` if the result is too large.
    pub(super) fn rounded(self) -> Option<i64> {
        let up = if self.whole < 0 { self.parts * 2 > PARTS } else { self.parts * 2 >= PARTS };
        self.whole.checked_add(i64::from(up))
    }
}

/// Rounds amounts so that they add up to the rounded sum of all: those with the largest remainders are rounded up.
/// Returns `None` if the sum is too large.
pub(super) fn round_together(amounts: &[ExactAmount]) -> Option<Vec<i64>> {
    let whole: i128 = amounts.iter().map(|amount| i128::from(amount.whole)).sum();
    let parts: i128 = amounts.iter().map(|amount| amount.parts).sum();
    let floor = i64::try_from(whole + parts.div_euclid(PARTS)).ok()?;
    let total = ExactAmount { whole: floor, parts: parts.rem_euclid(PARTS) }.rounded()?;
    let missing = usize::try_from(i128::from(total) - whole).ok()?;
    let mut order: Vec<usize> = (0..amounts.len()).collect();
    order.sort_by_key(|index| (-amounts[*index].parts, *index));
    let mut rounded: Vec<i64> = amounts.iter().map(|amount| amount.whole).collect();
    for index in order.into_iter().take(missing) {
        rounded[index] = rounded[index].checked_add(1)?;
    }
    Some(rounded)
}

/// Splits an amount by weights, by largest remainder. The parts add up to the amount, and none is larger than its weight
/// if the amount is at most the sum of the weights. Weights below zero count as zero.
pub(super) fn split(amount: i64, weights: &[i64]) -> Vec<i64> {
    let weights: Vec<i128> = weights.iter().map(|weight| i128::from((*weight).max(0))).collect();
    let sum: i128 = weights.iter().sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let amount = i128::from(amount);
    let mut parts: Vec<i128> = weights.iter().map(|weight| amount * weight / sum).collect();
    let missing = amount - parts.iter().sum::<i128>();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|index| (-(amount * weights[*index] % sum), *index));
    for index in order.into_iter().take(usize::try_from(missing).unwrap_or(0)) {
        parts[index] += 1;
    }
    // Each part is at most the amount.
    parts.into_iter().map(|part| i64::try_from(part).unwrap_or(i64::MAX)).collect()
}

/// Returns so many millionths of an amount, rounded, halves away from zero.
pub(super) fn share_of(amount: i64, millionths: u32) -> i64 {
    let product = i128::from(amount) * i128::from(millionths);
    let half = if product < 0 { -MILLIONTHS / 2 } else { MILLIONTHS / 2 };
    // A share is at most the amount, because a rate is at most 100 %.
    i64::try_from((product + half) / MILLIONTHS).unwrap_or(if product < 0 { i64::MIN } else { i64::MAX })
}

/// A discount as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiscountAmount {
    /// Millionths of the amount.
    Share(u32),
    /// Minor units.
    Minor(i64),
}

/// Applies discounts in their order to lines. Returns the amount of each discount, and the sum of discounts of each line.
/// Lines below zero get none, and a discount is at most what is left of the others.
pub(super) fn discount(amounts: &[i64], discounts: &[DiscountAmount]) -> (Vec<i64>, Vec<i64>) {
    let mut left: Vec<i64> = amounts.iter().map(|amount| (*amount).max(0)).collect();
    let mut of_lines = vec![0_i64; amounts.len()];
    let mut of_discounts = Vec::with_capacity(discounts.len());
    for discount in discounts {
        let sum = left.iter().fold(0_i64, |sum, amount| sum.saturating_add(*amount));
        let wanted = match discount {
            DiscountAmount::Share(millionths) => share_of(sum, *millionths),
            DiscountAmount::Minor(minor) => *minor,
        };
        let amount = wanted.clamp(0, sum);
        for (index, part) in split(amount, &left).into_iter().enumerate() {
            left[index] -= part;
            of_lines[index] += part;
        }
        of_discounts.push(amount);
    }
    (of_discounts, of_lines)
}

/// The sum of the lines with one tax, and the tax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TaxedSum {
    pub(super) net: i64,
    pub(super) tax: i64,
}

/// The sums of an invoice by category and rate.
pub(super) type TaxSums = BTreeMap<(TaxCategory, TaxRate), TaxedSum>;

/// Adds up lines by their tax, and computes the tax of each sum. Returns `None` if a sum is too large.
pub(super) fn tax_sums(lines: impl IntoIterator<Item = (TaxCategory, TaxRate, i64)>) -> Option<TaxSums> {
    let mut sums = TaxSums::new();
    for (category, rate, net) in lines {
        let sum = sums.entry((category, rate)).or_default();
        sum.net = sum.net.checked_add(net)?;
    }
    for ((_, rate), sum) in &mut sums {
        sum.tax = share_of(sum.net, rate.millionths());
    }
    Some(sums)
}

/// Returns the tax of a credit note: of the sum `net` with one tax. `invoiced` is the sum of the invoice, and `credited`
/// what earlier credit notes have corrected of it. The last credit takes what is left, so that rounding leaves nothing.
pub(super) fn credited_tax(invoiced: TaxedSum, credited: TaxedSum, net: i64, rate: TaxRate) -> i64 {
    let left = invoiced.tax - credited.tax;
    if credited.net + net == invoiced.net {
        return left;
    }
    let tax = share_of(net, rate.millionths());
    if left < 0 { tax.clamp(left, 0) } else { tax.clamp(0, left) }
}

/// Returns the credits, in millionths, that pay an amount. `value` is the worth of a credit, more than zero.
pub(super) fn credits_for(minor: i64, value: i64) -> i64 {
    let millionths = i128::from(minor.max(0)) * MILLIONTHS;
    i64::try_from((millionths + i128::from(value) - 1) / i128::from(value.max(1))).unwrap_or(i64::MAX)
}

/// Returns the amount that credits pay at most, in minor units.
pub(super) fn worth_of(millionths: i64, value: i64) -> i64 {
    let worth = i128::from(millionths.max(0)) * i128::from(value.max(0)) / MILLIONTHS;
    i64::try_from(worth).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
