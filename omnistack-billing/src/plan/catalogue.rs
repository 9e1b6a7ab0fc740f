//! Catalogues of plans.

use std::collections::{BTreeMap, BTreeSet};

use omnistack_core::identity::PlanNeed;

use super::definition::{PlanDefinition, PlanPrice, PlanProblem};

/// The plans of an app, in their order from the smallest to the largest, and the default plan, which tenants have that
/// were not given another one.
///
/// ```
/// use omnistack_billing::{PlanCatalogue, PlanDefinition};
///
/// let free = PlanDefinition::new("free", "Free").limit("projects", 1);
/// let pro = PlanDefinition::new("pro", "Pro").feature("sso").limit("projects", 20);
/// let catalogue = PlanCatalogue::new([free, pro]).default_plan("free");
/// assert!(catalogue.problems().is_empty());
/// assert_eq!(catalogue.get("pro").unwrap().limits["projects"], 20);
/// ```
///
/// The [`Default`] is one plan, `free`, with every feature and without limits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct PlanCatalogue {
    /// All versions that are defined.
    plans: Vec<PlanDefinition>,
    default: Option<String>,
}

impl PlanCatalogue {
    /// Creates a catalogue, which needs a [default plan](Self::default_plan). A plan can be defined in several
    /// versions; new customers get the newest.
    pub fn new(plans: impl IntoIterator<Item = PlanDefinition>) -> Self {
        Self { plans: plans.into_iter().collect(), default: None }
    }

    /// Sets the default plan.
    pub fn default_plan(mut self, key: impl Into<String>) -> Self {
        self.default = Some(key.into());
        self
    }

    /// Returns the newest version of a plan. Returns `None` if there is no such plan.
    pub fn get(&self, key: &str) -> Option<&PlanDefinition> {
        self.plans.iter().filter(|plan| plan.key == key).max_by_key(|plan| plan.version)
    }

    /// Returns the newest version of each plan, in the order of the catalogue.
    pub fn plans(&self) -> impl Iterator<Item = &PlanDefinition> {
        self.plans.iter().filter(|plan| self.get(&plan.key).is_some_and(|newest| newest.version == plan.version))
    }

    /// Returns the newest version of the default plan. Returns `None` if there is none, which is a
    /// [problem](Self::problems).
    pub fn default_definition(&self) -> Option<&PlanDefinition> {
        self.get(self.default.as_deref()?)
    }

    /// Returns what is wrong with the catalogue: each text names the plan and the field.
    pub fn problems(&self) -> Vec<String> {
        self.find_problems().iter().map(ToString::to_string).collect()
    }

    /// Returns the smallest listed plan after the current one that meets a need. Returns `None` if there is none. A
    /// current plan that the catalogue does not have comes before all others.
    pub(crate) fn upgrade(&self, current: &str, need: PlanNeed<'_>) -> Option<&PlanDefinition> {
        let next = self.plans().position(|plan| plan.key == current).map_or(0, |index| index + 1);
        self.plans().skip(next).find(|plan| plan.listed && plan.meets(need))
    }

    /// Returns all versions that are defined.
    pub(super) fn versions(&self) -> &[PlanDefinition] {
        &self.plans
    }

    pub(super) fn find_problems(&self) -> Vec<PlanProblem> {
        let mut problems: Vec<_> = self.plans.iter().flat_map(PlanDefinition::problems).collect();
        match &self.default {
            _ if self.plans.is_empty() => problems.push(PlanProblem::of_catalogue("plans", "must have a plan")),
            None => problems.push(PlanProblem::of_catalogue("default", "must be the key of a plan")),
            Some(key) if self.get(key).is_none() => {
                let message = format!("is `{key}`, but there is no such plan");
                problems.push(PlanProblem::of_catalogue("default", message));
            }
            Some(_) => {}
        }
        let mut seen = BTreeSet::new();
        for PlanDefinition { key, version, .. } in &self.plans {
            if !seen.insert((key, version)) {
                let message = format!("is {version} twice; remove a definition, or raise its version");
                problems.push(PlanProblem::of_plan(key, "version", message));
            }
        }
        let mut ids = BTreeMap::new();
        for plan in self.plans() {
            for (field, prices) in
                [("provider_prices", &plan.provider_prices), ("yearly_provider_prices", &plan.yearly_provider_prices)]
            {
                for (provider, id) in prices {
                    if let Some(other) = ids.insert((provider, id), &plan.key) {
                        let message = format!("has `{id}` of `{provider}`, which is also a price of `{other}`");
                        problems.push(PlanProblem::of_plan(&plan.key, field, message));
                    }
                }
            }
        }
        let mut prices = self.plans().filter_map(|plan| match plan.price {
            PlanPrice::Fixed { price, .. } => Some((&plan.key, price)),
            PlanPrice::Free | PlanPrice::Custom => None,
        });
        if let Some((first, common)) = prices.next() {
            for (key, price) in prices.filter(|(_, price)| price.currency() != common.currency()) {
                let message = format!("is {price}, and that of `{first}` is {common}; a catalogue has one currency");
                problems.push(PlanProblem::of_plan(key, "price", message));
            }
        }
        problems
    }
}

impl Default for PlanCatalogue {
    fn default() -> Self {
        Self::new([PlanDefinition::new("free", "Free").feature("*")]).default_plan("free")
    }
}

/// The error of a plan file, with all problems that it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct PlanCatalogueError {
    problems: Vec<String>,
}

impl PlanCatalogueError {
    pub(super) fn new(problems: Vec<String>) -> Self {
        Self { problems }
    }

    /// Returns the problems. Each names the plan and the field.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::{http::Rate, money::Money};

    use super::*;
    use crate::period::BillingInterval;

    fn monthly(amount: &str, currency: &str) -> PlanPrice {
        PlanPrice::Fixed { price: Money::parse(amount, currency).unwrap(), interval: BillingInterval::MONTH }
    }

    fn plan(key: &str) -> PlanDefinition {
        PlanDefinition::new(key, key)
    }

    #[test]
    fn problems_name_the_plan_and_the_field() {
        let with_free = |other: PlanDefinition| PlanCatalogue::new([plan("free"), other]).default_plan("free");
        let renamed = |name: &str| PlanDefinition { name: name.to_owned(), ..plan("pro") };
        let direct = |name: &str| PlanDefinition { limits: [(name.to_owned(), 1)].into(), ..plan("pro") };
        let long = "x".repeat(101);
        for (catalogue, expected) in [
            (PlanCatalogue::default(), ""),
            (PlanCatalogue::new([]).default_plan("free"), "`plans`: must have a plan"),
            (PlanCatalogue::new([plan("free")]), "`default`: must be the key of a plan"),
            (PlanCatalogue::new([plan("free")]).default_plan("pro"), "`default`: is `pro`, but there is no such plan"),
            (with_free(plan("free")), "plan `free`, `version`: is 1 twice"),
            (with_free(plan("free").version(2)), ""),
            (with_free(plan("Pro")), "plan `Pro`, `key`: must be 1 to 50 lower-case letters"),
            (with_free(PlanDefinition::new("", "No key")), "plan ``, `key`: must be 1 to 50 lower-case letters"),
            (with_free(plan(&"x".repeat(51))), "`key`: must be 1 to 50 lower-case letters"),
            (with_free(plan(&"x".repeat(50))), ""),
            (with_free(plan("pro").version(0)), "plan `pro`, `version`: must be a number from 1 to 2147483647"),
            (with_free(plan("pro").version(u32::MAX)), "plan `pro`, `version`: must be a number from 1"),
            (with_free(renamed("")), "plan `pro`, `name`: must have 1 to 100 characters"),
            (with_free(renamed(&long)), "plan `pro`, `name`: must have 1 to 100 characters"),
            (with_free(plan("pro").price(monthly("29.00", "USD"))), ""),
            (with_free(plan("pro").price(monthly("0.00", "USD"))), "plan `pro`, `price`: is 0.00 USD; it must be more"),
            (with_free(plan("pro").price(monthly("-1", "USD"))), "plan `pro`, `price`: is -1.00 USD; it must be more"),
            (with_free(plan("pro").price(monthly("1", "XAU"))), "plan `pro`, `price`: is in XAU, in which customers"),
            (with_free(plan("pro").yearly_price(Money::parse("9", "USD").unwrap())), "`yearly_price`: needs a `price`"),
            (
                with_free(plan("pro").price(monthly("9", "USD")).yearly_price(Money::parse("90", "EUR").unwrap())),
                "`yearly_price`: is 90.00 EUR, and `price` is 9.00 USD; a plan has one currency",
            ),
            (
                with_free(plan("pro").price(monthly("9", "USD")).yearly_price(Money::parse("0", "USD").unwrap())),
                "`yearly_price`: is 0.00 USD; it must be more than zero",
            ),
            (with_free(plan("pro").price(monthly("9", "USD")).yearly_price(Money::parse("90", "USD").unwrap())), ""),
            (with_free(plan("pro").group("")), "plan `pro`, `group`: must be 1 to 50 lower-case letters"),
            (with_free(plan("pro").provider_price("stripe", "")), "`provider_prices`: has `stripe` = ``; it must be"),
            (
                with_free(plan("pro").provider_price("stripe", "p").yearly_provider_price("stripe", "p")),
                "`yearly_provider_prices`: has `p` of `stripe`, which is also a price of `pro`",
            ),
            (with_free(plan("pro").feature("")), "plan `pro`, `features`: has ``; a feature must be `*` or have 1"),
            (with_free(plan("pro").feature("single sign-on")), "`features`: has `single sign-on`; a feature must"),
            (with_free(plan("pro").feature(&*long)), "plan `pro`, `features`: has"),
            (with_free(plan("pro").limit("projects", -2)), "plan `pro`, `limits.projects`: is -2; it must be -1"),
            (with_free(plan("pro").limit("projects", 0).unlimited("seats")), ""),
            (with_free(plan("pro").limit("GPU hours", 1)), "plan `pro`, `limits.GPU hours`: must be named with"),
            (with_free(direct("storage")), "plan `pro`, `limits.storage`: must be named `storage_bytes`"),
            (with_free(plan("pro").soft_limit("projects")), "plan `pro`, `soft_limits`: has `projects`, for which"),
            (with_free(plan("pro").limit("projects", 5).soft_limit("projects")), ""),
            (with_free(plan("pro").rate_limit(Rate::per_minute(0))), "plan `pro`, `rate_limit`: is 0/minute; it must"),
            (with_free(plan("pro").rate_limit(Rate::per_minute(600).burst(10))), ""),
        ] {
            let problems = catalogue.problems();
            assert_eq!(problems.is_empty(), expected.is_empty(), "{expected}: {problems:?}");
            assert!(problems.len() < 2, "{problems:?}");
            assert!(problems.iter().all(|text| text.contains(expected)), "{expected}: {problems:?}");
        }
    }

    #[test]
    fn a_catalogue_has_one_currency() {
        let plans = |pro_currency| {
            [
                plan("free"),
                plan("starter").price(monthly("29", "USD")),
                plan("pro").price(monthly("99", pro_currency)),
                plan("enterprise").price(PlanPrice::Custom),
            ]
        };
        assert!(PlanCatalogue::new(plans("USD")).default_plan("free").problems().is_empty());
        let problems = PlanCatalogue::new(plans("EUR")).default_plan("free").problems();
        let prices = "is 99.00 EUR, and that of `starter` is 29.00 USD";
        assert_eq!(problems, [format!("plan `pro`, `price`: {prices}; a catalogue has one currency")]);
        // Older versions may have another one.
        let newer = plans("EUR").into_iter().chain([plan("starter").version(2).price(monthly("29", "EUR"))]);
        assert!(PlanCatalogue::new(newer).default_plan("free").problems().is_empty());
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let wrong = plan("Pro").version(0).limit("projects", -5).soft_limit("seats");
        assert_eq!(PlanCatalogue::new([wrong]).problems().len(), 5);
    }

    #[test]
    fn new_customers_get_the_newest_version() {
        let plans = [plan("pro").version(2), plan("free"), plan("pro").version(3), plan("pro")];
        let catalogue = PlanCatalogue::new(plans).default_plan("pro");
        assert_eq!(catalogue.get("pro").unwrap().version, 3);
        assert_eq!(catalogue.default_definition().unwrap().version, 3);
        assert!(catalogue.get("Pro").is_none());
        let shown: Vec<_> = catalogue.plans().map(|plan| (plan.key.as_str(), plan.version)).collect();
        assert_eq!(shown, [("free", 1), ("pro", 3)]);
        assert_eq!(catalogue.versions().len(), 4);
        assert_eq!(PlanCatalogue::new([]).default_definition(), None);
    }

    #[test]
    fn an_upgrade_is_the_next_listed_plan_that_meets_the_need() {
        let catalogue = PlanCatalogue::new([
            plan("free").limit("projects", 1).limit("api_requests", 100).soft_limit("api_requests"),
            plan("pro").version(2).feature("sso").limit("projects", 10).limit("api_requests", 1000),
            plan("pro"),
            plan("partner").feature("*").unlisted(),
            plan("team").feature("sso").feature("audit").limit("projects", 50).limit("api_requests", 0),
            plan("enterprise").feature("*").unlimited("projects"),
        ])
        .default_plan("free");
        let limit = |name, amount| PlanNeed::Limit { name, amount };
        for (current, need, expected) in [
            ("free", PlanNeed::Feature("sso"), Some("pro")),
            ("free", PlanNeed::Feature("audit"), Some("team")),
            ("free", PlanNeed::Feature("anything"), Some("enterprise")),
            ("pro", PlanNeed::Feature("sso"), Some("team")),
            ("enterprise", PlanNeed::Feature("sso"), None),
            ("retired", PlanNeed::Feature("sso"), Some("pro")),
            ("retired", limit("projects", 1), Some("free")),
            ("free", limit("projects", 2), Some("pro")),
            ("free", limit("projects", 11), Some("team")),
            ("free", limit("projects", u64::MAX), Some("enterprise")),
            ("free", limit("api_requests", 1001), Some("enterprise")),
            ("retired", limit("requests_per_month", 1_000_000), Some("free")),
            ("free", limit("vectors", 5), Some("pro")),
        ] {
            let upgrade = catalogue.upgrade(current, need).map(|plan| plan.key.as_str());
            assert_eq!(upgrade, expected, "{current}: {need:?}");
        }
    }
}
