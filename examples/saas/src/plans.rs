//! The plans of the app, and what it counts.

use omnistack::{
    billing::{BillingInterval, Currency, Meter, Money, PlanCatalogue, PlanDefinition, PlanPrice, UsagePrice},
    usage::{Decimal, meters},
};

/// The plans that are paid.
const PAID_PLANS: [&str; 3] = ["starter", "professional", "enterprise"];

/// Returns the plans: `free` for every new tenant, and three that are paid by the month. A payment provider bills them.
pub fn plans() -> PlanCatalogue {
    let free = PlanDefinition::new("free", "Free")
        .limit("projects", 100)
        .limit("team_members", 3)
        .limit(meters::API_REQUESTS, 10_000)
        .soft_limit(meters::API_REQUESTS)
        .limit(meters::AI_TOKENS, 100_000)
        .limit(meters::STORAGE_BYTES, 1_000_000_000);
    let starter = monthly("starter", "Starter", 29)
        .trial_days(14)
        .limit("projects", 1_000)
        .limit("team_members", 10)
        .limit(meters::API_REQUESTS, 100_000)
        .limit(meters::AI_TOKENS, 1_000_000)
        .limit(meters::STORAGE_BYTES, 10_000_000_000);
    let professional = monthly("professional", "Professional", 99)
        .limit("team_members", 50)
        .limit(meters::API_REQUESTS, 1_000_000)
        .limit(meters::AI_TOKENS, 5_000_000)
        .limit(meters::STORAGE_BYTES, 100_000_000_000)
        .feature("audit-export");
    let enterprise = monthly("enterprise", "Enterprise", 299).feature("*");
    PlanCatalogue::new([free, starter, professional, enterprise]).default_plan("free")
}

/// Returns the meter of runs, which happen outside of the app: tenants report them.
pub fn runs() -> Meter {
    Meter::sum(meters::RUNS, "runs").reported_by_tenants().describe("Runs.")
}

/// Returns the price of a run for tenants with a paid plan: a cent, in an invoice at the end of the billing period.
pub fn run_price() -> UsagePrice {
    let cent = Decimal::new(1, 2);
    PAID_PLANS.into_iter().fold(UsagePrice::new(meters::RUNS, cent, Currency::USD), UsagePrice::plan)
}

/// Returns a plan with a price. The fake of payments needs no id of the price. At Stripe, it is the id of a plan that was
/// created with this id, such as `professional-monthly`.
fn monthly(key: &str, name: &str, dollars: i64) -> PlanDefinition {
    let price = Money::new(dollars * 100, Currency::USD);
    PlanDefinition::new(key, name)
        .price(PlanPrice::Fixed { price, interval: BillingInterval::MONTH })
        .provider_price("stripe", format!("{key}-monthly"))
}
