//! Amounts of reports: decimal numbers with at most 12 decimals, and what is left over.

/// The parts of a provider's unit that a report can say: 10^-12.
const PARTS: i128 = 1_000_000_000_000;
/// The number of decimals of a report.
const DECIMALS: usize = 12;

/// Usage that is less than the smallest number that a report can say: so many of `denominator` parts of 10^-12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MeterRemainder {
    pub(super) numerator: i64,
    pub(super) denominator: i64,
}

/// Returns the amount of a report of usage, of which `denominator` smallest units are one unit of the provider, and
/// what is left for the next report. `carried` is what was left of the last report. Returns `None` as the amount if there is
/// nothing to say yet.
pub(super) fn report_amount(
    units: i64,
    denominator: i64,
    carried: Option<MeterRemainder>,
) -> (Option<String>, MeterRemainder) {
    // A remainder of other units, such as before the setting was changed, is less than the smallest amount.
    let carried = carried.filter(|carried| carried.denominator == denominator).map_or(0, |carried| carried.numerator);
    let total = i128::from(units) * PARTS + i128::from(carried);
    let divisor = i128::from(denominator.max(1));
    let (parts, rest) = (total.div_euclid(divisor), total.rem_euclid(divisor));
    let rest = MeterRemainder { numerator: i64::try_from(rest).unwrap_or_default(), denominator };
    ((parts > 0).then(|| decimal(parts)), rest)
}

/// Returns so many parts as a decimal number without trailing zeros.
fn decimal(parts: i128) -> String {
    let (whole, fraction) = (parts / PARTS, parts % PARTS);
    let text = format!("{whole}.{fraction:0DECIMALS$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_have_at_most_twelve_decimals() {
        for (units, denominator, carried, expected, rest) in [
            (3, 1, 0, Some("3"), 0),
            // 0.1 and 0.2 are 0.3, not 0.30000000000000004.
            (1 + 2, 10, 0, Some("0.3"), 0),
            (1, 3, 0, Some("0.333333333333"), 1),
            (1, 3, 1, Some("0.333333333333"), 2),
            (1, 3, 2, Some("0.333333333334"), 0),
            (1, 1_000_000_000_000_000, 0, None, 1_000_000_000_000),
            (1_500, 1_000, 0, Some("1.5"), 0),
            (i64::MAX, 1, 0, Some("9223372036854775807"), 0),
        ] {
            let carried = MeterRemainder { numerator: carried, denominator };
            let (amount, left) = report_amount(units, denominator, Some(carried));
            assert_eq!((amount.as_deref(), left.numerator), (expected, rest), "{units}/{denominator}");
        }
        let other = MeterRemainder { numerator: 2, denominator: 7 };
        assert_eq!(report_amount(1, 3, Some(other)).1.numerator, 1, "a remainder of other units is dropped");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_over_many_reports(
            all in prop::collection::vec(0_i64..1_000_000_000, 1..50),
            denominator in 1_i64..1_000_000,
        ) {
            let (mut carried, mut reported) = (None, 0_i128);
            for units in &all {
                let (amount, rest) = report_amount(*units, denominator, carried);
                carried = Some(rest);
                if let Some(amount) = amount {
                    let (whole, fraction) = amount.split_once('.').unwrap_or((amount.as_str(), ""));
                    prop_assert!(fraction.len() <= DECIMALS);
                    let parts: i128 = format!("{whole}{fraction:0<DECIMALS$}").parse().unwrap();
                    reported += parts;
                }
            }
            let total = i128::from(all.iter().sum::<i64>()) * PARTS;
            let left = i128::from(carried.unwrap().numerator);
            prop_assert_eq!(reported * i128::from(denominator) + left, total);
        }
    }
}
