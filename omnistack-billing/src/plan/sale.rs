//! The prices at which plans are sold, and their ids at providers.

use omnistack_core::money::Money;

use super::definition::{NAME_FORM, PlanDefinition, PlanPrice, is_feature, is_name};
use crate::period::BillingInterval;

/// The name of the built-in fake of payment providers.
const FAKE_PROVIDER: &str = "fake";

impl PlanDefinition {
    /// Returns the prices at which customers can buy the plan, each with its interval.
    pub(crate) fn sale_prices(&self) -> Vec<(Money, BillingInterval)> {
        let PlanPrice::Fixed { price, interval } = self.price else { return Vec::new() };
        let yearly = self.yearly_price.map(|price| (price, BillingInterval::YEAR));
        [(price, interval)].into_iter().chain(yearly).collect()
    }

    /// Returns the amount of one unit in an interval. Returns `None` if the plan is not sold by it.
    pub(crate) fn sale_price(&self, interval: BillingInterval) -> Option<Money> {
        let mut prices = self.sale_prices().into_iter();
        prices.find(|(_, sold)| *sold == interval).map(|(price, _)| price)
    }

    /// Returns the id of the price of an interval at a provider. Returns `None` if the plan is not sold there by it.
    /// The built-in fake accepts each id that states the price, so it needs no settings.
    pub(crate) fn price_id(&self, provider: &str, interval: BillingInterval) -> Option<String> {
        let price = self.sale_price(interval)?;
        let is_yearly = self.yearly_price.is_some() && interval == BillingInterval::YEAR;
        let ids = if is_yearly { &self.yearly_provider_prices } else { &self.provider_prices };
        match ids.get(provider) {
            Some(id) => Some(id.clone()),
            None if provider == FAKE_PROVIDER => {
                Some(format!("{}:{}:{}:{interval}", self.key, price.minor(), price.currency().code()))
            }
            None => None,
        }
    }

    /// Returns the interval of the price with an id at a provider. Returns `None` if it is no price of the plan.
    pub(crate) fn interval_of_price(&self, provider: &str, id: &str) -> Option<BillingInterval> {
        let mut intervals = self.sale_prices().into_iter().map(|(_, interval)| interval);
        intervals.find(|interval| self.price_id(provider, *interval).as_deref() == Some(id))
    }

    /// Reports the problems of the sale.
    pub(super) fn report_sale_problems(&self, report: &mut impl FnMut(&str, String)) {
        if !is_name(&self.group) {
            report("group", format!("must be {NAME_FORM}"));
        }
        if self.trial_without_card.is_some() && self.trial_days == 0 {
            report("trial_without_card", "needs `trial_days`".to_owned());
        }
        if let Some(yearly) = self.yearly_price {
            match self.price {
                PlanPrice::Fixed { interval, .. } if interval == BillingInterval::YEAR => {
                    report("yearly_price", "must be left out, because `price` is that of a year".to_owned());
                }
                PlanPrice::Fixed { price, .. } if price.currency() != yearly.currency() => {
                    report("yearly_price", format!("is {yearly}, and `price` is {price}; a plan has one currency"));
                }
                PlanPrice::Fixed { .. } if yearly.minor() <= 0 => {
                    report("yearly_price", format!("is {yearly}; it must be more than zero"));
                }
                PlanPrice::Fixed { .. } => {}
                PlanPrice::Free | PlanPrice::Custom => {
                    report("yearly_price", "needs a `price` with an amount".to_owned());
                }
            }
        }
        for (field, ids) in
            [("provider_prices", &self.provider_prices), ("yearly_provider_prices", &self.yearly_provider_prices)]
        {
            for (provider, id) in ids {
                if !is_name(provider) || !is_feature(id) || id == "*" {
                    report(
                        field,
                        format!("has `{provider}` = `{id}`; it must be a provider's name and its price's id"),
                    );
                }
            }
        }
    }
}
