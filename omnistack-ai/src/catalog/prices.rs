//! Prices of tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Cost;
use crate::chat::TokenUsage;

/// The greatest price of a token, in pico-USD: one US dollar.
const MAX_PRICE_PICO: i64 = 1_000_000_000_000;
/// Service tiers that are billed at the standard prices.
const STANDARD_TIERS: [&str; 5] = ["default", "standard", "auto", "on_demand", ""];

/// The prices of a token in one service tier and for one length of the input, in pico-USD per token, which is micro-USD
/// per million tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TokenPrice {
    /// The service tier. `null`: the standard.
    #[serde(default)]
    #[schema(required)]
    pub tier: Option<String>,
    /// The number of tokens of the input above which the prices apply to all tokens of the call.
    #[serde(default)]
    pub above: u64,
    /// The price of a token of the input.
    pub input: i64,
    /// The price of a token that is read from the provider's cache. `null`: that of the input.
    #[serde(default)]
    #[schema(required)]
    pub cached: Option<i64>,
    /// The price of a token that is written to the provider's cache. `null`: that of the input.
    #[serde(default)]
    #[schema(required)]
    pub cache_write: Option<i64>,
    /// The price of a token that is written to the provider's cache for an hour or longer. `null`: that of a shorter
    /// time.
    #[serde(default)]
    #[schema(required)]
    pub cache_write_long: Option<i64>,
    /// The price of a token of the output, reasoning included.
    pub output: i64,
}

impl TokenPrice {
    fn cost(&self, usage: &TokenUsage) -> Option<Cost> {
        let TokenUsage { input, cached, cache_write, cache_write_long, output, .. } = *usage;
        let special = cached.saturating_add(cache_write).saturating_add(cache_write_long);
        let short = self.cache_write.unwrap_or(self.input);
        let parts = [
            (input.saturating_sub(special), self.input),
            (cached, self.cached.unwrap_or(self.input)),
            (cache_write, short),
            (cache_write_long, self.cache_write_long.unwrap_or(short)),
            (output, self.output),
        ];
        // A part is below 2^64 · 10^12, so the sum of five is far below 2^127.
        let pico: i128 = parts.iter().map(|(tokens, price)| i128::from(*tokens) * i128::from(*price)).sum();
        i64::try_from(pico).ok().map(Cost::from_pico)
    }

    fn problem(&self) -> Option<String> {
        let optional = [("cached", self.cached), ("cache_write", self.cache_write)];
        let more = [("cache_write_long", self.cache_write_long)];
        let all = optional.into_iter().chain(more).filter_map(|(name, price)| Some((name, price?)));
        let mut all = all.chain([("input", self.input), ("output", self.output)]);
        let (name, price) = all.find(|(_, price)| !(0..=MAX_PRICE_PICO).contains(price))?;
        Some(format!("the price `{name} = {price}` must be from 0 to {MAX_PRICE_PICO} pico-USD per token"))
    }
}

/// The prices of a model: a [`TokenPrice`] for each service tier and length of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPrices(Vec<TokenPrice>);

impl TokenPrices {
    /// Creates prices. Fails if there is no standard price for a short input, if two rows are for the same tier and
    /// length, or if a price is out of range.
    pub(super) fn new(rows: Vec<TokenPrice>) -> Result<Self, String> {
        if !rows.iter().any(|row| row.tier.is_none() && row.above == 0) {
            return Err("the prices have no row without `tier` and `above`".to_owned());
        }
        for (index, row) in rows.iter().enumerate() {
            if let Some(problem) = row.problem() {
                return Err(problem);
            }
            if rows[..index].iter().any(|other| (&other.tier, other.above) == (&row.tier, row.above)) {
                return Err("two rows of prices have the same `tier` and `above`".to_owned());
            }
        }
        Ok(Self(rows))
    }

    /// Returns all rows.
    pub fn rows(&self) -> &[TokenPrice] {
        &self.0
    }

    /// Returns the standard prices of a short input.
    pub fn standard(&self) -> Option<&TokenPrice> {
        self.rows().iter().find(|row| row.tier.is_none() && row.above == 0)
    }

    /// Returns the cost of tokens. Returns `None` if the prices of the service tier are not known or the cost is out of
    /// range.
    ///
    /// A model whose prices name no tier has the same price in each. The reported parts of the input are priced by
    /// themselves, the remainder as new input.
    pub fn cost(&self, usage: &TokenUsage, service_tier: Option<&str>) -> Option<Cost> {
        self.row(usage.input, service_tier)?.cost(usage)
    }

    fn row(&self, input: u64, service_tier: Option<&str>) -> Option<&TokenPrice> {
        let has_tiers = self.0.iter().any(|row| row.tier.is_some());
        let is_standard = |tier: &&str| STANDARD_TIERS.iter().any(|standard| standard.eq_ignore_ascii_case(tier));
        let tier = service_tier.filter(|tier| has_tiers && !is_standard(tier));
        let of_tier = self.0.iter().filter(|row| match (&row.tier, tier) {
            (None, None) => true,
            (Some(known), Some(asked)) => known.eq_ignore_ascii_case(asked),
            _ => false,
        });
        of_tier.filter(|row| row.above == 0 || row.above < input).max_by_key(|row| row.above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tier: Option<&str>, above: u64, prices: [i64; 2]) -> TokenPrice {
        let [input, output] = prices;
        let tier = tier.map(str::to_owned);
        TokenPrice { tier, above, input, cached: None, cache_write: None, cache_write_long: None, output }
    }

    fn usage(input: u64, cache_write: u64, output: u64) -> TokenUsage {
        TokenUsage { input: input + cache_write, cache_write, output, ..TokenUsage::default() }
    }

    #[test]
    fn tokens_written_to_the_cache_are_counted_once() {
        let prices = |input, write, output| {
            let row = TokenPrice { cache_write: Some(write), ..row(None, 0, [input, output]) };
            TokenPrices::new(vec![row]).unwrap()
        };
        let first = prices(3_000_000, 3_750_000, 15_000_000).cost(&usage(3, 12_304, 550), None);
        assert_eq!(first.unwrap().to_string(), "0.054399");
        let second = prices(5_000_000, 6_250_000, 25_000_000).cost(&usage(6, 159_217, 2_745), None);
        assert_eq!(second.unwrap().to_string(), "1.06376125");
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let full = TokenPrice {
            cached: Some(3),
            cache_write: Some(50),
            cache_write_long: Some(700),
            ..row(None, 0, [10, 9_000])
        };
        let usage = TokenUsage { input: 10, cached: 1, cache_write: 2, cache_write_long: 3, output: 1, reasoning: 1 };
        let cost = |row: &TokenPrice| TokenPrices::new(vec![row.clone()]).unwrap().cost(&usage, None).unwrap().pico();
        assert_eq!(cost(&full), 4 * 10 + 3 + 2 * 50 + 3 * 700 + 9_000);
        assert_eq!(cost(&TokenPrice { cache_write_long: None, ..full.clone() }), 4 * 10 + 3 + 5 * 50 + 9_000);
        assert_eq!(cost(&row(None, 0, [10, 9_000])), 10 * 10 + 9_000);
    }

    #[test]
    fn a_price_below_a_nano_is_exact() {
        let prices = TokenPrices::new(vec![row(None, 0, [12_500, 0])]).unwrap();
        let one = prices.cost(&usage(1, 0, 0), None).unwrap();
        let sum = (0..1_000).try_fold(Cost::ZERO, |sum, _| sum.checked_add(one)).unwrap();
        assert_eq!((sum.pico(), sum.to_nano_ceil()), (12_500_000, 12_500));
    }

    #[test]
    fn the_tier_and_the_length_of_the_input_decide() {
        let rows = vec![
            row(None, 0, [1, 10]),
            row(None, 100, [2, 20]),
            row(None, 200, [3, 30]),
            row(Some("flex"), 0, [4, 40]),
            row(Some("flex"), 100, [5, 50]),
        ];
        let prices = TokenPrices::new(rows).unwrap();
        for (input, tier, expected) in [
            (100, None, Some(1)),
            (101, None, Some(2)),
            (201, None, Some(3)),
            (100, Some("default"), Some(1)),
            (101, Some("STANDARD"), Some(2)),
            (100, Some("flex"), Some(4)),
            (201, Some("FLEX"), Some(5)),
            (100, Some("scale"), None),
        ] {
            let found = prices.row(input, tier).map(|row| row.input);
            assert_eq!(found, expected, "{input} {tier:?}");
        }
        let plain = TokenPrices::new(vec![row(None, 0, [1, 10])]).unwrap();
        assert_eq!(plain.row(1, Some("scale")).map(|row| row.input), Some(1));
    }

    #[test]
    fn a_cost_out_of_range_is_not_known() {
        let prices = TokenPrices::new(vec![row(None, 0, [MAX_PRICE_PICO, MAX_PRICE_PICO])]).unwrap();
        assert_eq!(prices.cost(&usage(u64::MAX, 0, u64::MAX), None), None);
        assert_eq!(prices.cost(&usage(2, 0, 1), None), Some(Cost::from_pico(3 * MAX_PRICE_PICO)));
    }

    #[test]
    fn prices_that_are_not_accepted_are_named() {
        for (rows, part) in [
            (vec![], "no row without"),
            (vec![row(Some("flex"), 0, [1, 1])], "no row without"),
            (vec![row(None, 0, [1, 1]), row(None, 0, [2, 2])], "the same `tier`"),
            (vec![row(None, 0, [-1, 1])], "`input = -1`"),
            (vec![row(None, 0, [1, MAX_PRICE_PICO + 1])], "`output = "),
        ] {
            let problem = TokenPrices::new(rows).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }
}
