//! Prices, periods and shares of periods of the fake: rules without I/O.

use jiff::{Span, tz::TimeZone};
use omnistack_core::{
    clock::Timestamp,
    money::{Currency, Money},
    payment::PaymentError,
};

/// A unit of billing periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PriceInterval {
    Day,
    Week,
    Month,
    Year,
}

/// A price of the fake, whose id says what it costs: `pro:2900:USD:month`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FakePrice {
    /// The amount of a unit.
    pub(super) amount: Money,
    pub(super) interval: PriceInterval,
}

impl FakePrice {
    /// Reads the id of a price.
    ///
    /// # Errors
    /// Fails with [`PaymentError::Rejected`] if the id has another form.
    pub(super) fn parse(id: &str) -> Result<Self, PaymentError> {
        Self::read(id).ok_or_else(|| PaymentError::Rejected {
            code: Some("price_unknown".into()),
            message: "the fake has no such price; use an id of the form PLAN:MINOR_UNITS:CURRENCY:INTERVAL, such as \
                      pro:2900:USD:month"
                .into(),
        })
    }

    fn read(id: &str) -> Option<Self> {
        let mut parts = id.rsplitn(4, ':');
        let interval = match parts.next()? {
            "day" => PriceInterval::Day,
            "week" => PriceInterval::Week,
            "month" => PriceInterval::Month,
            "year" => PriceInterval::Year,
            _ => return None,
        };
        let currency = Currency::from_code(parts.next()?)?;
        let minor: i64 = parts.next()?.parse().ok().filter(|minor| *minor >= 0)?;
        parts.next().filter(|plan| !plan.is_empty())?;
        Some(Self { amount: Money::new(minor, currency), interval })
    }

    /// Returns the amount of a period, less a discount.
    pub(super) fn total(self, quantity: u64, coupon: Option<&str>) -> Money {
        let percent = 100 - coupon.and_then(coupon_percent).unwrap_or(0);
        let full = i128::from(self.amount.minor()) * i128::from(quantity);
        Money::new(share(full, i128::from(percent), 100), self.amount.currency())
    }

    /// Returns the n-th boundary of periods after an anchor. A day that a month does not have is its last day.
    pub(super) fn boundary(self, anchor: Timestamp, n: i64) -> Timestamp {
        let span = match self.interval {
            PriceInterval::Day => Span::new().try_days(n),
            PriceInterval::Week => Span::new().try_days(n.saturating_mul(7)),
            PriceInterval::Month => Span::new().try_months(n),
            PriceInterval::Year => Span::new().try_years(n),
        };
        let start = anchor.to_jiff().to_zoned(TimeZone::UTC);
        let moved = span.and_then(|span| start.checked_add(span));
        moved.map_or(anchor, |moved| moved.timestamp().into())
    }
}

/// Returns the discount of a coupon, whose code has the form `NAME:PERCENT`.
pub(super) fn coupon_percent(code: &str) -> Option<u8> {
    let (name, percent) = code.rsplit_once(':')?;
    percent.parse().ok().filter(|percent| (1..=100).contains(percent) && !name.is_empty())
}

/// Returns a share of an amount, rounded half away from zero.
pub(super) fn share(amount: i128, part: i128, whole: i128) -> i64 {
    let whole = whole.max(1);
    let product = amount * part;
    let rounded = (product.abs() + whole / 2) / whole;
    let minor = i64::try_from(rounded).unwrap_or(i64::MAX);
    if product < 0 { -minor } else { minor }
}

/// Returns the part of an amount for what is left of a period.
pub(super) fn unused(amount: Money, (start, end): (Timestamp, Timestamp), at: Timestamp) -> i64 {
    let length = end.as_micros() - start.as_micros();
    let left = (end.as_micros() - at.as_micros()).clamp(0, length.max(0));
    share(i128::from(amount.minor()), i128::from(left), i128::from(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_id_of_a_price_says_what_it_costs() {
        let price = FakePrice::parse("team:pro:2900:USD:month").unwrap();
        assert_eq!(price, FakePrice { amount: Money::parse("29", "USD").unwrap(), interval: PriceInterval::Month });
        assert_eq!(price.total(3, None), Money::parse("87", "USD").unwrap());
        assert_eq!(price.total(1, Some("WELCOME:20")), Money::parse("23.20", "USD").unwrap());
        assert_eq!(price.total(1, Some("FREE:100")).minor(), 0);
        for id in ["", "pro", "pro:2900:USD", "pro:1:USD:decade", "pro:-1:USD:day", "pro:1:AAA:day", ":1:USD:day"] {
            assert!(FakePrice::parse(id).is_err(), "{id}");
        }
        for code in ["", "20", "X:", "X:0", "X:101", ":20", "X:-1"] {
            assert_eq!(coupon_percent(code), None, "{code}");
        }
    }

    #[test]
    fn boundaries_are_made_from_the_anchor() {
        for (interval, anchor, expected) in [
            ("month", "2027-01-31T10:00:00Z", ["2027-02-28T10:00:00Z", "2027-03-31T10:00:00Z", "2027-04-30T10:00:00Z"]),
            ("year", "2028-02-29T00:00:00Z", ["2029-02-28T00:00:00Z", "2030-02-28T00:00:00Z", "2031-02-28T00:00:00Z"]),
            ("week", "2030-01-01T00:00:00Z", ["2030-01-08T00:00:00Z", "2030-01-15T00:00:00Z", "2030-01-22T00:00:00Z"]),
            ("day", "2030-01-31T00:00:00Z", ["2030-02-01T00:00:00Z", "2030-02-02T00:00:00Z", "2030-02-03T00:00:00Z"]),
        ] {
            let price = FakePrice::parse(&format!("pro:100:EUR:{interval}")).unwrap();
            let found = [1, 2, 3].map(|n| price.boundary(at(anchor), n));
            assert_eq!(found, expected.map(at), "{interval}");
            assert_eq!(price.boundary(at(anchor), 0), at(anchor));
        }
    }

    #[test]
    fn shares_are_rounded_once() {
        let month = (at("2030-04-01T00:00:00Z"), at("2030-05-01T00:00:00Z"));
        let price = Money::parse("29", "USD").unwrap();
        for (moment, left) in [
            ("2030-03-01T00:00:00Z", 2_900),
            ("2030-04-01T00:00:00Z", 2_900),
            ("2030-04-16T00:00:00Z", 1_450),
            ("2030-04-30T00:00:00Z", 97),
            ("2030-05-01T00:00:00Z", 0),
            ("2030-06-01T00:00:00Z", 0),
        ] {
            assert_eq!(unused(price, month, at(moment)), left, "{moment}");
        }
        assert_eq!((share(5, 1, 2), share(-5, 1, 2), share(4, 1, 3), share(1, 1, 0)), (3, -3, 1, 1));
    }
}
