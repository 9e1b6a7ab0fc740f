//! The tokens and the money of a call, and which price applies.

use crate::{
    catalog::{Cost, ModelCatalog, TokenPrices},
    chat::TokenUsage,
    router::RouteTarget,
};

/// The tokens and the cost of a call. A call with a repair turn has those of two answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallSpend {
    pub(super) usage: TokenUsage,
    /// Whether a provider did not count tokens.
    pub(super) estimated: bool,
    /// The cost. `None` if a price is not known.
    pub(super) cost: Option<Cost>,
}

impl Default for CallSpend {
    fn default() -> Self {
        Self { usage: TokenUsage::default(), estimated: false, cost: Some(Cost::from_pico(0)) }
    }
}

impl CallSpend {
    /// Adds an answer: its tokens as the provider has counted them, or else an estimate.
    pub(super) fn add(
        &mut self,
        counted: Option<TokenUsage>,
        estimate: TokenUsage,
        prices: Option<&TokenPrices>,
        service_tier: Option<&str>,
    ) {
        let usage = counted.unwrap_or(estimate);
        let cost = prices.and_then(|prices| prices.cost(&usage, service_tier));
        self.cost = self.cost.zip(cost).and_then(|(sum, cost)| sum.checked_add(cost));
        self.estimated |= counted.is_none();
        self.usage = sum(&self.usage, &usage);
    }

    /// Returns the tokens if providers have counted all of them.
    pub(super) fn counted(&self) -> Option<TokenUsage> {
        (!self.estimated).then_some(self.usage)
    }
}

/// Returns the sum of the tokens of two answers.
fn sum(one: &TokenUsage, other: &TokenUsage) -> TokenUsage {
    TokenUsage {
        input: one.input.saturating_add(other.input),
        cached: one.cached.saturating_add(other.cached),
        cache_write: one.cache_write.saturating_add(other.cache_write),
        cache_write_long: one.cache_write_long.saturating_add(other.cache_write_long),
        output: one.output.saturating_add(other.output),
        reasoning: one.reasoning.saturating_add(other.reasoning),
    }
}

/// Returns the tokens of the later of two sums that the earlier one does not have.
pub(super) fn difference(later: &TokenUsage, earlier: &TokenUsage) -> TokenUsage {
    TokenUsage {
        input: later.input.saturating_sub(earlier.input),
        cached: later.cached.saturating_sub(earlier.cached),
        cache_write: later.cache_write.saturating_sub(earlier.cache_write),
        cache_write_long: later.cache_write_long.saturating_sub(earlier.cache_write_long),
        output: later.output.saturating_sub(earlier.output),
        reasoning: later.reasoning.saturating_sub(earlier.reasoning),
    }
}

/// Returns the prices of the model that has answered. `None` if they are not known.
pub(super) fn prices<'a>(
    catalog: &'a ModelCatalog,
    target: &'a RouteTarget,
    answered: &str,
) -> Option<&'a TokenPrices> {
    let info = if answered.is_empty() || answered == target.model {
        target.info.as_ref()
    } else {
        catalog.find_answered(target.provider.name(), &target.model, answered)
    };
    info?.prices.as_ref()
}

/// Returns the cost of a call that uses all that it may. If the price of the service tier is not known, it is that of
/// the most expensive one, because the provider decides which tier answers.
pub(super) fn largest_cost(target: &RouteTarget, input: u64, output: u64, service_tier: Option<&str>) -> Option<Cost> {
    let usage = TokenUsage { input, output, ..TokenUsage::default() };
    let prices = target.info.as_ref()?.prices.as_ref()?;
    let of_rows = || prices.rows().iter().filter_map(|row| prices.cost(&usage, row.tier.as_deref()));
    prices.cost(&usage, service_tier).or_else(|| of_rows().max_by_key(|cost| cost.pico()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_price_makes_the_whole_cost_unknown() {
        let usage = TokenUsage { input: 3, output: 2, ..TokenUsage::default() };
        let mut spend = CallSpend::default();
        assert_eq!((spend.counted(), spend.cost), (Some(TokenUsage::default()), Some(Cost::from_pico(0))));
        spend.add(Some(usage), TokenUsage::default(), None, None);
        assert_eq!((spend.counted(), spend.cost), (Some(usage), None));
        spend.add(None, usage, None, None);
        assert_eq!((spend.counted(), spend.usage.input, spend.usage.output), (None, 6, 4));
    }
}
